"""The cost of explanations: the same requests with and without them, in turns, at k = 10, 100 and 500.

    python -m benchmarks.quality.explanations --bundles .demo/bundles --data .demo/data

The requests go through the service as HTTP would bring them, in this process and without a socket, with
histories of the data's own users: one at a time, and 64 in one batch. What is measured is processor
time, which other jobs on the machine change less than they change the clock: medians, and the median of the
pairs' ratios.
"""

import asyncio
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple

import numpy as np
import structlog
import typer
from httpx import ASGITransport, AsyncClient
from rich import box
from rich.console import Console
from rich.table import Table

from service.app import create_app
from service.settings import Settings
from training.data.dataset import read_dataset

KS = (10, 100, 500)
BATCH = 64
"""The service's largest batch by default."""

application = typer.Typer(add_completion=False)


class Cost(NamedTuple):
    """Medians over pairs of requests that differ in `explain` alone, in ms of processor time."""

    plain_ms: float
    explained_ms: float
    ratio: float
    """The median of the pairs' ratios."""


@application.command()
def main(
    bundles: Annotated[Path, typer.Option(help="Directory of bundles.")],
    data: Annotated[Path, typer.Option(help="The prepared data that the bundle learned from.")],
    pairs: Annotated[int, typer.Option(min=3, help="Pairs of requests at each k.")] = 100,
    threads: Annotated[int, typer.Option(min=1, help="Of the computation.")] = 1,
) -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    settings = Settings(bundles=bundles, compute_threads=threads, default_deadline_ms=60_000)
    histories = _histories(data, pairs)
    table = Table("k", "at once", "without, ms", "with, ms", "ratio", box=box.SIMPLE)
    for (k, at_once), cost in asyncio.run(_measured(settings, histories)).items():
        table.add_row(
            str(k), str(at_once), f"{cost.plain_ms:.2f}", f"{cost.explained_ms:.2f}", f"{cost.ratio:.3f}"
        )
    Console().print(table)


def _histories(data: Path, count: int) -> list[list[str]]:
    """The newest 50 items of users by chance."""
    dataset = read_dataset(data)
    users = np.random.default_rng(0).integers(0, len(dataset.user_ids), count)
    return [[dataset.catalogue.item_id(int(row)) for row in dataset.history(user)[-50:]] for user in users]


async def _measured(settings: Settings, histories: list[list[str]]) -> dict[tuple[int, int], Cost]:
    transport = ASGITransport(create_app(settings))
    async with AsyncClient(transport=transport, base_url="http://localhost") as client:
        found = {}
        for k in KS:
            alone = [{"history": history, "k": k} for history in histories]
            found[k, 1] = await _cost(client, "/recommend", alone)
            together = [
                {"requests": [alone[(first + other) % len(alone)] for other in range(BATCH)]}
                for first in range(0, len(alone), max(1, len(alone) // 20))
            ]
            found[k, BATCH] = await _cost(client, "/recommend/batch", together)
        return found


async def _cost(client: AsyncClient, path: str, bodies: list[dict[str, Any]]) -> Cost:
    taken: dict[bool, list[float]] = {False: [], True: []}
    for turn, body in enumerate([bodies[0], *bodies]):
        for explain in (turn % 2 == 0, turn % 2 == 1):
            started = time.process_time()
            response = await client.post(path, json=_asking(body, explain=explain))
            elapsed = 1000 * (time.process_time() - started)
            response.raise_for_status()
            if turn:  # the first pair warms up
                taken[explain].append(elapsed)
    ratios = [explained / plain for plain, explained in zip(taken[False], taken[True], strict=True)]
    return Cost(median(taken[False]), median(taken[True]), median(ratios))


def _asking(body: dict[str, Any], *, explain: bool) -> dict[str, Any]:
    if "requests" in body:
        return {"requests": [{**request, "explain": explain} for request in body["requests"]]}
    return {**body, "explain": explain}


if __name__ == "__main__":
    application()
