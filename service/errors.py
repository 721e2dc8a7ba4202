"""Errors of serving; `problems.py` alone knows which HTTP answer each becomes.

```
ServiceError
├── InvalidRequestError         the request cannot be answered as asked; names the fields
│   ├── MalformedPathError          an id in the path is no UTF-8
│   └── TooCostlyError              it would take more computation than one request, or one batch, may
├── UnknownItemError            the catalogue has no such item
├── VectorSpaceDiffersError     a vector is of another model than the one in service
├── CatalogueFullError          as many items were changed as the service keeps beside a bundle
├── CompactionRefusedError      not all bundles are known to obey the changes that would be dropped
├── CatalogueUnavailableError   changes of the catalogue cannot be kept here, or not now
├── RequestRefusedError         the service protects itself or the caller's deadline
│   ├── OverloadedError             the queue is full or too long; come back after `retry_after_s`
│   ├── DeadlineExceededError       the caller's deadline passed while the request waited
│   └── ClosingError                the service is shutting down
├── NotReadyError               the engine cannot take requests now
├── WorkerError                 a call between the supervisor and a worker failed
│   └── WorkerGoneError             the process at the other end has ended
├── ClientLeftError             the caller hung up before the answer
├── ConnectionFaultError        a connection breaks its bounds and is ended
│   ├── MalformedHttpError          not HTTP
│   ├── HeadTooLargeError           too many bytes or headers before the body
│   ├── RequestTimeoutError         the request does not come to its end
│   └── CrowdedError                too many connections, all of them busy
├── BodyTooLargeError           more bytes than the service reads
├── GzipError                   the body is not the gzip that it is declared to be
├── ContentEncodingError        the body is compressed in another way than gzip
├── MalformedJsonError          the body is not JSON, or has an object with a name twice
├── MediaTypeError              the body is not declared as JSON
├── AccessError                 the caller may not do this
│   ├── KeyMissingError             the call needs a key, and none was sent
│   ├── KeyUnknownError             the key that was sent is none of ours
│   └── RoleMissingError            the key lacks the role that the call needs
├── UsersNotListedError         listing users is switched off
├── NoEarlierBundleError        there is nothing to roll back to
├── BundleRootReadOnlyError     the rollback cannot be recorded
├── HostRefusedError            the header Host names somebody else
├── RateExceededError           the key's requests come faster than its rate
├── KeysError                   the file of keys cannot be read, or not be changed as asked
└── StartupError                the service cannot start; the message is one line with the remedy
```

Errors of other packages that reach a caller keep their trees: `HistoryUnavailableError` and `BundleError`.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from files.errors import DimeRecError

MAX_ERRORS = 20
"""Faults that an answer names: enough to mend a request, however many a batch has."""
MAX_NAME_LENGTH = 200
"""Of what a caller named something, in a message."""


class FieldFault(NamedTuple):
    """The fault of one field of a request."""

    field: str
    """Path into the request, for example `history[3]` or `events[0].timestamp`."""
    message: str


class ServiceError(DimeRecError):
    """Any expected trouble of the service."""


class InvalidRequestError(ServiceError):
    """The request is well-formed but cannot be answered as asked."""

    def __init__(self, fields: Sequence[FieldFault]) -> None:
        self.fields = tuple(fields)
        super().__init__("; ".join(f"{field}: {message}" for field, message in self.fields))


class MalformedPathError(InvalidRequestError):
    """An id in the path is no UTF-8."""


class TooCostlyError(InvalidRequestError):
    """The request, or the batch, would take more computation than one may."""


class UnknownItemError(ServiceError):
    """The catalogue in service has no item of that id."""


class VectorSpaceDiffersError(ServiceError):
    """A vector that was sent is of another model than the one in service."""


class CatalogueFullError(ServiceError):
    """As many items are new or changed as the service keeps beside a bundle."""

    def __init__(self, bound: int) -> None:
        super().__init__(
            f"{bound} items are new or changed since the bundle: train and publish one with them"
        )


class CompactionRefusedError(ServiceError):
    """Not all bundles are known to obey the changes that would be dropped; nothing was."""


class CatalogueUnavailableError(ServiceError):
    """Changes of the catalogue cannot be kept here, or not now; nothing was changed."""


class RequestRefusedError(ServiceError):
    """The request was turned away before it cost any computation."""

    reason: ClassVar[str]
    """A word for metrics."""


class OverloadedError(RequestRefusedError):
    """The queue is full, or so long that the answer would come after the deadline."""

    reason = "overloaded"

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(
            f"{waiting} requests are waiting already and this one could not be answered in time; "
            f"try again in {retry_after_s} s"
        )


class DeadlineExceededError(RequestRefusedError):
    """The caller's deadline passed while the request waited."""

    reason = "deadline"

    def __init__(self) -> None:
        super().__init__(
            "deadline_ms passed, or would have during the work, and nothing was computed: "
            "allow more time or send fewer requests at once"
        )


class ClosingError(RequestRefusedError):
    """The service is shutting down and takes no new work."""

    reason = "closing"

    def __init__(self) -> None:
        super().__init__("the service is shutting down: send the request to another replica")


class NotReadyError(ServiceError):
    """The engine is stuck or shutting down, or knows too little of the catalogue."""


class WorkerError(ServiceError):
    """A call between the supervisor and a worker failed in a way that was not expected; the log says more."""


class WorkerGoneError(WorkerError):
    """The process that was called has ended."""


class ClientLeftError(ServiceError):
    """The caller closed the connection before the answer was ready."""


class ConnectionFaultError(ServiceError):
    """A connection breaks its bounds and is ended."""

    reason: ClassVar[str]
    """A word for metrics."""


class MalformedHttpError(ConnectionFaultError):
    """The bytes that came are not HTTP."""

    reason = "malformed"

    def __init__(self) -> None:
        super().__init__("this is no HTTP/1.1 request that can be read")


class HeadTooLargeError(ConnectionFaultError):
    """More bytes or headers came before the body than the service reads."""

    reason = "head-too-large"

    def __init__(self) -> None:
        super().__init__("at most 32 KiB and 100 headers are read before a body: send fewer or shorter ones")


class RequestTimeoutError(ConnectionFaultError):
    """The rest of the request does not come."""

    reason = "request-timeout"

    def __init__(self) -> None:
        super().__init__("the headers or the body took too long to come: send the request at once")


class CrowdedError(ConnectionFaultError):
    """There are too many connections, and all of them are busy."""

    reason = "crowded"

    def __init__(self) -> None:
        super().__init__("too many connections are open and busy: try again, or ask another replica")


class BodyTooLargeError(ServiceError):
    """The request body is larger than the service reads."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"larger than {limit} bytes, as sent or decompressed: split the request")


class GzipError(ServiceError):
    """The request body is not the gzip that it is declared to be."""


class ContentEncodingError(ServiceError):
    """The request body is compressed in another way than gzip."""


class MalformedJsonError(ServiceError):
    """The request body is not JSON, is nested too deeply, or has an object with a name twice."""


class MediaTypeError(ServiceError):
    """The request body is not declared as JSON."""


class AccessError(ServiceError):
    """The caller may not do this."""


class KeyMissingError(AccessError):
    """The call needs a key, and none was sent."""

    def __init__(self, role: str) -> None:
        super().__init__(
            f"send a key with the role {role}, as `Authorization: Bearer KEY` or `X-API-Key: KEY`; "
            "`dimerec keys create` makes one"
        )


class KeyUnknownError(AccessError):
    """The key that was sent is none of ours."""

    def __init__(self) -> None:
        super().__init__("no such key is known; it may have been revoked, or cut when it was copied")


class RoleMissingError(AccessError):
    """The key lacks the role that the call needs."""

    def __init__(self, key: str, role: str) -> None:
        super().__init__(f"the key {key} lacks the role {role}: use one that has it")


class UsersNotListedError(ServiceError):
    """The settings do not allow users to be listed."""


class NoEarlierBundleError(ServiceError):
    """There is no earlier bundle to roll back to."""


class BundleRootReadOnlyError(ServiceError):
    """CURRENT cannot be written, so a rollback would not survive a restart."""


class HostRefusedError(ServiceError):
    """The header `Host` names somebody else."""

    def __init__(self) -> None:
        super().__init__("this service does not answer to that Host: DIMEREC_ALLOWED_HOSTS lists its names")


class RateExceededError(ServiceError):
    """The requests of a key come faster than its rate."""

    def __init__(self, key: str, rate: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"the key {key} may send {rate}; try again in {retry_after_s} s")


class KeysError(ServiceError):
    """The file of keys cannot be read, or cannot be changed as asked."""


class StartupError(ServiceError):
    """The service cannot start as configured."""
