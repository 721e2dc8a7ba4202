"""BentoML: a batchable endpoint, which the caller sends lists of one to, as its documentation shows."""

from typing import Any

import bentoml

from benchmarks.serving.peers.common import MAX_BATCH, read_engine, recommend
from service.requests import RecommendRequest


@bentoml.service(
    workers=1,
    threads=1,
    traffic={"timeout": 60, "max_concurrency": 1024},
    logging={"access": {"enabled": False}},
)
class Recommend:
    """The engine behind BentoML's adaptive batching."""

    def __init__(self) -> None:
        self.engine = read_engine()

    @bentoml.api(
        route="/recommend", batchable=True, batch_dim=0, max_batch_size=MAX_BATCH, max_latency_ms=60_000
    )
    def recommend(self, requests: list[dict[str, Any]]) -> list[str]:
        """One forward pass."""
        parsed = [RecommendRequest.model_validate(one) for one in requests]
        return [body.decode() for body in recommend(self.engine, parsed)]
