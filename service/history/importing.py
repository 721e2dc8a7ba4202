"""Bulk import of histories into Redis: many users a round trip, and a restart skips what is done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import NamedTuple

from service.history.protocol import AppendResult, Event
from service.history.redis import RedisHistory

EVENTS_A_STEP = 20_000
"""A bound on memory and on how long Redis is held up: some 2 MB of commands."""

History = tuple[str, Sequence[Event]]
"""A user's id and events."""


class Imported(NamedTuple):
    """The work of one step of an import."""

    users: int
    events: int
    result: AppendResult


async def import_histories(
    store: RedisHistory, job: str, histories: Iterable[History], done: int = 0
) -> AsyncIterator[Imported]:
    """Append histories, about EVENTS_A_STEP events a round trip, and yield after each.

    `done` users of the job came before these. After every step the number of users done is noted in Redis for
    `store.import_progress(job)`, so that a later run may leave them out. A step that was interrupted may be
    done again: that changes nothing.
    """
    for step in _steps(histories):
        result = await store.append_many([(user_id, event) for user_id, events in step for event in events])
        done += len(step)
        await store.note_import_progress(job, done)
        yield Imported(len(step), sum(len(events) for _, events in step), result)
    await store.note_import_progress(job, None)


def _steps(histories: Iterable[History]) -> Iterator[list[History]]:
    step: list[History] = []
    size = 0
    for history in histories:
        step.append(history)
        size += len(history[1])
        if size >= EVENTS_A_STEP:
            yield step
            step, size = [], 0
    if step:
        yield step
