"""Errors of a history store.

HistoryError
├── HistoryUnavailableError      the store is slow or gone; ask again later
│   ├── HistoryBusyError         all our own connections are in use; says nothing about the store
│   ├── SpoolRefusedError        the store is slow or gone, and the spool full or without its disk
│   └── HistoryUnreadableError   the store answers, but this user's history isn't one that we wrote
├── HistoryInputError            an id or a timestamp that no store can keep
└── HistoryUrlError              the address of the store can't be used
"""

from files.errors import DimeRecError


class HistoryError(DimeRecError):
    """Root of the tree; every message is one line."""


class HistoryUnavailableError(HistoryError):
    """The store is slow or gone; the same call may succeed later."""


class HistoryBusyError(HistoryUnavailableError):
    """All connections of this process were in use for too long; the store itself was not asked."""


class SpoolRefusedError(HistoryUnavailableError):
    """The store is slow or gone, and the spool is full, or its disk fails."""


class HistoryUnreadableError(HistoryUnavailableError):
    """The store holds something else than a history under this user's key."""


class HistoryInputError(HistoryError):
    """An id or a timestamp is outside what a store keeps."""


class HistoryUrlError(HistoryError):
    """The address of the store cannot be meant; `fault` says so of "the address", and repeats none of it."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        super().__init__(f"redis url: {fault}")
