"""Changes of the catalogue, made to one engine's snapshot: of a base that stays and what was added to it."""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from typing import NamedTuple

from bundle.read import Bundle
from engine.recipes import Derivation, Recipe, RecipeError
from engine.snapshot import Snapshot, layered_snapshot
from index.building import cells_of, extended
from index.catalogue import Item
from index.cells import Cells
from index.overlay import Overlay
from index.vector_index import Vectors

MIN_DEAD_ROWS = 1_000
"""Added rows that were replaced, from which the overlay is made anew once they are more than the others.
Chosen: they take 1 MB at most, and are searched in vain.
"""


MIN_UNINDEXED_ROWS = 500
"""Added rows without an index from which one is made that has them, too.

100,000 items, 12 interests a request, batches of 64, ms of the thread: 20,000 added rows take a product .20,
such an index .06. Chosen: with 1,000 both take about as long, and an index of few more is made in some ms.
"""


class Indexed(NamedTuple):
    """An index of a bundle's rows and of the first that were added to it in one overlay."""

    overlay: Overlay
    cells: Cells


class Change(NamedTuple):
    """The newest of an item. `recipe`: None where it never had one; `served`: it may be answered."""

    recipe: Recipe | None
    served: bool


class ChangedCatalogue:
    """The changes that were made to the catalogue of one bundle. One thread at a time."""

    def __init__(self, bundle: Bundle, base: Snapshot) -> None:
        self._base = base
        self._table = bundle.table
        self.derivation = Derivation(
            bundle.version,
            bundle.catalogue,
            bundle.table,
            bundle.manifest.catalogue_sequence,
            bundle.content_map,
        )
        self._changes: dict[str, Change] = {}
        self._overlay = Overlay(bundle.catalogue, bundle.table.dim)
        self._made: dict[str, Recipe] = {}
        self._stale: dict[str, str] = {}
        self._bundled: set[str] = set()
        self._cells = cells_of(bundle.index)
        self._indexed: Indexed | None = None

    @property
    def stale(self) -> Mapping[str, str]:
        """Items that should be served and cannot: id → reason."""
        return self._stale

    @property
    def bundled(self) -> AbstractSet[str]:
        """Changed items that are what the bundle has learned and says of them: nothing is added for them."""
        return self._bundled

    def apply(self, changes: Mapping[str, Change]) -> Snapshot:
        """The snapshot with these changes, each of which replaces any earlier one of its item."""
        self._changes.update(changes)
        if self._overlay.replaced > max(MIN_DEAD_ROWS, len(self._overlay) // 2):
            self._overlay = Overlay(self._base.catalogue, self._table.dim)
            self._made.clear()
            self._indexed = None
            changes = self._changes
        self._make(changes.items())
        return self._view()

    def index_due(self) -> Callable[[], Indexed] | None:
        """The making of an index of all rows that were added so far, for any thread; `use` takes its result.

        None where few lack one, or none can be made.
        """
        cells = self._cells if self._indexed is None else self._indexed.cells
        if cells is None:
            return None
        added = self._overlay.vectors
        if len(self._base.index) + len(added) - len(cells) < MIN_UNINDEXED_ROWS:
            return None
        return partial(_indexed, self._overlay, cells, added)

    def use(self, indexed: Indexed) -> Snapshot | None:
        """The snapshot that is searched by this index; None where the overlay was made anew meanwhile."""
        if indexed.overlay is not self._overlay:
            return None
        self._indexed = indexed
        return self._view()

    def _view(self) -> Snapshot:
        cells = None if self._indexed is None else self._indexed.cells
        return layered_snapshot(self._base, *self._overlay.view(), cells)

    def _make(self, changes: Iterable[tuple[str, Change]]) -> None:
        for item_id, (recipe, served) in changes:
            self._stale.pop(item_id, None)
            if recipe is None:
                self._overlay.remove(item_id)  # its row stays, for the histories that hold it
            elif self._made.get(item_id) == recipe:
                self._overlay.turn(item_id, alive=served)
            else:  # a removed item, too: histories that hold it are read by its newest recipe
                self._put(item_id, recipe, served=served)

    def _put(self, item_id: str, recipe: Recipe, *, served: bool) -> None:
        try:
            derived = self.derivation.derive_anyhow(item_id, recipe)
        except RecipeError as error:
            self._overlay.remove(item_id)
            self._made.pop(item_id, None)
            self._bundled.discard(item_id)
            if served:
                self._stale[item_id] = str(error)
            return
        self._made[item_id] = recipe
        if self.derivation.is_bundled(item_id, recipe, derived):
            self._bundled.add(item_id)
            self._overlay.put_back(item_id, alive=served)
            return
        self._bundled.discard(item_id)
        self._overlay.put(
            Item(item_id, recipe.title, recipe.categories), derived.vector, recipe.attributes, alive=served
        )


def _indexed(overlay: Overlay, cells: Cells, added: Vectors) -> Indexed:
    return Indexed(overlay, extended(cells, added))
