"""SIGHUP, by what the process was started from, as that is what the sender means by it.

| started                              | SIGHUP                                                       |
|--------------------------------------|--------------------------------------------------------------|
| under `nohup`, or otherwise ignoring it | stays ignored                                             |
| with a terminal, which has gone now  | stops the service as SIGTERM does                            |
| without, as by a supervisor          | reloads the bundle, as `systemctl reload` expects of a daemon |
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from enum import StrEnum

import structlog

from bundle.errors import BundleError
from service.errors import ServiceError
from service.fleet import Reloading

log = structlog.get_logger("dimerec.bundles")


class HangupPolicy(StrEnum):
    """The effect of SIGHUP."""

    IGNORE = "ignore"
    STOP = "stop"
    RELOAD = "reload"


def hangup_policy() -> HangupPolicy:
    """The effect that SIGHUP is to have in this process; ask before anything else handles it.

    Until `handle_hangup`, a signal that asks for a reload is held back: it must not end a process that is
    still loading.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return HangupPolicy.IGNORE
    if _has_terminal():
        return HangupPolicy.STOP
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    return HangupPolicy.RELOAD


def handle_hangup(policy: HangupPolicy, fleet: Reloading, stop: Callable[[], None]) -> None:
    """Do what `policy` says from now on, in the running event loop of the main thread."""
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(reload_or_keep(fleet))
        reloads.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(reloads.discard)

    if policy is not HangupPolicy.IGNORE:
        loop.add_signal_handler(signal.SIGHUP, stop if policy is HangupPolicy.STOP else reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


async def reload_or_keep(fleet: Reloading) -> None:
    """Reload where nobody waits for the answer: what came of it goes to the log."""
    try:
        swap = await fleet.reload()
    except (BundleError, ServiceError) as error:
        log.error("bundle kept", version=fleet.version, reason=str(error))  # noqa: TRY400 (expected)
        return
    if swap.previous == swap.current:
        log.info("bundle unchanged", version=swap.current)


def _has_terminal() -> bool:
    """True where a terminal controls this process, wherever its input and output go."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
