"""The console: one page and its files, from this package, so that it works without any other host."""

from importlib.resources import files

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)

_MEDIA_TYPES = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "favicon.svg": "image/svg+xml",
}
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
}


@router.get("/")
def page() -> Response:
    """The console's page."""
    return _file("index.html", "text/html; charset=utf-8")


@router.get("/console/{name}")
def static(name: str) -> Response:
    """A file of the console's page."""
    media_type = _MEDIA_TYPES.get(name)
    if media_type is None:
        raise HTTPException(404)
    return _file(name, media_type)


def _file(name: str, media_type: str) -> Response:
    content = files("service.console").joinpath(name).read_bytes()
    return Response(content, media_type=media_type, headers=_HEADERS)
