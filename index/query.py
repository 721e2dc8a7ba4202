"""One user's question to the retrieval, and its answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from index.counts import Counted
from index.errors import QueryError, VectorError
from index.filters import Filter
from index.merging import DEFAULT_TEMPERATURE, Merge
from index.vector_index import Hits, Rows, Vectors, checked_unit_vectors

MAX_K = 1_000
"""Twice what the service answers with, so that it is never this bound that a caller meets."""
MAX_INTERESTS = 1_024
"""A bound on the work of one query; a request has at most 32 draws and the guidance."""
MAX_REPEAT_WEIGHT = 1e6
"""Beyond this, and under its inverse, hardly a list changes any more: seen items come first, or last."""


def _no_rows() -> Rows:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Query:
    """One user's interests, and what is asked of them.

    `interests` (interests, dim): unit rows; `k`: 1 … 1,000; `excluded`: rows never to answer with (0,
    padding, may be among them); `categories`: answer only with items that have any of them, None for all;
    `where`: and that this filter lets through;
    `fresh`: how many of the `k` must be of rows added to the catalogue, where so many may be answered with;
    `diversity`: δ in 0 … 1; `merge` and `temperature` (0.001 … 1000): how interests are merged
    (`index.merging`); `weights` (interests,): how much each counts in the mean, of sum 1, by default as much
    each; `seen`: rows whose merged score counts `repeat_weight` (10⁻⁶ … 10⁶) times, and other than once only
    in the mean; `novelty` (0 … 1): the power of an item's commonness that its merged score is divided by
    (`Catalogue.log_commonness`), other than 0 only in the mean; `counted`: items that counting knows, as one
    more interest that counts `counted_weight` (0 … 1) of the mean, and only there; `nearest`: how many of the
    whole catalogue's items nearest to each interest are to be told, where that is known. Raises `QueryError`.
    """

    interests: Vectors
    k: int
    excluded: Rows = field(default_factory=_no_rows)
    categories: frozenset[str] | None = None
    where: Filter | None = None
    fresh: int = 0
    diversity: float = 0.0
    merge: Merge = "mean"
    temperature: float = DEFAULT_TEMPERATURE
    weights: Vectors | None = None
    seen: Rows = field(default_factory=_no_rows)
    repeat_weight: float = 1.0
    novelty: float = 0.0
    counted: Counted | None = None
    counted_weight: float = 0.0
    nearest: int = 0

    def __post_init__(self) -> None:
        _check_range("interests", len(self.interests), 1, MAX_INTERESTS)
        _check_range("k", self.k, 1, MAX_K)
        _check_range("fresh", self.fresh, 0, self.k)
        _check_range("diversity", self.diversity, 0, 1)
        _check_range("temperature", self.temperature, 0.001, 1000)
        _check_range("repeat_weight", self.repeat_weight, 1 / MAX_REPEAT_WEIGHT, MAX_REPEAT_WEIGHT)
        if self.merge not in ("mean", "max"):
            raise QueryError(f"merge must be mean or max, not {self.merge!r}")
        if self.merge == "max" and self.repeat_weight != 1:
            raise QueryError("repeat_weight must be 1 where merge is max: a cosine is no probability")
        _check_range("novelty", self.novelty, 0, 1)
        if self.merge == "max" and self.novelty:
            raise QueryError("novelty must be 0 where merge is max: a cosine is no probability")
        _check_range("counted_weight", self.counted_weight, 0, 1)
        if self.merge == "max" and self.counted is not None:
            raise QueryError("counted must be None where merge is max: its scores are no cosines")
        if self.weights is not None:
            object.__setattr__(self, "weights", _checked_weights(self.weights, len(self.interests)))
        if self.repeat_weight == 1:
            object.__setattr__(self, "seen", _no_rows())

    @property
    def lines(self) -> int:
        """Interests, what was counted among them."""
        return len(self.interests) + (self.counted is not None)

    @property
    def line_weights(self) -> Vectors | None:
        """The part of each of these in the mean; None: as much each."""
        if self.counted is None:
            return self.weights
        count = len(self.interests)
        equal = np.full(count, 1 / count, dtype=np.float32)
        own = equal if self.weights is None else self.weights
        weight = np.float32(self.counted_weight)
        weights: Vectors = np.append(own * (1 - weight), weight)
        return weights

    @cached_property
    def distinct_excluded(self) -> Rows:
        """`excluded`, each once, ascending."""
        return distinct(self.excluded)

    @cached_property
    def distinct_seen(self) -> Rows:
        """`seen`, each once, ascending; none where they count like others."""
        return distinct(self.seen)


def distinct(rows: Rows) -> Rows:
    """`rows`, each once, ascending.

    For 12,000 of them a tenth of the time of `np.unique`, which hashes first (NumPy 2.4).
    """
    rows = np.sort(rows, axis=None)
    return rows[np.concatenate([[True], rows[1:] != rows[:-1]])] if len(rows) else rows


def union(some: Rows, others: Rows) -> Rows:
    """The rows that are in either, of any shape, each once, ascending: `np.union1d` without its hashing."""
    return distinct(np.concatenate([some, others], axis=None))


def checked_interests(queries: Sequence[Query], items: int, dim: int) -> Vectors:
    """The interests of all queries, one after the other.

    Raises `QueryError` or `VectorError` unless all can be asked of a catalogue of this size and width.
    """
    for name, rows in (("excluded", [q.excluded for q in queries]), ("seen", [q.seen for q in queries])):
        together = np.concatenate(rows)
        if len(together) and not 0 <= together.min() <= together.max() <= items:
            raise QueryError(f"{name} rows must lie in 1 … {items}")
    for query in queries:
        if query.interests.ndim != 2 or query.interests.shape[1] != dim:
            raise VectorError(f"interests have {query.interests.shape[-1]} dimensions, the index has {dim}")
    return checked_unit_vectors(np.concatenate([query.interests for query in queries]), "interests")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item found: its row, its merged score, and the interest (0 …) that contributed most to it."""

    row: int
    score: float
    interest: int


@dataclass(frozen=True, eq=False)
class Retrieval:
    """The answer to one query.

    `rows` and `scores` (items,): in the order of choice, by descending score (then ascending row) where
    diversity is 0; `shares` (interests, items): each interest's part in each item's score, last that of what
    was counted, where an eligible item was;
    `interest_weights` (interests,): its part in all of them; sums to 1; `nearest`: the `Query.nearest` items
    nearest to each interest, whatever was excluded; None where they were not found on the way.
    """

    rows: Rows
    scores: Vectors
    shares: Vectors
    interest_weights: NDArray[np.float32]
    nearest: Hits | None = None

    @classmethod
    def of_nothing(cls, interests: int) -> "Retrieval":
        """The answer where no item may be answered with."""
        return cls(
            _no_rows(),
            np.empty(0, dtype=np.float32),
            np.empty((interests, 0), dtype=np.float32),
            np.full(interests, 1 / interests, dtype=np.float32),
        )

    @property
    def candidates(self) -> list[Candidate]:
        """The items one by one."""
        columns = self.rows.tolist(), self.scores.tolist(), self.shares.argmax(axis=0).tolist()
        return [Candidate(*found) for found in zip(*columns, strict=True)]


def _checked_weights(weights: Vectors, interests: int) -> Vectors:
    checked = np.asarray(weights, dtype=np.float32)
    if checked.shape != (interests,) or not (checked >= 0).all() or abs(checked.sum() - 1) > 1e-4:
        raise QueryError(f"weights must be {interests} numbers of sum 1, none below 0")
    return checked


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise QueryError(f"{name} must be {low} … {high}, not {value}")
