"""Who asks for what: real users and items of the running service, drawn by a Zipf law."""

import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

MAX_USERS = 1000
KEPT_EVENTS = 1000
"""The newest events that the service keeps of a user, DIMEREC_HISTORY_MAX_EVENTS by default."""

_TIMEOUT_S = 10.0
"""The longest wait of a request by default (`default_deadline_ms`)."""

Member = TypeVar("Member")


class Zipf(Generic[Member]):
    """Draws members with a probability that falls as 1 / rank; the first is rank 1."""

    def __init__(self, members: Sequence[Member], generator: Random) -> None:
        self._members = members
        self._cumulative = list(accumulate(1 / rank for rank in range(1, len(members) + 1)))
        self._generator = generator

    def draw(self) -> Member:
        """One member."""
        return self._generator.choices(self._members, cum_weights=self._cumulative)[0]


class Population:
    """The users and items of the service at `host`, and what each user has watched up to now.

    `headers` go with every request. Raises OSError when nothing answers there, and ValueError when it knows
    no users.
    """

    def __init__(self, host: str, seed: int, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        service = _Service(host, headers)
        users: list[str] = service.get(f"/users?limit={MAX_USERS}")["users"]
        if not users:
            raise ValueError("the service knows no users: fill its history first")
        self.catalogue_size: int = service.get("/version")["items"]
        self.histories = {user: service.history(user) for user in users}
        self.generator = Random(seed)
        self.generator.shuffle(users)
        watched = Counter(item for history in self.histories.values() for item in history)
        self.users = Zipf(users, self.generator)
        self.items = Zipf([item for item, _ in watched.most_common()], self.generator)


class _Service:
    """Reads JSON from the service, asking no proxy."""

    def __init__(self, host: str, headers: Mapping[str, str]) -> None:
        self._host = host
        self._opener = build_opener(ProxyHandler({}))
        self._opener.addheaders += headers.items()

    def get(self, path: str) -> Any:
        with self._opener.open(self._host + path, timeout=_TIMEOUT_S) as response:
            return json.load(response)

    def history(self, user: str) -> deque[str]:
        """The items of a user's events, oldest first."""
        events = self.get(f"/users/{quote(user, safe='')}/history?limit={KEPT_EVENTS}")["events"]
        return deque((event["item_id"] for event in events if event["known"]), maxlen=KEPT_EVENTS)
