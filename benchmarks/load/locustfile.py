"""Load as an app's users make it; every answer is checked, and a wrong one counts as a failure.

    locust -f benchmarks/load/locustfile.py --config benchmarks/load/locust.conf --host http://127.0.0.1:8000

70 % recommendations for a stored user, 20 % for a history that the request brings along, 10 % events. Only
loopback hosts are asked unless `--any-host` is given, and no run is longer than ten minutes. A key of the
service (roles read, write and users) is taken from DIMEREC_KEY; on this machine none is needed.
"""

import os
import sys
import time
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.stats import StatsEntry
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.load.answers import fault_of
from benchmarks.load.population import Population

MAX_RUN_S = 600
"""A minute is usual; a run of longer than this is a mistake."""
MAX_GIVEN_HISTORY = 50
"""As many events as the model reads."""

HEADERS = {"authorization": f"Bearer {key}"} if (key := os.environ.get("DIMEREC_KEY")) else {}

population: Population
"""Of this run: Locust makes the users itself and hands them nothing of ours."""


class Viewer(FastHttpUser):
    """One connection that asks again as soon as it has the answer."""

    default_headers = HEADERS

    @task(70)
    def recommend_by_user(self) -> None:
        """For a user whose history the service keeps."""
        user = population.users.draw()
        self._recommend("stored history", {"user_id": user}, set(population.histories[user]))

    @task(20)
    def recommend_by_history(self) -> None:
        """For somebody unknown, with the history in the request."""
        length = population.generator.randint(1, MAX_GIVEN_HISTORY)
        history = list(population.histories[population.users.draw()])[-length:]
        self._recommend("given history", {"history": history}, set(history))

    @task(10)
    def watch(self) -> None:
        """One item watched."""
        user, item = population.users.draw(), population.items.draw()
        event = {"user_id": user, "item_id": item, "timestamp": int(time.time() * 1000)}
        with self.rest("POST", "/events", json=event, name="events") as response:
            if not response.js:
                return
            if response.js["added"] + response.js["repeated"] != 1:
                response.failure(f"the event was not added: {response.js}")
            population.histories[user].append(item)

    def _recommend(self, name: str, who: dict[str, Any], seen: set[str]) -> None:
        request = who | {"k": population.generator.choices((10, 20, 50), (6, 3, 1))[0]}
        if population.generator.random() < 0.1:
            request["diversity"] = 0.3
        with self.rest("POST", "/recommend", json=request, name=name) as response:
            if not response.js:
                return
            fault = fault_of(response.js, request, seen, population.catalogue_size)
            if fault is not None:
                response.failure(fault)


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Options of our own."""
    parser.add_argument("--any-host", action="store_true", help="ask other hosts than this one too")
    parser.add_argument("--seed", type=int, default=0, help="of users, items and requests")


@events.init.add_listener
def meet_the_users(environment: Environment, **_: object) -> None:
    """Refuse what this is not for, then learn who the users are."""
    global population
    options = environment.parsed_options
    if options is None or not options.headless or not options.run_time:
        sys.exit("load: give --headless and --run-time, or --config benchmarks/load/locust.conf")
    if options.run_time > MAX_RUN_S:
        sys.exit(f"load: --run-time is at most {MAX_RUN_S} s")
    host = environment.host or ""
    if not (_is_loopback(host) or options.any_host):
        sys.exit(f"load: {host or 'no --host'} is not this machine; --any-host asks it all the same")
    try:
        population = Population(host.rstrip("/"), options.seed, HEADERS)
    except (OSError, ValueError) as error:
        sys.exit(f"load: {host}: {error} (`make demo DETACH=1` starts the demo)")


@events.quitting.add_listener
def print_summary(environment: Environment, **_: object) -> None:
    """Print the figures as one table, and the failures with their reasons."""
    stats = environment.stats
    table = Table(box=box.SIMPLE_HEAD, caption="RPS: requests a second; times in ms")
    table.add_column("")
    for heading in ("requests", "failures", "RPS", "p50", "p95", "p99", "longest"):
        table.add_column(heading, justify="right")
    for entry in stats.entries.values():
        table.add_row(entry.name, *_figures(entry))
    table.add_section()
    table.add_row("all", *_figures(stats.total))
    console = Console()
    console.print(table)
    for error in stats.errors.values():
        console.print(f"{error.occurrences} × {error.name}: {error.error}", markup=False)


def _figures(entry: StatsEntry) -> list[str]:
    percentiles = [f"{entry.get_response_time_percentile(share):.0f}" for share in (0.5, 0.95, 0.99)]
    counts = [f"{entry.num_requests:,}", f"{entry.num_failures:,}", f"{entry.total_rps:.1f}"]
    return [*counts, *percentiles, f"{entry.max_response_time:.0f}"]


def _is_loopback(host: str) -> bool:
    name = urlsplit(host).hostname or ""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
