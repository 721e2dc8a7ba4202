"""The option that says which columns of an items file are attributes, each with its type."""

from typing import Annotated, get_args

import typer

from cli.log_options import COLUMNS
from index.attributes import MAX_ATTRIBUTES, MAX_NAME_LENGTH, AttributeType, is_attribute_name
from training.errors import ConfigError

Attributes = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute",
        metavar="COLUMN:TYPE",
        help="Keep a further column of the items file, to filter by; its type is number, date, text, boolean "
        "or texts (a list). Repeatable.",
        rich_help_panel=COLUMNS,
    ),
]


def typed_attributes(attributes: list[str]) -> dict[str, str]:
    """The attributes that were named, each with its type; raises ConfigError."""
    types = get_args(AttributeType)
    typed: dict[str, str] = {}
    for given in attributes:
        name, colon, kind = given.rpartition(":")
        if not colon or kind not in types:
            raise ConfigError(f"--attribute {given}: must be COLUMN:TYPE, the type one of {', '.join(types)}")
        if not is_attribute_name(name):
            fault = f"the column must have 1 … {MAX_NAME_LENGTH} printable characters, no blanks around them"
            raise ConfigError(f"--attribute {given}: {fault}")
        if name in typed:
            raise ConfigError(f"--attribute {given}: {name} has a type already, {typed[name]}")
        typed[name] = kind
    if len(typed) > MAX_ATTRIBUTES:
        raise ConfigError(f"--attribute: at most {MAX_ATTRIBUTES} attributes are kept, not {len(typed)}")
    return typed
