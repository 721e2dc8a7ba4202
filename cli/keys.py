"""`dimerec keys`: make, list and revoke the keys of the service's callers."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import Json, print_json, print_table
from service.access.keys import ApiKey, create_key, read_keys, revoke_key
from service.access.roles import MEANINGS, Role
from service.settings import read_settings

command = typer.Typer(
    help="Make, list and revoke API keys. A running service takes up a change within a second.",
    no_args_is_help=True,
)

KeysFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The file of keys. [default: DIMEREC_KEYS_FILE, else keys.json]"),
]
Name = Annotated[str, typer.Argument(help="Who it is for, as logs and metrics shall call it.")]

_ROLES = "; ".join(f"{role}: {meaning}" for role, meaning in MEANINGS.items())


@command.command()
def create(
    name: Name,
    role: Annotated[list[Role], typer.Option(help=f"What it may do; repeat it for several. {_ROLES}.")],
    rate: Annotated[
        str | None,
        typer.Option(metavar="N/UNIT", help="Most requests, e.g. 100/second or 5000/hour."),
    ] = None,
    keys_file: KeysFile = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the key there, readable to its owner, instead of printing it. Where both the name "
            "and the file are there, nothing is done.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once.

        dimerec keys create backend --role read --role write

    Callers send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`. Only its SHA-256 is kept; a key that
    was lost is revoked and made anew.
    """
    path = _path(keys_file)
    if save is not None and save.exists() and any(key.name == name for key in read_keys(path)):
        typer.echo(f"{path} has the key {name} already; there is nothing to do.", err=True)
        return
    key = create_key(path, name, role, save, rate)
    if save is not None:
        typer.echo(f"The key {name} is in {save}.", err=True)
    elif as_json:
        print_json({"name": name, "roles": sorted(role), "key": key})
    else:
        typer.echo(f"The key {name}, shown this once:", err=True)
        typer.echo(key)


@command.command("list")
def list_keys(keys_file: KeysFile = None, as_json: Json = False) -> None:
    """List the keys by name, with their roles; the keys themselves are not kept."""
    keys = read_keys(_path(keys_file))
    if as_json:
        print_json([_described(key) for key in keys])
        return
    rows = [
        (key.name, " ".join(sorted(key.roles)), key.rate or "any", f"{key.created:%Y-%m-%d %H:%M}")
        for key in keys
    ]
    print_table(("name", "roles", "rate", "created"), rows)


@command.command()
def revoke(name: Name, keys_file: KeysFile = None) -> None:
    """Take a key away: within a second its holder is refused."""
    path = _path(keys_file)
    revoke_key(path, name)
    typer.echo(f"{path} has the key {name} no more.", err=True)


def _described(key: ApiKey) -> dict[str, object]:
    return {
        "name": key.name,
        "roles": sorted(key.roles),
        "rate": key.rate,
        "created": key.created.isoformat(timespec="seconds"),
    }


def _path(given: Path | None) -> Path:
    return read_settings(keys_file=given).keys_file
