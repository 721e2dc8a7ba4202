"""Explanations of interests: which of them are one, what each is about, and which watched items are why.

They follow from the interests, the history and the whole catalogue, so they change neither with `k` nor with
filters, nor with what was answered.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Catalogue
from index.vector_index import Hits, Rows, VectorIndex, Vectors
from index.vector_table import ItemVectors
from index.whole import best_columns
from model.interests import InterestKind

DUPLICATE_COSINE = 0.9
"""Interests of one kind this near to each other are one.

They have 77 to 88 % of their 50 nearest videos in common (docs/method.md).
"""
NEAREST = 50
"""Videos whose categories say what an interest is about.

Of the demo's 943 test events, how many have a category among the names of the interest nearest to them, and
among those of the user's others (`python -m benchmarks.quality.constants explanations`): with 10 videos .62
and .55, with 50 .65 and .59, with 200 .68 and .61. So the number matters little.
"""
COMMON_PART = 0.8
"""Part of a category's share in the user's other interests that does not count for this one.

With 1, only what is apart counts, however little there is of it; with 0, what all have in common names all.
The same two numbers as above, and pairs of a user's interests with equal names: with 0 .80, .74 and 28 %;
with .5 .74, .67 and 12 %; with .8 .65, .59 and 5 %; with 1 .57, .49 and 3 %. On KuaiRand-Pure 1 leaves too
few (docs/method.md).
"""
MAX_TOP_CATEGORIES = 3
"""As many as a line of the console has room for; MovieLens-100K has 1.7 a film in the mean."""
MAX_BECAUSE = 3
"""As many as a line of the console has room for."""


class MergedInterests(NamedTuple):
    """Interests of which near-duplicates are one.

    `leaders` (merged,): the interest that stands for each, ascending, and none for what was counted; `kinds`:
    what each is; `of` (interests,): the merged one that each interest belongs to.
    """

    leaders: Rows
    kinds: list[InterestKind]
    of: Rows

    def together(self, parts: Vectors) -> Vectors:
        """Sum `parts` (interests, …) of interests that are one: (merged, …)."""
        if len(self.kinds) == len(self.of):
            return parts
        belongs = np.arange(len(self.kinds))[:, None] == self.of
        summed: Vectors = belongs.astype(np.float32) @ parts
        return summed

    @property
    def with_counts(self) -> bool:
        """True where what was counted is one of them, the last."""
        return len(self.kinds) > len(self.leaders)

    def and_counts(self) -> "MergedInterests":
        """The same with one interest more, the last: what was counted."""
        return self._replace(kinds=[*self.kinds, "counts"], of=np.append(self.of, len(self.kinds)))


def merge_duplicates(interests: Vectors, draws: int) -> MergedInterests:
    """Merge interests `(interests, dim)`, of which the first `draws` are draws and the rest guidance.

    In their order, each belongs to the first one that stands for itself, is of its kind and is as near to it
    as `DUPLICATE_COSINE`; where there is none it stands for itself.
    """
    near = interests @ interests.T >= DUPLICATE_COSINE
    near[:draws, draws:] = near[draws:, :draws] = False
    if np.count_nonzero(near) == len(near):
        return MergedInterests(np.arange(len(near)), _kinds(draws, len(near)), np.arange(len(near)))
    leaders: list[int] = []
    of: list[int] = []
    for index, row in enumerate(near.tolist()):
        found = next((group for group, leader in enumerate(leaders) if row[leader]), len(leaders))
        if found == len(leaders):
            leaders.append(index)
        of.append(found)
    kinds: list[InterestKind] = ["draw" if leader < draws else "guidance" for leader in leaders]
    return MergedInterests(np.array(leaders), kinds, np.array(of))


@lru_cache(256)
def _kinds(draws: int, interests: int) -> list[InterestKind]:
    return ["draw" if index < draws else "guidance" for index in range(interests)]


class Explanation(NamedTuple):
    """Subject and origin of one interest."""

    top_categories: tuple[str, ...]
    """Categories that set it apart, best first."""
    because: tuple[int, ...]
    """Rows of the watched items nearest to it, nearest first."""


class Beside(NamedTuple):
    """Interests that are no vectors, one a line, and are each explained by itself."""

    users: list[int]
    """Whose they are."""
    hits: Hits
    """The items nearest to each; a cosine is τ times the logarithm of an item's part."""
    because: list[tuple[int, ...]]
    """The rows of the watched items that each comes from."""


class Explainer:
    """Explains interests by the items of one index, their vectors, and the catalogue that describes them.

    `temperature`: τ of the softmax that weighs an interest's `nearest` items; `common_part`: as COMMON_PART.
    """

    def __init__(
        self,
        index: VectorIndex,
        table: ItemVectors,
        catalogue: Catalogue,
        temperature: float,
        *,
        nearest: int = NEAREST,
        common_part: float = COMMON_PART,
    ) -> None:
        self._index = index
        self._table = table
        self._catalogue = catalogue
        self._temperature = np.float32(temperature)
        self._nearest = min(nearest, len(index))
        self._common_part = common_part
        self._names = catalogue.category_names
        self._shares = catalogue.category_shares

    def explain(
        self,
        interests: Sequence[Vectors],
        histories: Sequence[Rows],
        nearest: Sequence[Hits | None] | None = None,
        beside: Beside | None = None,
    ) -> list[list[Explanation]]:
        """Explain the interests `(interests, dim)` of each user, from whose history (rows) they come.

        `nearest`: the nearest items of each user's interests where they are known; others are searched for.
        `beside`: one interest more of some of them, which is the last of theirs.
        """
        if not interests:
            return []
        counts = np.array([len(vectors) for vectors in interests])
        known = [None] * len(interests) if nearest is None else nearest
        hits = self._hits(interests, known, () if beside is None else (beside.hits,))
        alone = np.ones(len(hits.rows) - counts.sum(), dtype=np.int64)
        top_categories = self._top_categories(hits, np.append(counts, alone))
        because = self._because(interests, histories, counts)
        explained = [
            [Explanation(next(top_categories), next(because)) for _ in vectors] for vectors in interests
        ]
        if beside is not None:
            for user, categories, origin in zip(beside.users, top_categories, beside.because, strict=True):
                explained[user].append(Explanation(categories, origin))
        return explained

    def _because(
        self, interests: Sequence[Vectors], histories: Sequence[Rows], counts: Rows
    ) -> Iterator[tuple[int, ...]]:
        """Yield the watched rows nearest to each of all users' interests, equal ones in their order."""
        ties = self._catalogue.ties
        watched = [np.unique(history) for history in histories]
        if ties is not None:
            watched = list(map(ties.ordered, watched))
        lengths = np.array([len(rows) for rows in watched])
        vectors = np.split(self._table.vectors(np.concatenate(watched)), np.cumsum(lengths)[:-1])
        cosines = np.full((counts.sum(), max(lengths.max(), MAX_BECAUSE)), -np.inf, dtype=np.float32)
        rows = np.zeros((len(counts), cosines.shape[1]), dtype=np.int64)
        first = 0
        for index, (own, seen, near) in enumerate(zip(interests, watched, vectors, strict=True)):
            products = own @ near.T
            if ties is not None:
                ties.level(products, seen)
            cosines[first : first + len(own), : len(seen)] = products
            rows[index, : len(seen)] = seen
            first += len(own)
        owners = np.repeat(np.arange(len(counts)), counts)
        nearest = rows[owners[:, None], best_columns(cosines, MAX_BECAUSE)].tolist()
        for best, count in zip(nearest, np.minimum(lengths, MAX_BECAUSE)[owners].tolist(), strict=True):
            yield tuple(best[:count])

    def _hits(
        self, interests: Sequence[Vectors], known: Sequence[Hits | None], others: Sequence[Hits]
    ) -> Hits:
        """The nearest items of all users' interests, then the others."""
        sought = [vectors for vectors, hits in zip(interests, known, strict=True) if hits is None]
        blocks: Iterator[Hits] = iter(())
        if sought:
            found = self._index.search(np.concatenate(sought), self._nearest)
            ends = np.cumsum([len(vectors) for vectors in sought])
            blocks = (found.of(slice(end - len(own), end)) for end, own in zip(ends, sought, strict=True))
        own = [next(blocks) if hits is None else hits for hits in known]
        all_hits = [hits.first(self._nearest) for hits in (*own, *others)]
        return Hits(*map(np.concatenate, zip(*all_hits, strict=True)))

    def _top_categories(self, hits: Hits, counts: Rows) -> Iterator[tuple[str, ...]]:
        """Yield the categories of each of all users' interests, `counts` of them a user.

        They are those of the greatest p − `common_part` · q, where p is the category's share of the
        interest's nearest items and q its mean share of those of the user's other interests, or its share of
        the catalogue where there are none.
        """
        codes, shares = self._category_shares(hits)
        others = np.repeat(counts - 1, counts)[:, None]
        summed = np.repeat(np.add.reduceat(shares, np.cumsum(counts) - counts, axis=0), counts, axis=0)
        elsewhere = np.where(others > 0, (summed - shares) / np.maximum(others, 1), self._shares[codes])
        return self._greatest(shares - self._common_part * elsewhere, codes)

    def _category_shares(self, hits: Hits) -> tuple[Rows, NDArray[np.float64]]:
        """The codes `(categories,)` near any interest, and their shares `(interests, categories)`.

        A category's share of an interest is the weight of those among its nearest items that have it; the
        weights are a softmax of their cosines.
        """
        cosines, rows = hits
        found = rows > 0  # an index may find fewer, or none
        weights = np.exp((cosines - np.where(found[:, :1], cosines[:, :1], 0)) / self._temperature)
        weights /= np.where(found[:, :1], weights.sum(axis=1, keepdims=True), 1)
        owners, codes = self._catalogue.category_codes(rows[found])
        present = np.flatnonzero(np.bincount(codes, minlength=len(self._names)))
        present = self._catalogue.ordered_categories(present)
        column_of = np.zeros(len(self._names), dtype=np.int64)
        column_of[present] = np.arange(len(present))
        lines = np.nonzero(found)[0][owners] * len(present) + column_of[codes]
        size = len(rows) * len(present)
        shares = np.bincount(lines, weights[found][owners], minlength=size).astype(np.float64, copy=False)
        return present, shares.reshape(len(rows), len(present))

    def _greatest(self, apart: NDArray[np.float64], codes: Rows) -> Iterator[tuple[str, ...]]:
        """Yield the names of each line's greatest values above 0, the first of equal ones."""
        order = np.argsort(-apart, axis=1, kind="stable")[:, :MAX_TOP_CATEGORIES]
        above = np.count_nonzero(np.take_along_axis(apart, order, axis=1) > 0, axis=1)
        for best, count in zip(codes[order].tolist(), above.tolist(), strict=True):
            yield tuple([self._names[code] for code in best[:count]])
