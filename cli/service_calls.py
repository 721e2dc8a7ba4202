"""Calls of a running service by commands, with the key in DIMEREC_KEY."""

import json
import os
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from service.errors import ServiceError

TIMEOUT_S = 60.0
"""Of a call: longer than the service takes for its largest. Chosen."""


class CatalogueCallError(ServiceError):
    """The service cannot be reached, or refuses."""


def encoded(body: object) -> bytes:
    """A body as it is sent."""
    return json.dumps(body).encode()


def called(url: str, method: str, path: str, body: object = None) -> Any:
    """The answer of the service; raises CatalogueCallError."""
    headers = {"content-type": "application/json"}
    key = os.environ.get("DIMEREC_KEY")
    if key:
        headers["authorization"] = f"Bearer {key}"
    sent = None if body is None else encoded(body)
    try:
        request = Request(url.rstrip("/") + path, sent, headers, method=method)  # noqa: S310 - looked at next
        if request.type not in {"http", "https"}:
            raise CatalogueCallError(f"{url} is no address of a service: begin it with http:// or https://")
        with urlopen(request, timeout=TIMEOUT_S) as response:  # nosec B310  # noqa: S310 - as above
            return json.load(response)
    except HTTPError as error:
        raise CatalogueCallError(_refusal(url, error)) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise CatalogueCallError(f"no answer of a service from {url} ({reason}): check --url") from error


def pages(url: str, path: str, **asked: str | int) -> Iterator[Any]:
    """The pages of a list that the service gives in parts; raises CatalogueCallError."""
    after: dict[str, str] = {}
    while True:
        page = called(url, "GET", f"{path}?{urlencode({**asked, **after})}")
        yield page
        if page["after"] is None:
            return
        after = {"after": page["after"]}


def _refusal(url: str, error: HTTPError) -> str:
    try:
        detail = json.load(error)["detail"]
    except (ValueError, KeyError, TypeError):
        detail = "no answer of this service"
    return f"{url} answers {error.code}: {detail}"
