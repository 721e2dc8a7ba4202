"""`dimerec catalogue`: see and change the catalogue of a running service."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import typer

from cli.interrupts import interruptible
from cli.output import Json, print_json, print_table
from service.catalogue.requests import MAX_ITEMS
from service.catalogue.responses import ListedSource
from service.errors import ServiceError

command = typer.Typer(
    no_args_is_help=True, help="See and change the catalogue of a running service; the key's role: catalogue."
)

Url = Annotated[str, typer.Option(metavar="URL", help="Where the service answers; a path prefix may follow.")]
DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_S = 60.0
"""Of a call: longer than the service takes for its largest. Chosen."""
MAX_BLOCK_BYTES = 512 * 1024
"""Of the items of a call, unless it is one: half of what a service reads unless told otherwise."""


class CatalogueCallError(ServiceError):
    """The service cannot be reached, or refuses."""


@command.command("list")
def list_items(
    source: Annotated[ListedSource, typer.Option(help="Changed ones, those without a vector, or removed.")],
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """List the items that were changed or removed since the bundle in service, by id.

    - `dimerec catalogue list --source removed`

    The key is in the variable DIMEREC_KEY, since others can see this line.
    """
    items = list(_listed(url, source))
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


@command.command("import")
def import_items(
    items: Annotated[Path, typer.Option(metavar="FILE", help="JSON lines, each as for PUT, with `item_id`.")],
    url: Url = DEFAULT_URL,
) -> None:
    """Put the items of a file, each by itself; exit with 1 where some are refused, and name them.

    - `dimerec catalogue import --items new.jsonl`

    A line is for example `{"item_id": "v-1", "from": {"like": ["50", "181"]}}`.
    """
    report = _Report(items)
    with (
        interruptible(lambda: f"{report}, and maybe what was sent last; import it again"),
        items.open("rb") as lines,
    ):
        try:
            for block in _blocks(items, lines):
                bodies = [body for _, body in block]
                outcomes = _called(url, "POST", "/items", {"items": bodies})["items"]
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
    url: Url = DEFAULT_URL,
) -> None:
    """Take items out of all answers from now on.

    - `dimerec catalogue remove v-1 v-2`
    """
    for item_id in item_ids:
        answer = _called(url, "DELETE", f"/items/{quote(item_id, safe='')}")
        later = "" if answer["sequence"] is not None else " by one process; others follow when Redis is back"
        typer.echo(f"removed {item_id}{later}")


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
    after: dict[str, str] = {}
    while True:
        page = _called(url, "GET", f"/items?{urlencode({'source': source, 'limit': 1000, **after})}")
        yield from page["items"]
        if page["after"] is None:
            return
        after = {"after": page["after"]}


def _blocks(path: Path, lines: Iterable[bytes]) -> Iterator[list[tuple[int, object]]]:
    """The items of a file by the numbers of their lines, as many together as one call takes."""
    block: list[tuple[int, object]] = []
    size = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        item = _read(path, number, line)
        length = len(_encoded(item))
        if block and (len(block) == MAX_ITEMS or size + length > MAX_BLOCK_BYTES):
            yield block
            block, size = [], 0
        block.append((number, item))
        size += length
    if block:
        yield block


def _read(path: Path, number: int, line: bytes) -> object:
    try:
        return json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise CatalogueCallError(
            f"{path} line {number} is not UTF-8 (byte {error.start + 1} of it)"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CatalogueCallError(f"{path} line {number} is no JSON ({error})") from error


def _encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def _called(url: str, method: str, path: str, body: object = None) -> Any:
    """The answer of the service; raises CatalogueCallError."""
    headers = {"content-type": "application/json"}
    key = os.environ.get("DIMEREC_KEY")
    if key:
        headers["authorization"] = f"Bearer {key}"
    sent = None if body is None else _encoded(body)
    try:
        request = Request(url.rstrip("/") + path, sent, headers, method=method)  # noqa: S310 - looked at next
        if request.type not in {"http", "https"}:
            raise CatalogueCallError(f"{url} is no address of a service: begin it with http:// or https://")
        with urlopen(request, timeout=TIMEOUT_S) as response:  # nosec B310  # noqa: S310 - as above
            return json.load(response)
    except HTTPError as error:
        raise CatalogueCallError(_refusal(url, error)) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise CatalogueCallError(f"no answer of a service from {url} ({reason}): check --url") from error


def _refusal(url: str, error: HTTPError) -> str:
    try:
        detail = json.load(error)["detail"]
    except (ValueError, KeyError, TypeError):
        detail = "no answer of this service"
    return f"{url} answers {error.code}: {detail}"
