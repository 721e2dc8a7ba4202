"""The option of every command that obeys changes of the catalogue: `prepare` and `recommend`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli.log_options import path_of
from service.catalogue.export import read_export
from service.catalogue.protocol import Contents, Entry
from training.data.catalogue_changes import CatalogueChanges, Described

CatalogueExports = Annotated[
    list[Path] | None,
    typer.Option(
        "--catalogue",
        metavar="FILE",
        parser=path_of,
        help="Changes of the catalogue to obey, as `dimerec catalogue export` wrote them. Repeatable; the"
        " newest of an item counts.",
    ),
]


def contents_of(exports: Sequence[Path] | None) -> Contents:
    """The changes of some exports of one log, the newest of each item. Raises ExportError and OSError."""
    read = [read_export(path) for path in exports or ()]
    entries: dict[str, Entry] = {}
    for entry in sorted((one for contents in read for one in contents.entries), key=lambda one: one.sequence):
        entries[entry.item_id] = entry
    return Contents(
        list(entries.values()),
        max((contents.passed_ms for contents in read), default=0),
        max((contents.sequence for contents in read), default=0),
    )


def changes_of(exports: Sequence[Path] | None) -> CatalogueChanges | None:
    """The same for training; None where there are no exports."""
    if not exports:
        return None
    contents = contents_of(exports)
    return CatalogueChanges(
        files=[path.name for path in exports],
        sequence=contents.sequence,
        removed=frozenset(entry.item_id for entry in contents.entries if entry.removed),
        described={
            entry.item_id: Described(
                entry.description.title, entry.description.categories, entry.description.attributes
            )
            for entry in contents.entries
            if entry.description is not None and not entry.removed
        },
    )
