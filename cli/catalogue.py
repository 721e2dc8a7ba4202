"""`dimerec catalogue`: see and change the catalogue of a running service, or what is kept of it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.catalogue_log import DEFAULT_URL, Bundles, CatalogueFileError, blocks_of, opened_log
from cli.interrupts import NOTHING_WRITTEN, interruptible
from cli.output import Json, print_json, print_table
from cli.service_calls import CatalogueCallError, called, pages
from service.catalogue.export import is_export, read_export, write_export
from service.catalogue.responses import ListedSource

command = typer.Typer(
    no_args_is_help=True, help="See and change the catalogue of a running service; the key's role: catalogue."
)

Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help=f"Where the service answers; a path prefix may follow. [default: {DEFAULT_URL}]",
    ),
]
MAX_HEADER_BYTES = 1_000
"""Of the first line of an export: it has some 100."""


@command.command("list")
def list_items(
    source: Annotated[ListedSource, typer.Option(help="Changed ones, those without a vector, or removed.")],
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List the items that were changed or removed since the bundle in service, by id.

    - `dimerec catalogue list --source removed`

    The key is in the variable DIMEREC_KEY, since others can see this line.
    """
    items = list(_listed(url or DEFAULT_URL, source))
    if as_json:
        print_json(items)
        return
    rows = [
        (
            one["item_id"],
            one["title"] or "",
            " ".join(one["categories"]),
            str(one["sequence"] or ""),
            one["reason"],
        )
        for one in items
    ]
    print_table(("item", "title", "categories", "sequence", "reason"), rows)


@command.command("export")
def export(
    output: Annotated[Path, typer.Option(metavar="FILE", help="JSON lines; replaced as a whole.")],
    url: Url = None,
    bundles: Bundles = None,
    as_json: Json = False,
) -> None:
    """Write all changes to a file: to train by, to keep, and to restore them with `import`.

    - `dimerec catalogue export --output changes.jsonl`

    - `dimerec prepare --events watches.parquet --catalogue changes.jsonl`

    The first line has the `sequence` of the last change; then comes a line an item, with its newest entry.
    """
    with interruptible(lambda: NOTHING_WRITTEN), opened_log(url, bundles) as log:
        contents = log.read()
        write_export(output, contents)
    removed = sum(entry.removed for entry in contents.entries)
    count = len(contents.entries)
    if as_json:
        facts = {"output": output, "sequence": contents.sequence, "items": count, "removed": removed}
        print_json(facts)
    else:
        typer.echo(
            f"{count:,} items, {removed:,} of them removed, up to change {contents.sequence} → {output}"
        )


@command.command("import")
def import_items(
    items: Annotated[
        Path,
        typer.Option(metavar="FILE", help="JSON lines, each as for PUT, with `item_id`; or an export."),
    ],
    url: Url = None,
    bundles: Bundles = None,
) -> None:
    """Put the items of a file, each by itself; exit with 1 where some are refused, and name them.

    - `dimerec catalogue import --items new.jsonl`

    A line is for example `{"item_id": "v-1", "from": {"like": ["50", "181"]}}`.

    A file that `dimerec catalogue export` wrote restores what it has: each entry counts again unless the log
    has a newer one of its item.
    """
    with items.open("rb") as lines:
        restores = is_export(lines.readline(MAX_HEADER_BYTES))
    if restores:
        _restore(items, url, bundles)
        return
    if bundles is not None:
        raise CatalogueFileError(f"{items} is no export: only a service, with --url, puts items")
    _put_all(items, url or DEFAULT_URL)


def _restore(path: Path, url: str | None, bundles: Path | None) -> None:
    contents = read_export(path)
    with interruptible(lambda: "import it again"), opened_log(url, bundles) as log:
        log.restore(contents)
    typer.echo(f"{len(contents.entries):,} items restored, but for those with a newer change")


def _put_all(items: Path, url: str) -> None:
    report = _Report(items)
    with (
        interruptible(lambda: f"{report}, and maybe what was sent last; import it again"),
        items.open("rb") as lines,
    ):
        try:
            for block in blocks_of(_read_all(items, lines)):
                bodies = [body for _, body in block]
                outcomes = called(url, "POST", "/items", {"items": bodies})["items"]
                for (number, _), outcome in zip(block, outcomes, strict=True):
                    report.note(number, outcome)
        except CatalogueCallError as error:
            raise CatalogueCallError(f"{error}; {report} before") from error
    typer.echo(str(report))
    if report.refused:
        raise CatalogueCallError(
            f"{report.refused} lines of {items} were refused: mend and import these again"
        )


@command.command("remove")
def remove_items(
    item_ids: Annotated[list[str], typer.Argument(metavar="ITEM...", help="Known or not.")],
    url: Url = None,
    bundles: Bundles = None,
) -> None:
    """Take items out of all answers from now on.

    - `dimerec catalogue remove v-1 v-2`
    """
    with opened_log(url, bundles) as log:
        for item_id in item_ids:
            later = "" if log.remove(item_id) else " by one process; others follow when Redis is back"
            typer.echo(f"removed {item_id}{later}")


@command.command("compact")
def compact(
    output: Annotated[
        Path,
        typer.Option(metavar="FILE", help="All changes are exported there before, those to drop too."),
    ],
    url: Url = None,
    bundles: Bundles = None,
    as_json: Json = False,
) -> None:
    """Drop changes from which nothing follows in any bundle that is kept, and say which.

    - `dimerec catalogue compact --output before.jsonl`

    A removal is dropped where all bundles that are kept obey it and none has the item; a description where
    all of them have learned the item and say the same. Bundles obey the changes that `prepare --catalogue`
    was given. As long as the event log has a removed item, give FILE to `prepare`, too.
    """
    with (
        interruptible(lambda: f"maybe some were dropped; all are in {output}"),
        opened_log(url, bundles) as log,
    ):
        contents = log.read()
        write_export(output, contents)
        dropped, kept = log.compact()
    removed = {entry.item_id for entry in contents.entries if entry.removed}
    removals = sum(item_id in removed for item_id in dropped)
    if as_json:
        print_json({"dropped": dropped, "removals": removals, "bundles": kept, "output": output})
        return
    for item_id in dropped:
        typer.echo(f"dropped the {'removal' if item_id in removed else 'description'} of {item_id}")
    others = len(dropped) - removals
    typer.echo(
        f"{removals:,} removals and {others:,} descriptions dropped by {kept} bundles; {output} has them"
    )


@dataclass
class _Report:
    """The outcomes of the items of a file."""

    path: Path
    put: int = 0
    refused: int = 0

    def note(self, number: int, outcome: dict[str, Any]) -> None:
        """Count the outcome of a line, and name one that is refused."""
        if "detail" in outcome:
            self.refused += 1
            typer.echo(f"{self.path} line {number}: {outcome['detail']}", err=True)
        else:
            self.put += 1

    def __str__(self) -> str:
        return f"{self.put} put, {self.refused} refused"


def _listed(url: str, source: ListedSource) -> Iterator[dict[str, Any]]:
    for page in pages(url, "/items", source=source, limit=1000):
        yield from page["items"]


def _read_all(path: Path, lines: Iterable[bytes]) -> Iterator[tuple[int, object]]:
    """The items of a file by the numbers of their lines."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _read(path, number, line)


def _read(path: Path, number: int, line: bytes) -> object:
    try:
        return json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise CatalogueCallError(
            f"{path} line {number} is not UTF-8 (byte {error.start + 1} of it)"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CatalogueCallError(f"{path} line {number} is no JSON ({error})") from error
