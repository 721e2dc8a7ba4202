"""JSON as callers write it: everything once, or nobody could tell what was meant."""

import json
from collections import Counter
from typing import Any

from service.errors import MAX_NAME_LENGTH, MalformedJsonError


def parsed(content: bytes | str) -> Any:
    """The value of a JSON text; raises MalformedJsonError."""
    try:
        return json.loads(content, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        # of "Invalid control character at"
        raise MalformedJsonError(f"{error.msg.removesuffix(' at')} at character {error.pos}") from error
    except RecursionError as error:
        raise MalformedJsonError("nested too deeply") from error
    except ValueError as error:
        raise MalformedJsonError("not JSON: send UTF-8 text with numbers of reasonable length") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        repeated, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise MalformedJsonError(f"has the name {repeated[:MAX_NAME_LENGTH]!r} twice in one object")
    return values
