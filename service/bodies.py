"""Pure ASGI middleware that reads request bodies: bounded, and decompressed where they are gzip."""

import asyncio
import zlib

from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLargeError, ContentEncodingError, GzipError, ServiceError
from service.problems import response_to

MAX_UNREAD_BYTES = 4 * 1024
"""Of routes that read no body."""
READ = frozenset({"/recommend", "/recommend/batch", "/events", "/items", "/catalogue"})
"""Paths of the routes that read one, beside those of single items."""
MAX_GZIP_MEMBERS = 1_000
"""Parts of one gzip body; each costs a little, however small it is."""

_LINGER_BYTES = 64 * 1024 * 1024
"""Of a refused body, read and thrown away, so that the sender reads why before the connection ends: 64 times
the largest that is allowed by default.
"""
_LINGER_S = 10.0
"""The same in time."""


class RequestBody:
    """Gives the app the whole body at once, decompressed, or refuses it.

    `limit` bounds the bytes, by their declared length or while they stream in, and what they decompress to;
    where no body is read, the bound is lower.
    Decompression stops there, so that a small body cannot become a large one. After a refusal some more of
    the body is read and thrown away, so that a caller that is still sending sees the answer rather than a
    broken connection.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            first = [await _read(Headers(scope=scope), receive, self._limit_of(scope))]
        except (BodyTooLargeError, ContentEncodingError, GzipError) as error:
            await _refuse(error, scope, receive, send)
            return

        async def replay() -> Message:
            return first.pop() if first else await receive()

        await self._app(scope, replay, send)

    def _limit_of(self, scope: Scope) -> int:
        path = get_route_path(scope)
        reads = path in READ or path.startswith("/items/")
        return self._limit if reads else min(self._limit, MAX_UNREAD_BYTES)


class Gunzip:
    """Decompresses gzip as it arrives, of one member or several, with padding between and after them."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        self._members = 1

    def feed(self, data: bytes, room: int) -> bytes:
        """The decompressed `data`; at most `room` + 1 bytes, after which the rest of it is lost.

        Raises GzipError.
        """
        content = bytearray()
        while data and len(content) <= room:
            if self._member.eof and not (data := self._next_member(data)):
                break
            try:
                content += self._member.decompress(data, room + 1 - len(content))
            except zlib.error as error:
                raise GzipError("not gzip, although `content-encoding` says so") from error
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        return bytes(content)

    def finish(self) -> None:
        """Raise GzipError unless the last member is complete."""
        if not self._member.eof:
            raise GzipError("the gzip data end too early")

    def _next_member(self, data: bytes) -> bytes:
        """The part of `data` that belongs to the next member."""
        data = data.lstrip(b"\0")
        if data:
            self._members += 1
            if self._members > MAX_GZIP_MEMBERS:
                raise GzipError(f"more than {MAX_GZIP_MEMBERS} gzip members: compress the body as one")
            self._member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        return data


async def _read(headers: Headers, receive: Receive, limit: int) -> Message:
    """The body in one message, or that the caller left."""
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise BodyTooLargeError(limit)
    gunzip = _decoder(headers)
    body = bytearray()
    received = 0
    message: Message = {"more_body": True}
    while message.get("more_body", False):
        message = await receive()
        if message["type"] != "http.request":
            return message
        chunk = message.get("body", b"")
        received += len(chunk)
        body += gunzip.feed(chunk, limit - len(body)) if gunzip else chunk
        if max(received, len(body)) > limit:
            raise BodyTooLargeError(limit)
    if gunzip and received:
        gunzip.finish()
    return {"type": "http.request", "body": bytes(body), "more_body": False}


def _decoder(headers: Headers) -> Gunzip | None:
    """The decompressor of the body that these headers announce, None for a plain one.

    Raises ContentEncodingError.
    """
    named = ",".join(headers.getlist("content-encoding")).lower().split(",")
    encodings = [name for name in map(str.strip, named) if name not in ("", "identity")]
    announced = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if not encodings or not announced:
        return None
    if len(encodings) > 1 or encodings[0] not in ("gzip", "x-gzip"):
        raise ContentEncodingError("send the body with `content-encoding: gzip`, or uncompressed without one")
    return Gunzip()


async def _refuse(error: ServiceError, scope: Scope, receive: Receive, send: Send) -> None:
    async def send_unfinished(message: Message) -> None:
        await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

    response = response_to(error, scope, {"connection": "close"})
    await response(scope, receive, send_unfinished)
    await _discard(receive)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    left = _LINGER_BYTES
    try:
        async with asyncio.timeout(_LINGER_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
