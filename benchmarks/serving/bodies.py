"""Bodies of requests: histories of one to fifty items, with a seed each, so that every side answers alike."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

Body = dict[str, Any]

COUNT = 512
"""Different requests, sent in turn."""


def inline_bodies(
    histories: Sequence[Sequence[str]],
    k: int,
    *,
    shortest: int = 1,
    longest: int = 50,
    count: int = COUNT,
    seed: int = 0,
    **fields: object,
) -> list[Body]:
    """Requests with the history inside: `shortest` to `longest` consecutive items of one user each.

    Lengths are uniform; users with fewer items give what they have. `fields` go into every request.
    """
    generator = Random(seed)
    bodies: list[Body] = []
    for number in range(count):
        history = generator.choice(histories)
        length = min(generator.randint(shortest, longest), len(history))
        start = generator.randint(0, len(history) - length)
        bodies.append({"history": list(history[start : start + length]), "k": k, "seed": number, **fields})
    return bodies


def stored_bodies(users: Sequence[str], k: int, *, count: int = COUNT, seed: int = 0) -> list[Body]:
    """Requests of users whose histories the service keeps."""
    generator = Random(seed)
    return [{"user_id": generator.choice(users), "k": k, "seed": number} for number in range(count)]


def write_bodies(path: Path, bodies: Sequence[Body], *, batched: bool = False) -> Path:
    """One body a line; `batched`: each as the only one of a list `requests`, as BentoML wants them."""
    lines = [json.dumps({"requests": [body]} if batched else body, separators=(",", ":")) for body in bodies]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
