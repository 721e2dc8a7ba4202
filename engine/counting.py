"""The counts of a bundle, asked for histories in rows of the catalogue as it is now."""

from collections.abc import Sequence

import numpy as np

from engine.explain import MAX_BECAUSE, NEAREST, Explanation, MergedInterests
from engine.snapshot import Snapshot
from index.catalogue import Catalogue
from index.counts import Counted, Counts
from index.exact import best_first
from index.vector_index import Hits, Rows, Vectors


class Counting:
    """Counts, asked for histories and explained."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    @property
    def weight(self) -> float:
        """Part of the counts in an item's score."""
        return self._counts.weight

    def of(self, histories: Sequence[Rows], catalogue: Catalogue) -> list[Counted]:
        """The items that followed each history's; those that were changed since by their rows of now."""
        moved = catalogue.moved
        if moved is None:
            return self._counts.of(histories)
        found = self._counts.of([moved.learned(rows) for rows in histories])
        return [_in_order(moved.now(one.rows), one.scores) for one in found]

    def explain(
        self,
        histories: Sequence[Rows],
        counted: Sequence[Counted | None],
        merged: Sequence[MergedInterests],
        explained: Sequence[list[Explanation] | None],
        snapshot: Snapshot,
    ) -> None:
        """Add what was counted for each history to its interests `explained`, where these tell of it.

        That is: the categories of the likeliest items, and the watched ones that say so.
        """
        wanted = [
            (history, own, said)
            for history, own, ways, said in zip(histories, counted, merged, explained, strict=True)
            if own is not None and said is not None and len(ways.kinds) > len(said)
        ]
        if not wanted:
            return
        names = snapshot.explainer.names(_hits([own for _, own, _ in wanted], snapshot))
        for (history, _, said), categories in zip(wanted, names, strict=True):
            said.append(Explanation(categories, self._because(history, snapshot.catalogue)))

    def _because(self, history: Rows, catalogue: Catalogue) -> tuple[int, ...]:
        """The watched rows that say most and may be answered, first the one that says the most."""
        moved = catalogue.moved
        learned = history if moved is None else moved.learned(history)
        parts = self._counts.parts_of(learned)
        order = np.argsort(-parts, kind="stable")
        best = learned[order[parts[order] > 0]]
        rows = catalogue.of_alive(best if moved is None else moved.now(best))
        return tuple(dict.fromkeys(rows.tolist()))[:MAX_BECAUSE]


def _hits(counted: Sequence[Counted], snapshot: Snapshot) -> Hits:
    """The likeliest items that may be answered, as hits of interests."""
    cosines = np.full((len(counted), NEAREST), -np.inf, dtype=np.float32)
    rows = np.full((len(counted), NEAREST), -1, dtype=np.int64)
    alive = snapshot.retriever.eligibility.of(None).mask
    for line, one in enumerate(counted):
        living = one.among(alive)
        ties = snapshot.catalogue.ties
        best = best_first(living.scores, None if ties is None else ties.keys(living.rows))[:NEAREST]
        rows[line, : len(best)] = living.rows[best]
        cosines[line, : len(best)] = living.as_cosines(snapshot.temperature)[best]
    return Hits(cosines, rows)


def _in_order(rows: Rows, scores: Vectors) -> Counted:
    order = np.argsort(rows)
    return Counted(rows[order], scores[order])
