"""The common part of the neural baselines: an item table, a softmax over it, ranking by inner product."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn
from torch.nn import functional

from files.atomic import replacing
from model.batch import HistoryBatch, PrefixBatch, windows
from model.config import Architecture, GuidanceKind, ModelConfig
from model.losses import Choices, sampled_softmax_loss
from training.config import Optimisation
from training.data.splits import Histories, Sequences
from training.errors import TrainingError
from training.evaluation.metrics import Scores
from training.learner import Losses
from training.log_recipe import LogSize, typical_dropout

_ROWS_AT_ONCE = 128
"""Histories of about one length that a network reads at once, so that little is padding."""


class BaselineConfig(Optimisation):
    """The configuration of a neural baseline."""

    batch_size: int = Field(256, ge=1, le=1_000_000, description="examples (prefixes) per step, about")
    epochs: int = Field(30, ge=1, le=100_000, description="at most this many passes over the data")
    patience: int = Field(10, ge=1, description="epochs without a better validation before stopping")

    dim: int = Field(64, ge=4, le=2048, description="width d of item and interest vectors")
    max_length: int = Field(50, ge=1, le=1000, description="newest events the network reads")
    dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="dropout of the network and of what it reads; unset: as DimeRec's, by events per item",
    )

    follows_log: ClassVar[frozenset[str]] = frozenset({"dropout"})

    def following(self, log: LogSize, older: ModelConfig | None) -> Mapping[str, Any]:  # noqa: ARG002
        """A dropout."""
        return dict.fromkeys(self.follows_log, typical_dropout(log.density))

    def parts(self, items: int, guidance: GuidanceKind, guidance_vectors: int = 1) -> ModelConfig:
        """The fields that DimeRec has as well, for the parts that are taken over from it."""
        shared = self.model_dump(include=set(Architecture.model_fields) - {"negatives"})
        return ModelConfig(items=items, guidance=guidance, guidance_vectors=guidance_vectors, **shared)


class SoftmaxConfig(BaselineConfig):
    """Of those that learn by a softmax over items."""

    negatives: int | None = Field(
        1024, ge=1, description="uniform negatives shared by a step; unset or ≥ items: the full softmax"
    )


class TransformerConfig(BaselineConfig):
    """Of those that read a history with a causal transformer."""

    blocks: int = Field(2, ge=1, le=12, description="transformer blocks")
    heads: int = Field(2, ge=1, le=16, description="attention heads; divides dim")


class Total(NamedTuple):
    """The loss of an objective of one term."""

    total: Tensor


class Baseline(nn.Module):
    """A network that turns a history into interest vectors; an item is worth its best inner product.

    Item vectors are not normalised: their length says how popular an item is.
    """

    def __init__(self, config: BaselineConfig, items: int, item_std: float = 0.02) -> None:
        super().__init__()
        self.max_length = config.max_length
        self.table = nn.Embedding(items + 1, config.dim, padding_idx=0)
        nn.init.normal_(self.table.weight, std=item_std)
        with torch.no_grad():
            self.table.weight[0] = 0

    def begin(self, train: Sequences) -> None:
        """Nothing: these start from random weights, as published."""

    def loss(self, batch: PrefixBatch, generator: Generator | None = None) -> Losses:
        """Means over the prefixes of a batch, given the items that followed them."""
        raise NotImplementedError

    def interests(self, history: HistoryBatch) -> Tensor:
        """Interest vectors `(rows, interests, dim)`; no row depends on another."""
        raise NotImplementedError

    def item_vectors(self) -> Tensor:
        """`(items, dim)`; line i is item row i + 1."""
        return self.table.weight[1:]

    @property
    def network(self) -> Self:
        """It is its own learner."""
        return self

    def scorer(self) -> "InnerProductScorer":
        """The network as a recommender."""
        return InnerProductScorer(self, self.interests)

    def write(self, path: Path) -> None:
        """Write the weights to `path`, whole; the run's configuration lies next to them."""
        with replacing(path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, temporary)

    def read(self, path: Path) -> None:
        """Read the weights. Raises TrainingError if the file is damaged or another network's."""
        try:
            self.load_state_dict(load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise TrainingError(f"{path} cannot be read ({reason}); remove the run and train anew") from error


def softmax_loss(
    table: nn.Embedding, query: Tensor, targets: Tensor, negatives: int | None, generator: Generator | None
) -> Tensor:
    """Mean of −log softmax of q·e over the target and shared uniform negatives, or over every item.

    `query` `(examples, dim)`, `targets` `(examples,)` rows of `table`, whose row 0 is no item. A negative
    that is a row's target is left out for it. `negatives` None or ≥ items: the full softmax.
    """
    items = table.num_embeddings - 1
    if negatives is None or negatives >= items:
        return functional.cross_entropy(query @ table.weight[1:].T, targets - 1)
    rows = torch.randint(1, items + 1, (negatives,), generator=generator, device=targets.device)
    choices = Choices(table(rows), targets[:, None] == rows)
    return sampled_softmax_loss(query, table(targets), choices, temperature=1.0)


class InnerProductScorer:
    """Ranks by the greatest inner product of an item's vector with a history's interest vectors."""

    def __init__(self, network: Baseline, interests: Callable[[HistoryBatch], Tensor]) -> None:
        self._network = network
        self._interests = interests

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return len(self._network.item_vectors())

    @torch.inference_mode()
    def score(self, histories: Histories) -> Scores:
        """Scores of all items for each history `(rows, items)`; the network is in evaluation mode for it."""
        training = self._network.training
        self._network.eval()
        scores = np.empty((len(histories), self.items), np.float32)
        by_length = np.argsort(histories.ends - histories.starts, kind="stable")
        for first in range(0, len(by_length), _ROWS_AT_ONCE):
            rows = by_length[first : first + _ROWS_AT_ONCE]
            scores[rows] = self._score(
                Histories(histories.items, histories.starts[rows], histories.ends[rows])
            )
        self._network.train(training)
        return scores

    def _score(self, histories: Histories) -> Scores:
        vectors = self._network.item_vectors()
        history = windows(histories.items, histories.starts, histories.ends, self._network.max_length)
        products = self._interests(history.to(vectors.device)) @ vectors.T
        scores: Scores = products.amax(dim=1).float().cpu().numpy()
        return scores
