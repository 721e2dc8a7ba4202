"""The floor of HTTP: FastAPI parses the same request, and sends one and the same answer of the same size."""

import os
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response

from benchmarks.serving.peers.names import CANNED
from service.requests import RecommendRequest


def make_app(canned: Path) -> FastAPI:
    """The app with its answers."""
    answers = {int(path.stem): path.read_bytes() for path in canned.glob("*.json")}
    app = FastAPI()

    @app.post("/recommend")
    async def answer(request: RecommendRequest) -> Response:
        return Response(answers[request.k], media_type="application/json")

    return app


if __name__ == "__main__":
    uvicorn.run(
        make_app(Path(os.environ[CANNED])),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
    )
