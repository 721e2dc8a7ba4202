"""LitServe: `max_batch_size` and `batch_timeout`, one worker, its fast queue (ZeroMQ)."""

import sys
from collections.abc import Sequence
from typing import Any

import litserve
from fastapi import Response

from benchmarks.serving.peers.common import BATCH_WAIT_S, MAX_BATCH, read_engine, recommend
from service.requests import RecommendRequest


class Recommend(litserve.LitAPI):
    """The engine in a worker process; requests and answers travel between it and the HTTP process."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - the signature is LitServe's
        """Read the engine, in the worker."""
        self.engine = read_engine()

    def decode_request(self, request: RecommendRequest) -> RecommendRequest:
        """The request as FastAPI parsed it."""
        return request

    def batch(self, inputs: Sequence[RecommendRequest]) -> Sequence[RecommendRequest]:
        """The requests of a batch, as they are."""
        return inputs

    def predict(self, requests: Any) -> list[bytes]:
        """One forward pass."""
        return recommend(self.engine, requests)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """The answers, as they are."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """The answer, encoded already."""
        return Response(output, media_type="application/json")


if __name__ == "__main__":
    api = Recommend(max_batch_size=MAX_BATCH, batch_timeout=BATCH_WAIT_S, api_path="/recommend")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        log_level="error",
        generate_client_file=False,
        access_log=False,
    )
