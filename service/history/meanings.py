"""Meanings of events by their type: what counts as watched, what is not wanted, and what says nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Literal, NamedTuple, cast, get_args

from service.history.protocol import Event

Meaning = Literal["positive", "negative", "ignored"]

DEFAULT_MEANINGS = "watch=positive,like=positive,skip=negative,dislike=negative,block=negative"
"""Chosen: names that apps use."""
MAX_TYPES = 64
"""Chosen: more than any app has."""
MAX_TYPE_LENGTH = 64
"""Characters of a name. Chosen: each event keeps its own."""
TYPE_NAME = rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_TYPE_LENGTH - 1}}}"


_TYPE = attrgetter("event_type")


class Judged(NamedTuple):
    """A history by the meaning of its events.

    `positive`: items as the model reads them, oldest first; `negative`: those whose newest event is negative,
    none of which is among the others.
    """

    positive: list[str]
    negative: Sequence[str] = ()


class Meanings:
    """The meaning of each type of events."""

    def __init__(self, of_type: Mapping[str, Meaning]) -> None:
        self._of_type: dict[str | None, Meaning] = dict(of_type) | {None: "positive"}

    @classmethod
    def parse(cls, text: str) -> Meanings:
        """The meanings in `type=meaning,type=meaning`; raises ValueError that says what the text must be."""
        of_type: dict[str, Meaning] = {}
        for part in filter(None, map(str.strip, text.split(","))):
            name, _, meaning = map(str.strip, part.partition("="))
            if not re.fullmatch(TYPE_NAME, name) or meaning not in get_args(Meaning):
                raise ValueError("must be like watch=positive,skip=negative,seen=ignored")
            if name in of_type:
                raise ValueError(f"names {name} twice")
            of_type[name] = cast("Meaning", meaning)
        if len(of_type) > MAX_TYPES:
            raise ValueError(f"must name at most {MAX_TYPES} types")
        return cls(of_type)

    @property
    def types(self) -> list[str]:
        """Types that have a meaning."""
        return [name for name in self._of_type if name is not None]

    @property
    def refusal(self) -> str | None:
        """The type by which the console refuses an item: `dislike`, else the first negative one."""
        negative = [name for name in self.types if self.of(name) == "negative"]
        return "dislike" if "dislike" in negative else next(iter(negative), None)

    def of(self, event_type: str | None) -> Meaning | None:
        """The meaning of a type, None where it has none; an event without a type is positive."""
        return self._of_type.get(event_type)

    def judge(self, events: Sequence[Event]) -> Judged:
        """A history, oldest first; an item goes by its newest event. Types without a meaning are ignored."""
        if not any(map(_TYPE, events)):  # as a rule, and histories are long
            return Judged([event.item_id for event in events])
        meanings = list(map(self._of_type.get, map(_TYPE, events)))
        judged = [
            (event.item_id, meaning == "positive")
            for event, meaning in zip(events, meanings, strict=True)
            if meaning in ("positive", "negative")
        ]
        wanted = dict(judged)  # by the newest of each
        return Judged(
            [item_id for item_id, is_positive in judged if is_positive and wanted[item_id]],
            [item_id for item_id, is_wanted in wanted.items() if not is_wanted],
        )
