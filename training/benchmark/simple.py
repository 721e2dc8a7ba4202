"""The simple recommenders in the benchmark: nothing of theirs is random, nothing takes epochs."""

import time
from typing import Any

from training.baselines.item_knn import DECAYS, NEIGHBOURS, ItemKNN
from training.baselines.popularity import Popularity
from training.benchmark.recipe import Budget, Fitted, Variant
from training.data.dataset import Dataset
from training.data.splits import Split


class PopularityRecipe:
    """Counts training events."""

    @property
    def settings(self) -> dict[str, Any]:
        """There is nothing to set."""
        return {"recommender": "popularity"}

    def fit(self, dataset: Dataset, split: Split, budget: Budget) -> Fitted:  # noqa: ARG002 - of the protocol
        """Count."""
        started = time.monotonic()
        popularity = Popularity(split.train, len(dataset.catalogue))
        return Fitted((Variant(popularity),), train_s=time.monotonic() - started)


class ItemKNNRecipe:
    """Item-based nearest neighbours, the decay chosen on validation."""

    @property
    def settings(self) -> dict[str, Any]:
        """The number of neighbours, and the decays to choose from."""
        return {"recommender": "itemknn", "neighbours": NEIGHBOURS, "decays": list(DECAYS)}

    def fit(self, dataset: Dataset, split: Split, budget: Budget) -> Fitted:  # noqa: ARG002 - of the protocol
        """Learn the similarities, choose the decay."""
        started = time.monotonic()
        neighbours = ItemKNN.tuned(split, len(dataset.catalogue))
        return Fitted(
            (Variant(neighbours),),
            train_s=time.monotonic() - started,
            chosen={"decay": neighbours.decay},
        )
