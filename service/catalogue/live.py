"""The changes of the catalogue that count now, in the engine that answers and for answers on their way."""

import asyncio
import bisect
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import itemgetter
from weakref import WeakKeyDictionary

from msgspec.structs import replace

from bundle.errors import BundleIncompatibleError
from engine.changes import Change
from engine.engine import Engine
from files.clock import now_ms
from service.catalogue.protocol import Contents, Entry

INDEXED_EVERY_S = 1.0
"""Between two looks whether an index is due. Chosen: a burst of changes has few made, and soon the last."""

MAX_TAKEN = 256
"""Entries that are made to count at once. Chosen: nothing is answered meanwhile, for some ms."""

LOSING_S = 1.0
"""For so long after an item went, others are expected to go. Chosen: as long as an answer may take."""

_NONE: AbstractSet[str] = frozenset()


class LiveCatalogue:
    """Every item's newest entry, and the engine that serves by them.

    It is changed on the event loop alone: between two awaits the engine, `generation` and `is_gone` say the
    same. An engine that is being loaded is brought up to date in its own thread, and once more when it is
    put into service. `clock`: ms since the epoch.
    """

    def __init__(self, contents: Contents, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock
        self._passed_ms = contents.passed_ms
        self._come_ms = 0
        self._entries: dict[str, Entry] = {}
        self._changed_at: dict[str, int] = {}
        self._generation = 0
        self._brought: WeakKeyDictionary[Engine, int] = WeakKeyDictionary()
        self._engine: Engine | None = None
        self._gone: set[str] = set()
        self._lost_s = -math.inf
        self._struck: dict[str, None] = {}
        self._live: set[str] = set()
        self._moments: list[tuple[int, str]] = []
        self._stale_of: WeakKeyDictionary[Engine, Mapping[str, str]] = WeakKeyDictionary()
        self.compacted = contents.compacted
        """Entries up to this one may have been dropped: a bundle must obey them."""
        self.sequence = contents.sequence
        """The highest sequence that counts here."""
        self.take(contents.entries)

    @property
    def generation(self) -> int:
        """Counts the changes, those by time included: an answer of an earlier one is looked at again."""
        self.pass_time()
        return self._generation

    def now_ms(self) -> int:
        """The clock."""
        return self._clock()

    @property
    def passed_ms(self) -> int:
        """The highest moment that was seen."""
        return self._passed_ms

    @property
    def come_ms(self) -> int:
        """The last moment that has come at which an item came or went; 0 where none has."""
        return self._come_ms

    @property
    def next_ms(self) -> int | None:
        """The next moment at which an item comes or goes."""
        return self._moments[0][0] if self._moments else None

    @property
    def stale(self) -> Mapping[str, str]:
        """Items that the bundle in service has no vector for: id → reason."""
        return {} if self._engine is None else self._stale_of[self._engine]

    @property
    def added_items(self) -> int:
        """Items that are new or changed beside the bundle in service, and not gone for good."""
        return len(self._live) - len(self._live & self._bundled)

    @property
    def removed_items(self) -> int:
        """Items that are gone for good, whether a bundle has them or not."""
        return len(self._entries.keys() | self._struck.keys()) - len(self._live)

    @property
    def struck(self) -> Collection[str]:
        """Items that are removed here whatever their entries say, the first struck first."""
        return self._struck.keys()

    def is_live(self, item_id: str) -> bool:
        """True for an item that was put and is not gone for good."""
        return item_id in self._live

    def is_added(self, item_id: str) -> bool:
        """True for one of these that the bundle in service does not have in the same way."""
        return item_id in self._live and item_id not in self._bundled

    @property
    def contents(self) -> Contents:
        """All that counts here."""
        return Contents(list(self._entries.values()), self._passed_ms, self.sequence, self.compacted)

    def entry(self, item_id: str) -> Entry | None:
        """The newest entry of an item, None where nothing was changed; sequence 0: struck and no other."""
        entry = self._entries.get(item_id)
        if item_id not in self._struck:
            return entry
        return Entry(item_id, 0, removed=True) if entry is None else replace(entry, removed=True)

    def entries(self) -> Iterator[Entry]:
        """All entries."""
        return filter(None, map(self.entry, [*self._entries.keys() | self._struck.keys()]))

    @property
    def is_losing(self) -> bool:
        """True while items go, so that an answer that is made now may lose some."""
        return time.monotonic() - self._lost_s < LOSING_S

    def is_gone(self, item_id: str) -> bool:
        """True where an item is removed, no longer available, or not yet."""
        return item_id in self._gone

    def is_removed(self, item_id: str) -> bool:
        """True where an item is removed, or no longer available."""
        return item_id in self._gone and item_id not in self._live

    def take(self, entries: Iterable[Entry]) -> None:
        """Let entries count from now on, each unless a newer one of its item does.

        Another one of the same sequence is newer: a log that was lost has given it anew, to what came since.
        """
        changed = []
        for entry in entries:
            known = self._entries.get(entry.item_id)
            if known is None or (known.sequence <= entry.sequence and known != entry):
                self._set(entry)
                changed.append(entry.item_id)
        self._tell_service(changed)

    async def take_all(self, entries: Sequence[Entry]) -> None:
        """As `take`, of any number: some at once, so that others are answered in between."""
        for start in range(0, len(entries), MAX_TAKEN):
            self.take(entries[start : start + MAX_TAKEN])
            await asyncio.sleep(0)

    def strike(self, item_ids: Collection[str]) -> None:
        """Remove items here until they are released, beside what the log says."""
        self._struck.update(dict.fromkeys(item_ids))
        self._mark_all(item_ids)

    def release(self, item_ids: Collection[str]) -> None:
        """Let the entries of struck items count again; each has one by now."""
        released = [item_id for item_id in item_ids if item_id in self._struck]
        for item_id in released:
            del self._struck[item_id]
        self._mark_all(released)

    def pass_time(self, moment_ms: int = 0) -> None:
        """Let items come and go whose moment has come, by the clock or because `moment_ms` has passed.

        A clock that was set back changes nothing.
        """
        self._passed_ms = max(self._passed_ms, moment_ms)
        if not self._moments:
            return
        now_ms = max(self._passed_ms, self._clock())
        if now_ms < self._moments[0][0]:
            return
        self._passed_ms = now_ms
        come = bisect.bisect_right(self._moments, now_ms, key=itemgetter(0))
        self._come_ms = self._moments[come - 1][0]
        changed = [item_id for _, item_id in self._moments[:come]]
        del self._moments[:come]
        self._mark_all(changed)

    def note_sequence(self, sequence: int) -> None:
        """Note that changes up to this one were made, whether an item still has them or not."""
        self.sequence = max(self.sequence, sequence)

    def forget(self, item_ids: Iterable[str]) -> None:
        """Forget entries from which nothing follows in a bundle that obeys them; engines stay as they are."""
        for item_id in item_ids:
            self._forget_moments(item_id)
            del self._entries[item_id]
            self._changed_at.pop(item_id, None)
            self._gone.discard(item_id)
            self._live.discard(item_id)
            self._generation += 1

    def note_compacted(self, contents: Contents) -> None:
        """Forget what a log has dropped of which it has this, once a bundle that obeys it is in service."""
        self.compacted = max(self.compacted, contents.compacted)
        if self._engine is None or self._engine.manifest.catalogue_sequence < contents.compacted:
            return
        there = {*(entry.item_id for entry in contents.entries), *self._struck}
        self.forget(
            [
                item_id
                for item_id, entry in self._entries.items()
                if entry.sequence <= contents.compacted and item_id not in there
            ]
        )

    def unfit(self, engine: Engine) -> str | None:
        """The reason why an engine's bundle may hold what was removed and is forgotten; None if it cannot."""
        obeyed = engine.manifest.catalogue_sequence
        if obeyed >= self.compacted:
            return None
        return (
            f"{engine.version} obeys changes of the catalogue up to {obeyed}, and those up to"
            f" {self.compacted} were compacted: prepare with --catalogue, train and publish again"
        )

    def bring(self, engine: Engine) -> None:
        """Make all changes to an engine that it has not seen, before it is in service; from any thread.

        Raises BundleIncompatibleError for a bundle that may hold what was removed and is forgotten.
        """
        reason = self.unfit(engine)
        if reason is not None:
            raise BundleIncompatibleError(reason)
        brought, generation = self._brought.get(engine, -1), self._generation
        changed = [item_id for item_id, at in list(self._changed_at.items()) if at > brought]
        entries = filter(None, map(self.entry, changed))  # some may be forgotten by now
        self._stale_of[engine] = engine.change({entry.item_id: self._change(entry) for entry in entries})
        self._brought[engine] = generation

    async def keep_indexed(self) -> None:
        """Give the changes an index when there are many, made in a thread of its own; never returns."""
        while True:
            await asyncio.sleep(INDEXED_EVERY_S)
            await self.index()

    async def index(self) -> None:
        """Give the changes an index if one is due."""
        engine = self._engine
        making = None if engine is None else engine.index_due()
        if engine is not None and making is not None:
            engine.search_by(await asyncio.to_thread(making))

    def serve(self, engine: Engine) -> None:
        """Bring an engine that is to answer from now on up to date, on the event loop."""
        self.bring(engine)
        self._engine = engine

    @property
    def _bundled(self) -> AbstractSet[str]:
        return _NONE if self._engine is None else self._engine.bundled

    def _set(self, entry: Entry) -> None:
        self._forget_moments(entry.item_id)
        self._entries[entry.item_id] = entry
        self.sequence = max(self.sequence, entry.sequence)
        self._passed_ms = max(self._passed_ms, self._clock())
        for moment in _moments(entry):
            if moment > self._passed_ms:
                bisect.insort(self._moments, (moment, entry.item_id))
            else:
                self._come_ms = max(self._come_ms, moment)
        self._mark(entry.item_id)

    def _forget_moments(self, item_id: str) -> None:
        known = self._entries.get(item_id)
        for moment in () if known is None else _moments(known):
            index = bisect.bisect_left(self._moments, (moment, item_id))
            if self._moments[index : index + 1] == [(moment, item_id)]:
                del self._moments[index]

    def _mark_all(self, item_ids: Collection[str]) -> None:
        for item_id in item_ids:
            self._mark(item_id)
        self._tell_service(item_ids)

    def _mark(self, item_id: str) -> None:
        """Count an item as changed, and note whether it is gone."""
        entry = self._known(item_id)
        self._generation += 1
        self._changed_at[entry.item_id] = self._generation
        if self._is_served(entry):
            self._gone.discard(entry.item_id)
        else:
            self._gone.add(entry.item_id)
            self._lost_s = time.monotonic()
        (self._live.add if self._is_live(entry) else self._live.discard)(entry.item_id)

    def _known(self, item_id: str) -> Entry:
        entry = self.entry(item_id)
        if entry is None:
            raise KeyError(item_id)
        return entry

    def _tell_service(self, item_ids: Collection[str]) -> None:
        if self._engine is not None and item_ids:
            changes = {item_id: self._change(self._known(item_id)) for item_id in item_ids}
            self._stale_of[self._engine] = self._engine.change(changes)
            self._brought[self._engine] = self._generation

    def _change(self, entry: Entry) -> Change:
        return Change(entry.recipe, self._is_served(entry))

    def _is_served(self, entry: Entry) -> bool:
        description = entry.description
        if entry.removed or description is None:
            return False
        begun = description.available_from is None or description.available_from <= self._passed_ms
        return begun and self._is_live(entry)

    def _is_live(self, entry: Entry) -> bool:
        description = entry.description
        if entry.removed or description is None:
            return False
        return description.available_until is None or self._passed_ms < description.available_until


def _moments(entry: Entry) -> list[int]:
    """The moments at which an item comes and goes."""
    description = entry.description
    if entry.removed or description is None:
        return []
    times = description.available_from, description.available_until
    return [moment for moment in times if moment is not None]
