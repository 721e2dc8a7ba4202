"""ComiRec (Cen et al., KDD 2020): several interest vectors of a history, each with its own neighbours.

ComiRec-SA pools the history by self-attention, ComiRec-DR by dynamic routing with a matrix per interest. The
interest that matches the target best is trained (hard readout) by a softmax over negatives that the step
shares, and an item is worth its best interest. Of the paper's controllable aggregation only this, its most
accurate setting, is here.

Departure: squashed capsules are at most 1 long, and of short item vectors next to nothing, so that the
softmax stays flat for long. ComiRec-DR here starts from item vectors of about length 1 and multiplies its
capsules by √d (Amazon Beauty, validation HR@10 after four epochs .034; without, after six, .022).
"""

from typing import Literal

from pydantic import Field
from torch import Generator, Tensor

from model.batch import HistoryBatch, PrefixBatch
from model.guidance import build_guidance
from training.baselines.network import Baseline, SoftmaxConfig, Total, softmax_loss


class ComiRecConfig(SoftmaxConfig):
    """ComiRec's network and how it is trained."""

    kind: Literal["comirec"] = "comirec"
    extractor: Literal["self_attentive", "dynamic_routing"] = Field(
        "self_attentive", description="ComiRec-SA or ComiRec-DR"
    )
    interests: int = Field(4, ge=1, le=64, description="K interest vectors per user")
    routing_iterations: int = Field(3, ge=1, le=10, description="dynamic_routing: iterations")

    def learner(self, items: int) -> "ComiRec":
        """A fresh network for a catalogue of `items`."""
        return ComiRec(self, items)


class ComiRec(Baseline):
    """K interest vectors."""

    def __init__(self, config: ComiRecConfig, items: int) -> None:
        routed = config.extractor == "dynamic_routing"
        super().__init__(config, items, item_std=config.dim**-0.5 if routed else 0.02)
        self.scale = config.dim**0.5 if routed else 1.0
        self.negatives = config.negatives
        self.extractor = build_guidance(config.parts(items, config.extractor, config.interests))

    def interests(self, history: HistoryBatch) -> Tensor:
        """`(rows, K, dim)`."""
        interests: Tensor = self.extractor(self.table(history.items), history.mask)
        return interests * self.scale

    def loss(self, batch: PrefixBatch, generator: Generator | None = None) -> Total:
        """The softmax loss of each prefix's best interest."""
        history, positions, targets, _ = batch
        extracted = self.extractor.prefixes(self.table(history.items), history.mask)
        interests = extracted.flatten(0, 1)[positions] * self.scale
        match = (interests @ self.table(targets)[:, :, None]).detach()
        chosen = interests.take_along_dim(match.argmax(dim=1, keepdim=True), dim=1).squeeze(1)
        return Total(softmax_loss(self.table, chosen, targets, self.negatives, generator))
