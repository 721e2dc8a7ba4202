"""Compaction of the log: entries from which nothing follows in any bundle that is kept are dropped.

That is so where all bundles obey an entry (`catalogue_sequence`), and
- it is a removal, and no bundle has the item;
- or it describes the item as every bundle has it, which has learned a vector of its own there.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from bundle.read import read_catalogue, versions
from engine.recipes import MIN_LEARNED_EVENTS
from index.catalogue import Catalogue
from service.catalogue.protocol import Description, Entry
from service.errors import CompactionRefusedError
from service.replicas.board import Process


class Kept(NamedTuple):
    """A bundle that is kept; its data obey changes up to `sequence`."""

    version: str
    catalogue: Catalogue
    sequence: int


def kept_bundles(root: Path) -> list[Kept]:
    """All bundles under a root, verified, newest first.

    Raises BundleError, and CompactionRefusedError where one of them obeys no change.
    """
    kept = []
    for version in versions(root):
        manifest, catalogue = read_catalogue(root, version)
        if not manifest.catalogue_sequence:
            raise CompactionRefusedError(
                f"{version} obeys no change of the catalogue, so that all of them count: prepare others with"
                " --catalogue, and let `dimerec bundles prune` remove it"
            )
        kept.append(Kept(version, catalogue, manifest.catalogue_sequence))
    if not kept:
        raise CompactionRefusedError(f"nothing is published under {root}: every change counts")
    return kept


def check_kept(kept: Sequence[Kept], processes: Sequence[Process]) -> None:
    """Raise CompactionRefusedError where a process keeps a bundle that is not among these."""
    known = {one.version for one in kept}
    for process in processes:
        lacking = sorted({process.version, *process.kept} - known)
        if lacking:
            raise CompactionRefusedError(
                f"{process.name} keeps {lacking[0]}, which is not looked into here: bring the bundle to this"
                " replica, or prune it there"
            )


def droppable(entries: Iterable[Entry], kept: Sequence[Kept]) -> list[Entry]:
    """The entries from which nothing follows in any of these bundles."""
    obeyed = min(one.sequence for one in kept)
    return [one for one in entries if 0 < one.sequence <= obeyed and _is_spent(one, kept)]


def _is_spent(entry: Entry, kept: Sequence[Kept]) -> bool:
    if entry.removed:
        return all(one.catalogue.row(entry.item_id) is None for one in kept)
    return entry.description is not None and all(
        _says(one.catalogue, entry.item_id, entry.description) for one in kept
    )


def _says(catalogue: Catalogue, item_id: str, description: Description) -> bool:
    """True where the item is learned, and described in the same way."""
    row = catalogue.row(item_id)
    if row is None or catalogue.popularity[row - 1] < MIN_LEARNED_EVENTS:
        return False
    item = catalogue.item(row)
    own = Description(item.title, item.categories, attributes=catalogue.attributes_of(row))  # type: ignore[arg-type]
    return own == description
