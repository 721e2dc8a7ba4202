"""SASRec (Kang and McAuley, ICDM 2018), trained as it is strong today.

A causal transformer whose state after each event predicts the next one by inner product with the item table.
The original's binary cross-entropy with one negative is what made it look weak; here it is a softmax over
uniform negatives shared by the step, or over every item (Klenitskiy and Vasilev, RecSys 2023; eSASRec, RecSys
2025). Blocks are pre-norm with GELU and feed-forward layers of 4d.
"""

from typing import Literal

from torch import Generator, Tensor

from model.batch import HistoryBatch, PrefixBatch
from model.guidance import CausalTransformer
from training.baselines.network import Baseline, SoftmaxConfig, Total, TransformerConfig, softmax_loss


class SASRecConfig(SoftmaxConfig, TransformerConfig):
    """SASRec's network and how it is trained."""

    kind: Literal["sasrec"] = "sasrec"

    def learner(self, items: int) -> "SASRec":
        """A fresh network for a catalogue of `items`."""
        return SASRec(self, items)


class SASRec(Baseline):
    """One interest vector: the state at the newest event."""

    def __init__(self, config: SASRecConfig, items: int) -> None:
        super().__init__(config, items)
        self.negatives = config.negatives
        self.encoder = CausalTransformer(config.parts(items, "sasrec"))

    def interests(self, history: HistoryBatch) -> Tensor:
        """`(rows, 1, dim)`."""
        states: Tensor = self.encoder(self.table(history.items), history.mask)
        return states

    def loss(self, batch: PrefixBatch, generator: Generator | None = None) -> Total:
        """The softmax loss at every prefix, in one pass."""
        history, positions, targets, _ = batch
        states = self.encoder.prefixes(self.table(history.items), history.mask)
        query = states.flatten(0, 2)[positions]
        return Total(softmax_loss(self.table, query, targets, self.negatives, generator))
