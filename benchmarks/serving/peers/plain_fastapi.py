"""Plain FastAPI: a route that computes each request by itself, in a thread, as FastAPI does with `def`."""

import sys
from threading import Lock

import uvicorn
from fastapi import FastAPI, Response

from benchmarks.serving.peers.common import read_engine, recommend
from service.requests import RecommendRequest


def make_app() -> FastAPI:
    """The app with its engine."""
    engine, turn = read_engine(), Lock()
    app = FastAPI()

    @app.post("/recommend")
    def answer(request: RecommendRequest) -> Response:
        with turn:  # one forward at a time: on one core, several at once only disturb each other
            (body,) = recommend(engine, [request])
        return Response(body, media_type="application/json")

    return app


if __name__ == "__main__":
    uvicorn.run(
        make_app(),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
    )
