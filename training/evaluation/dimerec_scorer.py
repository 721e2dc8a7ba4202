"""A DimeRec model as a recommender that scores every item."""

import numpy as np
import torch
from torch import Tensor

from bundle.manifest import ServingDefaults
from index.counts import Counts
from model.batch import HistoryBatch, windows
from model.dimerec import DimeRec
from model.interests import InterestFinder, InterestSettings, history_seeds
from training.counts import listed, with_counts
from training.data.splits import Histories
from training.evaluation.metrics import Scores

_MAX_COSINES_IN_MEMORY = 2**21
"""Cosines of a block of interests with all items, as in `index.retrieval`."""


class DimeRecScorer:
    """A DimeRec model, asked as `serving` says, with every item as a candidate and not only the index's hits.

    The noise of a history is a function of `seed` and the history alone, so that a score depends on nothing
    else. With merge `mean` an item's score is the logarithm of the mean over interests, weighted where they
    are of both kinds, of softmax over all items (cosine / temperature): the same order as the mean's, without
    underflow far from every interest. With `max` it is the greatest cosine. `counts` have their part in the
    mean, as one more interest. An item of the history counts `repeat_weight` times in it.
    """

    def __init__(
        self,
        model: DimeRec,
        serving: ServingDefaults,
        seed: int = 0,
        repeat_weight: float = 1.0,
        counts: Counts | None = None,
    ) -> None:
        self._model = model
        self._serving = serving
        self._seed = seed
        self._repeat_weight = repeat_weight
        self._counts = None if serving.merge == "max" else counts
        self._settings = InterestSettings(
            serving.draws, serving.steps, serving.interest_mode, serving.guidance_weight
        )

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return self._model.config.items

    @torch.inference_mode()
    def score(self, histories: Histories) -> Scores:
        """Scores of all items for each history `(rows, items)`."""
        vectors = self._model.item_vectors()
        size = max(1, _MAX_COSINES_IN_MEMORY // (self._interests_per_row * self.items))
        parts = [
            self._merged(*self.weighted_interests(histories.batch(first, size)), vectors)
            for first in range(0, len(histories), size)
        ]
        scores: Scores = torch.cat(parts).numpy()
        if self._counts is not None:
            scores = with_counts(scores, self._counts.of(listed(histories)), self._counts.weight)
        if self._repeat_weight != 1:
            rows, positions = histories.flattened()
            scores[rows, histories.items[positions] - 1] += np.log(self._repeat_weight)  # once, if seen twice
        return scores

    def seeds(self, histories: Histories) -> list[int]:
        """The seed that each history's draws come from."""
        return history_seeds(self._read(histories), self._seed)

    def interests(self, histories: Histories) -> Tensor:
        """Unit interest embeddings `(rows, interests, dim)`: draws first, then the guidance."""
        return self.weighted_interests(histories)[0]

    def weighted_interests(self, histories: Histories) -> tuple[Tensor, Tensor]:
        """The same, and the weight of each in their mean `(rows, interests)`.

        The model is put into evaluation mode for it.
        """
        training = self._model.training
        self._model.eval()
        history = self._read(histories)
        found = InterestFinder(self._model).find(
            history.to(self._device),
            [self._settings] * len(histories),
            history_seeds(history, self._seed),
        )
        self._model.train(training)
        vectors = torch.from_numpy(np.stack([interests.vectors for interests in found]))
        weights = torch.from_numpy(np.stack([interests.weights for interests in found]))
        return vectors.to(self._device), weights.to(self._device)

    def _read(self, histories: Histories) -> HistoryBatch:
        """The part of the histories that the model reads."""
        return windows(histories.items, histories.starts, histories.ends, self._model.config.max_length)

    def _merged(self, interests: Tensor, weights: Tensor, vectors: Tensor) -> Tensor:
        if self._serving.merge == "max":
            return (interests @ vectors.T).float().amax(dim=1).cpu()
        logits = ((interests / self._serving.temperature) @ vectors.T).float()
        total = logits.logsumexp(dim=2, keepdim=True)
        total -= weights.log()[:, :, None]
        logits -= total
        return logits.logsumexp(dim=1).cpu()

    @property
    def _interests_per_row(self) -> int:
        return self._serving.draws + self._model.config.guidance_count

    @property
    def _device(self) -> torch.device:
        return next(self._model.parameters()).device
