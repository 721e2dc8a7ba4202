"""Diversity of recommended lists, from categories alone, so that recommenders of any kind are comparable."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from index.catalogue import Catalogue
from training.evaluation.metrics import Scores, top_items

_LISTS_AT_ONCE = 64
"""Lists whose categories are compared at once; their Jaccard matrices are `(lists, k, k)`, 640 kB at
k = 50.
"""


def memberships(top: npt.NDArray[np.int64], catalogue: Catalogue) -> npt.NDArray[np.float32]:
    """The categories of the listed items: 0 or 1, `(rows, k, categories that occur)`; none for row 0."""
    present, positions = np.unique(top, return_inverse=True)
    matrix = catalogue.category_matrix(np.maximum(present, 1))
    matrix[present == 0] = 0
    of_lists: npt.NDArray[np.float32] = matrix[positions.reshape(top.shape)]
    return of_lists


def distinct_categories(memberships: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.float64]:
    """Number of categories that each row's first k items have between them `(rows,)`."""
    counts: npt.NDArray[np.float64] = memberships[:, :k].any(axis=1).sum(axis=1).astype(np.float64)
    return counts


def intra_list_distance(memberships: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.float64]:
    """Mean Jaccard distance between the categories of two of a row's first k items `(rows,)`, 0 … 1.

    Pairs with an item that has no category say nothing and are left out; NaN for a row without any pair.
    """
    lists = memberships[:, :k]
    sizes = lists.sum(axis=2)
    shared = lists @ lists.transpose(0, 2, 1)
    either = sizes[:, :, None] + sizes[:, None, :] - shared
    paired = (sizes[:, :, None] > 0) & (sizes[:, None, :] > 0) & ~np.eye(lists.shape[1], dtype=np.bool_)
    distances = 1 - shared / np.maximum(either, 1)
    pairs = paired.sum(axis=(1, 2))
    total = np.where(paired, distances, 0).sum(axis=(1, 2), dtype=np.float64)
    mean: npt.NDArray[np.float64] = np.where(pairs > 0, total / np.maximum(pairs, 1), np.nan)
    return mean


class DiversityTally:
    """Diversity of the lists of one evaluation, added up batch by batch."""

    def __init__(self, catalogue: Catalogue, ks: Sequence[int]) -> None:
        self._catalogue = catalogue
        self._ks = ks
        self._listed = np.zeros((len(ks), len(catalogue) + 1), dtype=np.bool_)
        self._per_list: dict[str, list[npt.NDArray[np.float64]]] = {}

    def add(self, scores: Scores) -> None:
        """Count in the first k of each of these rankings `(rows, items)`."""
        self.add_lists(top_items(scores, max(self._ks)))

    def add_lists(self, top: npt.NDArray[np.int64]) -> None:
        """Count in the first k of each of these lists of item rows `(rows, greatest k)`; 0: no item."""
        for listed, k in zip(self._listed, self._ks, strict=True):
            listed[top[:, :k]] = True
        if not self._catalogue.category_names:
            return
        for first in range(0, len(top), _LISTS_AT_ONCE):
            lists = memberships(top[first : first + _LISTS_AT_ONCE], self._catalogue)
            for k in self._ks:
                self._keep(f"distinct_categories@{k}", distinct_categories(lists, k))
                self._keep(f"intra_list_distance@{k}", intra_list_distance(lists, k))

    def _keep(self, name: str, of_lists: npt.NDArray[np.float64]) -> None:
        self._per_list.setdefault(name, []).append(of_lists)

    def metrics(self) -> dict[str, float]:
        """Means over the lists, and `coverage@k`: the part of the catalogue that is on any list.

        What is undefined is left out: the measures of categories where no listed item has one.
        """
        measured = {}
        for name, batches in self._per_list.items():
            values = np.concatenate(batches)
            values = values[~np.isnan(values)]
            if len(values):
                measured[name] = float(values.mean())
        for listed, k in zip(self._listed, self._ks, strict=True):
            measured[f"coverage@{k}"] = float(listed[1:].mean())
        return measured
