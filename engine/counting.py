"""The counts of a bundle, asked for histories in rows of the catalogue as it is now."""

from collections.abc import Sequence

import numpy as np

from engine.explain import MAX_BECAUSE, NEAREST, Beside
from engine.snapshot import Snapshot
from index.catalogue import Catalogue
from index.counts import Counted, Counts
from index.exact import best_positions
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

    def explained(
        self, histories: Sequence[Rows], counted: Sequence[Counted | None], snapshot: Snapshot
    ) -> Beside:
        """The counts of each history, where they are to be explained, as one more interest of its user.

        That is: the likeliest items that may be answered, and the watched ones that say so.
        """
        wanted = {user: one for user, one in enumerate(counted) if one is not None}
        cosines = np.full((len(wanted), NEAREST), -np.inf, dtype=np.float32)
        rows = np.full((len(wanted), NEAREST), -1, dtype=np.int64)
        alive = snapshot.retriever.eligibility.of(None).mask
        ties = snapshot.catalogue.ties
        for line, one in enumerate(wanted.values()):
            living = one.among(alive)
            keys = None if ties is None else ties.keys(living.rows)
            best = best_positions(living.scores, NEAREST, keys)
            own = Counted(living.rows[best], living.scores[best])
            cosines[line, : len(best)] = own.as_cosines(snapshot.temperature)
            rows[line, : len(best)] = own.rows
        because = [self._because(histories[user], snapshot.catalogue) for user in wanted]
        return Beside(list(wanted), Hits(cosines, rows), because)

    def _because(self, history: Rows, catalogue: Catalogue) -> tuple[int, ...]:
        """The watched rows that say most and may be answered, first the one that says the most."""
        moved = catalogue.moved
        learned = history if moved is None else moved.learned(history)
        parts = self._counts.parts_of(learned)
        order = np.argsort(-parts, kind="stable")
        best = learned[order[parts[order] > 0]]
        rows = catalogue.of_alive(best if moved is None else moved.now(best))
        return tuple(dict.fromkeys(rows.tolist()))[:MAX_BECAUSE]


def _in_order(rows: Rows, scores: Vectors) -> Counted:
    order = np.argsort(rows)
    return Counted(rows[order], scores[order])
