"""The trainer's view of what it trains: a network with an objective that can rank and can be kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Generator, Tensor, nn

from bundle.manifest import ServingDefaults
from index.counts import Counts
from model.batch import PrefixBatch
from model.checkpoint import read_checkpoint, write_checkpoint
from model.dimerec import DimeRec
from training.cooccurrence import item_directions
from training.data.splits import Sequences
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.scorer import Scorer


class Losses(Protocol):
    """Scalars of one batch, a NamedTuple; `total` is the one that is minimised."""

    @property
    def total(self) -> Tensor:
        """The value that the gradient is taken of."""

    def _asdict(self) -> dict[str, Tensor]:
        """Every scalar by its name."""


class Learner(Protocol):
    """A network that learns from prefix batches."""

    @property
    def network(self) -> nn.Module:
        """The network that is optimised, moved between devices and resumed."""

    @property
    def max_length(self) -> int:
        """Newest events that the network reads."""

    def begin(self, train: Sequences) -> None:
        """Set the weights of a fresh network to what the log of a new run says without any gradient."""

    def loss(self, batch: PrefixBatch, generator: Generator) -> Losses:
        """Means over the batch's examples; what is random in them comes from `generator`."""

    def scorer(self) -> Scorer:
        """The network as it is now, as a recommender; for validation and for the benchmark."""

    def item_vectors(self) -> Tensor:
        """The network's vectors of the items `(items, dim)`; line i is item row i + 1."""

    def write(self, path: Path) -> None:
        """Write the network to `path`; a reader sees the old file or the new one, whole."""

    def read(self, path: Path) -> None:
        """Take over the weights that `write` wrote."""


@dataclass(frozen=True)
class DimeRecLearner:
    """DimeRec, validated as it will be served."""

    network: DimeRec
    serving: ServingDefaults
    seed: int
    """Of the noise that its interests are drawn from."""
    from_cooccurrence: bool = True
    """True where `begin` turns the item vectors to the items' co-occurrence."""
    repeat_weight: float = 1.0
    """Factor on the score of an item of the history (`training.evaluation.repeat_weight`)."""
    counts: Counts | None = None
    """The counts that have their part in a score (`training.counts`)."""

    @property
    def max_length(self) -> int:
        """Newest events that the model reads."""
        return self.network.config.max_length

    def begin(self, train: Sequences) -> None:
        """Turn the item vectors to the items' co-occurrence, where that is asked for."""
        if not self.from_cooccurrence:
            return
        config = self.network.config
        directions = item_directions(train, config.items, config.dim)
        self.network.items.start_from(torch.from_numpy(directions).to(self.network.items.table.weight.device))

    def loss(self, batch: PrefixBatch, generator: Generator) -> Losses:
        """L_gem, L_later, L_recon, L_ssm and their weighted sum."""
        return self.network.loss(batch, generator)

    def scorer(self) -> DimeRecScorer:
        """The model, asked as `serving` says."""
        return DimeRecScorer(self.network, self.serving, self.seed, self.repeat_weight, self.counts)

    def item_vectors(self) -> Tensor:
        """Unit vectors `(items, dim)`."""
        return self.network.item_vectors()

    def write(self, path: Path) -> None:
        """Write a checkpoint as bundles hold it."""
        write_checkpoint(path, self.network)

    def read(self, path: Path) -> None:
        """Read such a checkpoint. Raises CheckpointError if it cannot be read or does not fit."""
        self.network.load_state_dict(read_checkpoint(path).state_dict())
