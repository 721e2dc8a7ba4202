"""The one rule of what may be an id: of a user, an item or an event."""

import re

MAX_ID_LENGTH = 128
"""Characters that an id has at most, at least 1."""

PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]+$"
"""What an id matches besides: no control characters; read alike by Python, Polars, pydantic, JSON Schema."""

_PRINTABLE = re.compile(PRINTABLE)


def is_id(text: str) -> bool:
    """Return whether `text` may be an id: 1 … 128 characters, none of them a control character."""
    return len(text) <= MAX_ID_LENGTH and _PRINTABLE.fullmatch(text) is not None
