"""The one place that knows HTTP: every error becomes an `application/problem+json` answer (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.types import Scope

from bundle.errors import BundleError
from files.errors import field_path
from service import errors
from service.access.headers import SECURITY
from service.errors import FieldFault
from service.history.errors import HistoryUnavailableError, HistoryUnreadableError
from service.responses import FieldProblem, Problem

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """A kind of problem: HTTP status, stable name, and title for people."""

    status: int
    name: str
    title: str


KINDS: dict[type[Exception], Kind] = {
    errors.MalformedPathError: Kind(400, "malformed-path", "An id in the path is no text"),
    errors.TooCostlyError: Kind(422, "too-costly", "The request takes too much computation"),
    errors.InvalidRequestError: Kind(422, "invalid-request", "The request is invalid"),
    errors.UnknownItemError: Kind(404, "item-unknown", "No such item"),
    errors.VectorSpaceDiffersError: Kind(409, "vector-space-differs", "The vector is of another model"),
    errors.CompactionRefusedError: Kind(409, "compaction-refused", "No change may be dropped"),
    errors.CatalogueFullError: Kind(409, "catalogue-full", "Too many items were changed"),
    errors.CatalogueUnavailableError: Kind(503, "catalogue-unavailable", "The catalogue cannot be changed"),
    errors.OverloadedError: Kind(503, "overloaded", "Too many requests are waiting"),
    errors.DeadlineExceededError: Kind(504, "deadline-exceeded", "The deadline passed"),
    errors.ClosingError: Kind(503, "closing", "The service is shutting down"),
    errors.NotReadyError: Kind(503, "not-ready", "The service cannot take requests"),
    errors.ClientLeftError: Kind(499, "client-left", "The caller left"),
    errors.MalformedHttpError: Kind(400, "malformed-http", "This is not HTTP"),
    errors.RequestTimeoutError: Kind(408, "request-timeout", "The request does not come to its end"),
    errors.HeadTooLargeError: Kind(431, "head-too-large", "The headers are too large"),
    errors.CrowdedError: Kind(503, "crowded", "Too many connections are open"),
    errors.BodyTooLargeError: Kind(413, "body-too-large", "The body is too large"),
    errors.GzipError: Kind(400, "malformed-gzip", "The body is not gzip"),
    errors.ContentEncodingError: Kind(415, "content-encoding-unsupported", "The body's encoding is unknown"),
    errors.MalformedJsonError: Kind(400, "malformed-json", "The body is not JSON"),
    errors.MediaTypeError: Kind(415, "media-type-unsupported", "The body is not declared as JSON"),
    errors.KeyMissingError: Kind(401, "key-missing", "A key is needed"),
    errors.KeyUnknownError: Kind(401, "key-unknown", "The key is not known"),
    errors.RoleMissingError: Kind(403, "role-missing", "The key may not do this"),
    errors.HostRefusedError: Kind(400, "host-refused", "The Host is not this service's"),
    errors.RateExceededError: Kind(429, "rate-exceeded", "Too many requests with this key"),
    errors.UsersNotListedError: Kind(403, "users-not-listed", "Listing users is switched off"),
    errors.NoEarlierBundleError: Kind(409, "no-earlier-bundle", "There is no earlier bundle"),
    errors.BundleRootReadOnlyError: Kind(409, "bundle-root-read-only", "The rollback cannot be recorded"),
    BundleError: Kind(409, "bundle-unusable", "The bundle cannot be loaded"),
    HistoryUnavailableError: Kind(503, "history-unavailable", "The history store does not answer"),
    HistoryUnreadableError: Kind(503, "history-unreadable", "What is kept of the user is no history"),
}
EXPECTED = tuple(KINDS)
"""Errors that are told to the caller; all others are the service's own."""
UNEXPECTED = Kind(500, "internal", "The service failed")
TRY_AGAIN = "try again in a moment"
RETRY_AFTER_S = 1
"""Of what is refused for a moment, where the error itself knows no better."""
_NO_SUCH_PATH = "no such path: /openapi.json lists them all, none but / ends in a slash"

_RESPONSES = {
    400: "The body is not JSON, or nested too deeply, or not the gzip it is declared as; or a path not UTF-8",
    401: "A key is needed and none was sent, or the one that was sent is not known",
    403: "The key lacks the role that this needs, or it is switched off in this service",
    404: "No such item, or no such path",
    409: "The bundles on disk, or in service, do not allow it; the service keeps what it has",
    413: "The body is larger than the service reads, as sent or decompressed",
    415: "The body is not declared as `application/json`, or compressed in another way than gzip",
    422: "A field is missing or out of bounds; `errors` names it",
    429: "The key's rate is exceeded; `Retry-After` says when to come back",
    503: "Overloaded, shutting down, or without a store that it needs; `Retry-After` says when to come back",
    504: "`deadline_ms` passed before the work began",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI descriptions of the problems that a route may answer with."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": _RESPONSES[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem."""
    for error in (*KINDS, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(error, _handle)


def problem_of(error: Exception, request_id: str) -> Problem:
    """The problem that tells the caller about `error`; unexpected ones keep their details to the log."""
    kind = _kind_of(error)
    fields = _fields_of(error)
    detail = "; ".join(f"{field}: {message}" for field, message in fields[: errors.MAX_ERRORS])
    if len(fields) > errors.MAX_ERRORS:
        detail += f"; and {len(fields) - errors.MAX_ERRORS} more"
    return Problem(
        type=f"urn:dimerec:problem:{kind.name}",
        title=kind.title,
        status=kind.status,
        detail=detail or _detail_of(error),
        errors=[FieldProblem(field=field, message=message) for field, message in fields[: errors.MAX_ERRORS]],
        request_id=request_id,
    )


def response_to(error: Exception, scope: Scope, headers: Mapping[str, str] | None = None) -> Response:
    """The HTTP answer to `error` in the request of `scope`."""
    request_id = scope.get("state", {}).get("request_id", "")
    problem = problem_of(error, request_id)
    return JSONResponse(
        problem.model_dump(),
        status_code=problem.status,
        headers={"x-request-id": request_id, **SECURITY, **_headers_of(error), **(headers or {})},
        media_type=MEDIA_TYPE,
    )


async def _handle(request: Request, error: Exception) -> Response:
    return response_to(error, request.scope)


def _kind_of(error: Exception) -> Kind:
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return Kind(error.status_code, phrase.lower().replace(" ", "-"), phrase)
    if isinstance(error, RequestValidationError):  # a ValidationError of an answer is no fault of the caller
        return KINDS[errors.InvalidRequestError]
    return next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), UNEXPECTED)


def _detail_of(error: Exception) -> str:
    if isinstance(error, HTTPException):
        return _NO_SUCH_PATH if error.status_code == HTTPStatus.NOT_FOUND else error.detail
    if isinstance(error, HistoryUnreadableError):
        return "something else wrote it: `DELETE /users/{user_id}/history` takes it away"
    if isinstance(error, HistoryUnavailableError):
        return TRY_AGAIN  # its own words may name hosts
    if _kind_of(error) is UNEXPECTED:
        return "the log has the details under this request_id"
    return str(error)


def _headers_of(error: Exception) -> dict[str, str]:
    if isinstance(error, HTTPException):
        return dict(error.headers or {})
    if isinstance(error, errors.KeyMissingError | errors.KeyUnknownError):
        return {"www-authenticate": "Bearer"}
    if isinstance(error, errors.ContentEncodingError):
        return {"accept-encoding": "gzip"}
    if isinstance(error, errors.OverloadedError | errors.RateExceededError):
        return {"retry-after": str(error.retry_after_s)}
    kind = _kind_of(error)
    if kind is UNEXPECTED:
        return {"connection": "close"}  # the server closes it after an exception; callers must not reuse it
    return {"retry-after": str(RETRY_AFTER_S)} if kind.status == HTTPStatus.SERVICE_UNAVAILABLE else {}


def _fields_of(error: Exception) -> Sequence[FieldFault]:
    if isinstance(error, errors.InvalidRequestError):
        return error.fields
    if isinstance(error, errors.BodyTooLargeError | errors.GzipError | errors.MalformedJsonError):
        return [FieldFault("body", str(error))]
    if isinstance(error, RequestValidationError):
        return [field for fault in error.errors() for field in _fields_of_fault(fault, fault["loc"][1:])]
    return []


def faults_of(error: ValidationError) -> list[FieldFault]:
    """The fields that a validation found fault with."""
    faults = error.errors(include_url=False, include_input=False)
    return [field for fault in faults for field in _fields_of_fault(fault, fault["loc"])]


def _fields_of_fault(fault: ErrorDetails, location: Sequence[str | int]) -> list[FieldFault]:
    """Name the field(s) of one pydantic fault at `location` in what was validated."""
    field = (
        field_path(location)[: errors.MAX_NAME_LENGTH] or "body"
    )  # names come from the caller, so they are cut
    named = fault.get("ctx", {}).get("fields", [field])
    return [FieldFault(name, fault["msg"]) for name in named]
