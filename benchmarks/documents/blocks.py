"""Blocks of a document between two comments that name them, so that a program can replace them."""

import re


class BlockError(ValueError):
    """A document without the block that belongs there."""


def read_block(text: str, name: str) -> str:
    """The lines between `<!-- name -->` and `<!-- /name -->`. Raises BlockError where there are none."""
    return _found(text, name)[2]


def with_block(text: str, name: str, content: str) -> str:
    """The document with other lines in a block. Raises BlockError where it has no such block."""
    found = _found(text, name)
    return f"{text[: found.start(2)]}{content.strip()}{text[found.end(2) :]}"


def _found(text: str, name: str) -> re.Match[str]:
    found = re.search(rf"(<!-- {re.escape(name)} -->\n)(.*?)(\n<!-- /{re.escape(name)} -->)", text, re.DOTALL)
    if found is None:
        raise BlockError(f"the document has no block between <!-- {name} --> and <!-- /{name} -->")
    return found
