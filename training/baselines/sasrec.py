"""SASRec (Kang and McAuley, ICDM 2018), trained as it is strong today.

A causal transformer whose state after each event predicts the next one by inner product with the item table.
The original's binary cross-entropy with one negative is what made it look weak; here it is a softmax over
uniform negatives shared by the step, or over every item (Klenitskiy and Vasilev, RecSys 2023; eSASRec, RecSys
2025). Blocks are pre-norm with GELU and feed-forward layers of 4d.
"""

from typing import Literal

from pydantic import Field
from torch import Generator, Tensor

from model.batch import HistoryBatch, PrefixBatch
from model.config import ModelConfig
from model.guidance import CausalTransformer
from training.baselines.network import Baseline, BaselineConfig, Total


class SASRecConfig(BaselineConfig):
    """SASRec's network and how it is trained."""

    kind: Literal["sasrec"] = "sasrec"
    blocks: int = Field(2, ge=1, le=12, description="transformer blocks")
    heads: int = Field(2, ge=1, le=16, description="attention heads; divides dim")

    def learner(self, items: int) -> "SASRec":
        """A fresh network for a catalogue of `items`."""
        return SASRec(self, items)


class SASRec(Baseline):
    """One interest vector: the state at the newest event."""

    def __init__(self, config: SASRecConfig, items: int) -> None:
        super().__init__(config, items)
        self.encoder = CausalTransformer(
            ModelConfig(
                items=items,
                guidance="sasrec",
                **config.model_dump(include={"dim", "max_length", "dropout", "blocks", "heads"}),
            )
        )

    def interests(self, history: HistoryBatch) -> Tensor:
        """`(rows, 1, dim)`."""
        states: Tensor = self.encoder(self.table(history.items), history.mask)
        return states

    def loss(self, batch: PrefixBatch, generator: Generator | None = None) -> Total:
        """The softmax loss at every prefix, in one pass."""
        history, positions, targets = batch
        states = self.encoder.prefixes(self.table(history.items), history.mask)
        query = states.flatten(0, 2)[positions]
        return Total(self.softmax_loss(query, targets, generator))
