"""What the neural baselines share: an item table, a softmax over it, and a ranking by inner product."""

from pathlib import Path
from typing import NamedTuple, Self

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn
from torch.nn import functional

from index.atomic import replacing
from model.batch import HistoryBatch, PrefixBatch, windows
from model.losses import Choices, sampled_softmax_loss
from training.config import Optimisation
from training.errors import TrainingError
from training.learner import Losses
from training.metrics import Scores
from training.splits import Histories

_ITEM_STD = 0.02
"""Of item vectors at the start: logits begin near 0, so the first gradients are those of popularity."""


class BaselineConfig(Optimisation):
    """What every neural baseline is made of."""

    dim: int = Field(64, ge=4, le=2048, description="width d of item and interest vectors")
    max_length: int = Field(50, ge=1, le=1000, description="newest events the network reads")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout of the network and of what it reads")
    negatives: int | None = Field(
        1024, ge=1, description="uniform negatives shared by a step; unset or ≥ items: the full softmax"
    )


class Total(NamedTuple):
    """The loss of an objective of one term."""

    total: Tensor


class Baseline(nn.Module):
    """A network that turns a history into interest vectors; an item is worth its best inner product.

    Item vectors are not normalised: their length is how popular an item can become.
    """

    def __init__(self, config: BaselineConfig, items: int) -> None:
        super().__init__()
        self.max_length = config.max_length
        self.negatives = items if config.negatives is None else config.negatives
        self.table = nn.Embedding(items + 1, config.dim, padding_idx=0)
        nn.init.normal_(self.table.weight, std=_ITEM_STD)
        with torch.no_grad():
            self.table.weight[0] = 0

    def loss(self, batch: PrefixBatch, generator: Generator | None = None) -> Losses:
        """Means over the prefixes of a batch, given the items that followed them."""
        raise NotImplementedError

    def interests(self, history: HistoryBatch) -> Tensor:
        """Interest vectors `(rows, interests, dim)`; no row depends on another."""
        raise NotImplementedError

    def item_vectors(self) -> Tensor:
        """`(items, dim)`; line i is item row i + 1."""
        return self.table.weight[1:]

    def softmax_loss(self, query: Tensor, targets: Tensor, generator: Generator | None) -> Tensor:
        """Mean of −log softmax of q·e over the target and shared negatives, or over every item.

        `query` `(examples, dim)`, `targets` `(examples,)` item rows. Negatives that are a row's target are
        left out for it.
        """
        items = self.table.num_embeddings - 1
        if self.negatives >= items:
            return functional.cross_entropy(query @ self.item_vectors().T, targets - 1)
        rows = torch.randint(1, items + 1, (self.negatives,), generator=generator, device=targets.device)
        choices = Choices(self.table(rows), targets[:, None] == rows)
        return sampled_softmax_loss(query, self.table(targets), choices, temperature=1.0)

    @property
    def network(self) -> Self:
        """It is its own learner."""
        return self

    def scorer(self) -> "InnerProductScorer":
        """The network as a recommender."""
        return InnerProductScorer(self)

    def save(self, path: Path) -> None:
        """Write the weights to `path`, whole; the run's configuration lies next to them."""
        with replacing(path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, temporary)

    def load(self, path: Path) -> None:
        """Read the weights. Raises TrainingError if the file is damaged or another network's."""
        try:
            self.load_state_dict(load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise TrainingError(f"{path} cannot be read ({reason}); remove the run and train anew") from error


class InnerProductScorer:
    """Ranks by the greatest inner product of an item's vector with a history's interest vectors."""

    def __init__(self, network: Baseline) -> None:
        self._network = network

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return len(self._network.item_vectors())

    @torch.inference_mode()
    def score(self, histories: Histories) -> Scores:
        """Scores of all items for each history `(rows, items)`; the network is in evaluation mode for it."""
        network, vectors = self._network, self._network.item_vectors()
        training = network.training
        network.eval()
        history = windows(histories.items, histories.starts, histories.ends, network.max_length)
        interests = network.interests(history.to(vectors.device))
        network.train(training)
        scores: Scores = (interests @ vectors.T).amax(dim=1).float().cpu().numpy()
        return scores
