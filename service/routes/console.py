"""The console: one page and its files, from this package, so that it works without any other host."""

from importlib.resources import files
from pathlib import PurePosixPath

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service.dependencies import TheService

router = APIRouter(include_in_schema=False)

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
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
    return _file("index.html")


@router.get("/console/settings.json")
def settings(service: TheService) -> JSONResponse:
    """Offers of the page that the operator allows."""
    allowed = {
        "writes": service.settings.console_writes,
        "lists_users": service.lists_users,
        "refusal": service.meanings.refusal,
    }
    return JSONResponse(allowed, headers=_HEADERS)


@router.get("/console/{name}")
def static(name: str) -> Response:
    """A file of the console's page."""
    return _file(name)


def _file(name: str) -> Response:
    media_type = _MEDIA_TYPES.get(PurePosixPath(name).suffix)
    # Looked for by name: what a caller sends never becomes a path.
    file = next((entry for entry in files("service.console").iterdir() if entry.name == name), None)
    if media_type is None or file is None:
        raise HTTPException(404)
    return Response(file.read_bytes(), media_type=media_type, headers=_HEADERS)
