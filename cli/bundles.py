"""`dimerec bundles`: look after published bundles."""

import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.text import Text

from bundle.errors import BundleDamagedError, BundleError, BundleMissingError, BundleRequestError
from bundle.manifest import Manifest
from bundle.read import current_version, previous_version, verify, versions
from bundle.write import prune, set_current
from cli.output import Json, print_json, print_table

command = typer.Typer(no_args_is_help=True, help="List, verify and prune published bundles; choose CURRENT.")

Bundles = Annotated[Path, typer.Option(help="Directory of bundles.")]
DEFAULT_BUNDLES = Path("bundles")
MAX_NAMED = 5
"""Versions that an error names; `dimerec bundles list` shows all."""


class _State(NamedTuple):
    """Facts about a published version; `manifest` is None where a file of it is damaged: `error`."""

    version: str
    in_service: bool
    manifest: Manifest | None
    error: str | None


@command.command("list")
def list_bundles(bundles: Bundles = DEFAULT_BUNDLES, as_json: Json = False) -> None:
    """List every version, newest first, with the one in service marked.

    - `dimerec bundles list --bundles bundles`

    - `dimerec bundles list --json | jq -r '.[] | select(.in_service).version'`
    """
    states = _states(bundles, _published(bundles))
    if as_json:
        print_json([_document(state) for state in states])
        return
    print_table(
        ["", "version", "items", "dim", "validation ndcg@10", "size", "state"],
        [["→" if state.in_service else "", state.version, *_facts(state)] for state in states],
    )


@command.command("verify")
def verify_bundles(
    versions_: Annotated[
        list[str] | None, typer.Argument(metavar="[VERSION]...", help="Default: all of them.")
    ] = None,
    bundles: Bundles = DEFAULT_BUNDLES,
    as_json: Json = False,
) -> None:
    """Check that every file of the bundles is whole and its own; exit with 1 where one is not.

    - `dimerec bundles verify --bundles bundles`
    """
    states = _states(bundles, versions_ or _published(bundles))
    if as_json:
        print_json([_document(state) for state in states])
    else:
        for state in states:
            typer.echo(f"{state.version} is {'whole' if state.error is None else 'damaged'}")
    errors = [state.error for state in states if state.error is not None]
    if errors:
        raise BundleDamagedError("; ".join(errors))


@command.command("prune")
def prune_bundles(
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest versions stay.")] = 5,
    bundles: Bundles = DEFAULT_BUNDLES,
    as_json: Json = False,
) -> None:
    """Remove all but the newest versions; the one in service always stays.

    - `dimerec bundles prune --keep 5 --bundles bundles`
    """
    removed = prune(bundles, keep)
    left = versions(bundles)
    if as_json:
        print_json({"removed": removed, "left": left})
        return
    for version in removed:
        typer.echo(f"removed {version}")
    typer.echo(f"{len(removed)} removed, {len(left)} left")


@command.command("use")
def use_bundle(
    version: Annotated[
        str | None, typer.Argument(help="Which one. [default: asks, where there is a terminal]")
    ] = None,
    previous: Annotated[
        bool, typer.Option("--previous", help="Roll back: the newest that is older than the one in service.")
    ] = False,
    bundles: Bundles = DEFAULT_BUNDLES,
    as_json: Json = False,
) -> None:
    """Put another version in service, or roll back; a running service takes it up with `/admin/reload`.

    - `dimerec bundles use --previous --bundles bundles`

    - `dimerec bundles use 20261125T180903.861988Z-2ff33a39 --bundles bundles`
    """
    if previous and version is not None:
        raise BundleRequestError(f"--previous chooses a version itself: leave out it or {version}")
    chosen = _older(bundles) if previous else version or _asked(bundles)
    set_current(bundles, chosen)
    if as_json:
        print_json({"version": chosen, "bundles": bundles})
    else:
        typer.echo(f"{chosen} is CURRENT")


def _older(bundles: Path) -> str:
    found = previous_version(bundles)
    if found is None:
        raise BundleMissingError(f"{bundles} holds no version older than the one in service")
    return found


def _asked(bundles: Path) -> str:
    """The version that a person chooses; raises BundleRequestError, naming some, without a terminal."""
    found, current = _published(bundles), current_version(bundles)
    named = [f"{version} (in service)" if version == current else version for version in found]
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        more = f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else ""
        raise BundleRequestError(
            "name the version to put in service, or give --previous for the one before it:"
            f" {', '.join(named[:MAX_NAMED])}{more}"
        )
    for rank, name in enumerate(named, start=1):
        typer.echo(f"{rank:>3}  {name}", err=True)
    number: int = typer.prompt("Number of the version to put in service", type=int, err=True)
    if not 1 <= number <= len(found):
        raise BundleRequestError(f"there is no number {number}; CURRENT is as before")
    return found[number - 1]


def _published(bundles: Path) -> list[str]:
    found = versions(bundles)
    if not found:
        raise BundleMissingError(f"nothing is published under {bundles}: run `dimerec publish` first")
    return found


def _states(bundles: Path, names: list[str]) -> list[_State]:
    current = current_version(bundles)
    return [_state(bundles, version, in_service=version == current) for version in names]


def _state(bundles: Path, version: str, *, in_service: bool) -> _State:
    try:
        return _State(version, in_service, verify(bundles, version), None)
    except (BundleRequestError, BundleMissingError):
        raise  # no such version: nothing to tell of
    except BundleError as error:
        return _State(version, in_service, None, str(error))


def _document(state: _State) -> dict[str, object]:
    manifest = state.manifest
    known = manifest and {
        "created": manifest.created,
        "items": manifest.model.items,
        "dim": manifest.model.dim,
        "metrics": manifest.metrics,
        "refit": manifest.refit,
        "bytes": _size(manifest),
    }
    return {
        "version": state.version,
        "in_service": state.in_service,
        "whole": state.error is None,
        "error": state.error,
        **(known or {}),
    }


def _facts(state: _State) -> list[str | Text]:
    manifest = state.manifest
    if manifest is None:
        return ["", "", "", "", Text(state.error or "", style="red")]
    quality = manifest.metrics.get("validation/ndcg@10")
    return [
        f"{manifest.model.items:,}",
        str(manifest.model.dim),
        "" if quality is None else f"{quality:.4f}",
        f"{_size(manifest) / 1e6:.1f} MB",
        "whole, refit" if manifest.refit else "whole",
    ]


def _size(manifest: Manifest) -> int:
    return sum(entry.size for entry in manifest.files.values())
