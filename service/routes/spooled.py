"""The answer to a change that waits in the spool."""

from http import HTTPStatus
from typing import Any

from fastapi import Response

from service.responses import SpooledResponse
from service.spool.writes import Spooled

SPOOLED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": SpooledResponse,
        "description": "Taken in durably, not visible yet: Redis is away, and `DIMEREC_SPOOL` is set",
    }
}
"""OpenAPI description."""


def spooled(outcome: Spooled) -> Response:
    """202: taken in, and not visible yet."""
    body = SpooledResponse(spooled=outcome.changes, visible=False)
    return Response(body.model_dump_json(), HTTPStatus.ACCEPTED, media_type="application/json")
