"""Routes whose ids are parts of the path, and may hold slashes."""

from urllib.parse import quote, unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from service.errors import FieldFault, MalformedPathError


class EncodedPathRoute(APIRoute):
    """A route that is matched on the path as it was sent, before `%2F` becomes a slash.

    So `/users/a%2Fevents%2Fb/history` is about the user `a/events/b`, and `/users/a/events/b%2Fhistory` about
    the event `b/history` of the user `a`: after decoding nobody could tell.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the encoded path, and decode what it names."""
        encoded = scope.get("raw_path") or quote(scope["path"]).encode()  # servers may leave `raw_path` out
        match, child = super().matches({**scope, "path": encoded.decode("latin-1")})
        if match is not Match.NONE:
            child["path_params"] = {
                # What is no UTF-8 stays recognisable, and is refused: it would be the same id for all.
                name: unquote(value, errors="surrogateescape") if isinstance(value, str) else value
                for name, value in child["path_params"].items()
            }
        return match, child

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the base class does; raises MalformedPathError for an id that is no UTF-8."""
        faults = [
            FieldFault(name, "no UTF-8: percent-encode the id's bytes in UTF-8")
            for name, value in scope["path_params"].items()
            if isinstance(value, str) and not _is_unicode(value)
        ]
        if faults:
            raise MalformedPathError(faults)
        await super().handle(scope, receive, send)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
