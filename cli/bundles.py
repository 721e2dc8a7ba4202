"""`dimerec bundles`: look after published bundles."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bundle.errors import BundleError, BundleMissingError
from bundle.manifest import Manifest
from bundle.read import current_version, previous_version, verify, versions
from bundle.write import prune, set_current

command = typer.Typer(no_args_is_help=True, help="List, verify and prune published bundles; choose CURRENT.")

Root = Annotated[Path, typer.Option(help="Directory of bundles.")]
DEFAULT_ROOT = Path("bundles")


@command.command("list")
def list_bundles(root: Root = DEFAULT_ROOT) -> None:
    """List every version, newest first, with the one in service marked."""
    found = _published(root)
    current = current_version(root)
    table = Table("", "version", "items", "dim", "validation ndcg@10", "size", "state")
    for version in found:
        mark = "→" if version == current else ""
        try:
            table.add_row(mark, version, *_facts(verify(root, version)), "whole")
        except BundleError as error:
            table.add_row(mark, version, "", "", "", "", f"[red]{error}[/red]")
    Console().print(table)


@command.command("verify")
def verify_bundles(
    versions_: Annotated[
        list[str] | None, typer.Argument(metavar="[VERSION]...", help="Default: all of them.")
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Check that every file of the bundles is whole and its own; exit with 1 at the first that is not."""
    for version in versions_ or _published(root):
        verify(root, version)
        typer.echo(f"{version} is whole")


@command.command("prune")
def prune_bundles(
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest versions stay.")] = 5,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Remove all but the newest versions; the one in service always stays."""
    removed = prune(root, keep)
    for version in removed:
        typer.echo(f"removed {version}")
    typer.echo(f"{len(removed)} removed, {len(versions(root))} left")


@command.command("use")
def use_bundle(
    version: Annotated[str | None, typer.Argument(help="Default: the one before the one in service.")] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Put another version in service (roll back); a running service takes it up with `/admin/reload`."""
    chosen = version or previous_version(root)
    if chosen is None:
        raise BundleMissingError(f"{root} holds no version older than the one in service")
    set_current(root, chosen)
    typer.echo(f"{chosen} is CURRENT")


def _published(root: Path) -> list[str]:
    found = versions(root)
    if not found:
        raise BundleMissingError(f"nothing is published under {root}: run `dimerec publish` first")
    return found


def _facts(manifest: Manifest) -> list[str]:
    size = sum(entry.size for entry in manifest.files.values())
    quality = manifest.metrics.get("validation/ndcg@10")
    return [
        f"{manifest.model.items:,}",
        str(manifest.model.dim),
        "" if quality is None else f"{quality:.4f}",
        f"{size / 1e6:.1f} MB",
    ]
