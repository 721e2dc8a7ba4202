"""What a history should be, written once more as plainly as possible, to compare the stores with."""

from collections.abc import Sequence

from service.history.protocol import AppendResult, Event


class PlainHistory:
    """One user's history as a list that is searched from end to end."""

    def __init__(self, max_events: int, forgotten_at: int | None = None) -> None:
        self.max_events = max_events
        self.forgotten_at = forgotten_at
        self.events: list[Event] = []

    def append(self, events: Sequence[Event]) -> AppendResult:
        new: list[Event] = []
        for event in events:
            if not any(same(event, other) for other in [*self.events, *new]):
                new.append(event)
        for event in new:
            earlier = [other for other in self.events if other.timestamp <= event.timestamp]
            later = [other for other in self.events if other.timestamp > event.timestamp]
            self.events = [*earlier, event, *later]
        if self.forgotten_at is not None:
            self.events = [event for event in self.events if event.timestamp > self.forgotten_at]
        while len(self.events) > self.max_events:
            self.events.pop(0)
        kept = sum(event in self.events for event in new)
        return AppendResult(added=kept, repeated=len(events) - len(new), outdated=len(new) - kept)

    def remove(self, event_id: str) -> int:
        before = len(self.events)
        self.events = [event for event in self.events if event.event_id != event_id]
        return before - len(self.events)

    def read(self, limit: int) -> list[Event]:
        newest = list(reversed(self.events))[:limit]
        return [event._replace(event_id=None) for event in reversed(newest)]


def same(event: Event, other: Event) -> bool:
    if event.event_id is None and other.event_id is None:
        first, second = ((one.item_id, one.timestamp, one.event_type) for one in (event, other))
        return first == second
    return event.event_id == other.event_id
