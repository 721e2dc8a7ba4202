"""Ray Serve: `@serve.batch` in one replica, behind its HAProxy, with its flags for throughput."""

import signal
import sys

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.serving.peers.common import BATCH_WAIT_S, MAX_BATCH, read_engine, recommend
from service.requests import RecommendRequest


class Recommend:
    """The engine in one replica."""

    def __init__(self) -> None:
        self.engine = read_engine()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WAIT_S)
    async def recommend(self, requests: list[RecommendRequest]) -> list[bytes]:
        """One forward pass."""
        return recommend(self.engine, requests)

    async def __call__(self, request: Request) -> Response:
        """Parse one request, and wait for its batch."""
        parsed = RecommendRequest.model_validate_json(await request.body())
        return Response(await self.recommend(parsed), media_type="application/json")


if __name__ == "__main__":
    ray.init(
        num_cpus=1,
        _node_ip_address="127.0.0.1",
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    deployment = serve.deployment(
        num_replicas=1, max_ongoing_requests=1024, ray_actor_options={"num_cpus": 1}
    )(Recommend)
    serve.run(deployment.bind(), route_prefix="/recommend")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
