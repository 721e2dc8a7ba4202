"""Joining the processes that share a Redis, for a service that has one."""

import os
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from service.background import Task
from service.catalogue.following import Follower
from service.catalogue.live import LiveCatalogue
from service.engines import Engines
from service.fleet import Fleet
from service.replicas.board import Board, Process
from service.replicas.fleet import ReplicatedFleet
from service.replicas.orders import Orders
from service.replicas.presence import Alone, Presence, Present


class Joined(NamedTuple):
    """A process among others; `fleet`: its own, whose swaps they follow."""

    presence: Presence
    fleet: Fleet
    ordered_ms: Callable[[], int]
    """Moment of the newest order of a replica."""
    tasks: Sequence[Task] = ()


def alone(catalogue: LiveCatalogue, engines: Engines, own: Fleet) -> Joined:
    """A process without others."""

    def describe() -> Process:
        return _new_process(engines.version, sequence=catalogue.sequence)

    return Joined(Alone(describe), own, lambda: 0)


def join(redis_url: str, root: Path, follower: Follower, engines: Engines, own: Fleet) -> Joined:
    """A process and those that share its Redis; `own`: the processes at its address.

    Raises HistoryUrlError.
    """
    board = Board.from_url(redis_url)
    orders = Orders(root, own, follower.news)
    presence = Present(board, _new_process(engines.version), engines, follower, orders, root)
    fleet = ReplicatedFleet(own, board, orders)
    return Joined(presence, fleet, lambda: orders.newest_ms, (presence.run, presence.keep_listed, orders.run))


def _new_process(version: str, sequence: int = 0) -> Process:
    return Process(secrets.token_hex(8), socket.gethostname(), os.getpid(), version, sequence=sequence)
