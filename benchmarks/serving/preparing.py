"""Everything that the parts need and that takes long to make, made beforehand."""

import time
from collections.abc import Callable
from functools import partial

from benchmarks.serving.parts import computing, costs, searching
from benchmarks.serving.peer_sides import PEERS, environment_python
from benchmarks.serving.stage import Stage


def prepare(stage: Stage) -> None:
    """Environments, bundles of all commits, synthetic bundles, indexes of all libraries."""
    steps: dict[str, Callable[[], object]] = {
        f"environment of {name}": partial(environment_python, name, stage.cache)
        for name in (*PEERS, "search")
    }
    for code in (stage.ours, *stage.before):
        steps[f"bundle of {code.name}"] = partial(stage.bundles, code)
    for items in computing.SIZES:
        steps[f"{items:,} items"] = partial(computing.synthetic, stage, items)
    for kind in stage.kinds:
        largest = computing.SIZES[-1]
        steps[f"{largest:,} items, {kind}"] = partial(computing.synthetic, stage, largest, kind=kind)
    for items in computing.DEFAULT_SIZES:
        steps[f"{items:,} items, default model"] = partial(computing.synthetic, stage, items, "default")
    for items in (computing.SIZES[0], costs.SEARCHED_ITEMS):
        steps[f"{items:,} items with attributes"] = partial(
            computing.synthetic, stage, items, attributes=True
        )
    steps["vectors to search"] = partial(searching.prepared, stage)
    for name in searching.names():
        steps[f"index of {name}"] = partial(searching.build, stage, name)
    for name, step in steps.items():
        began = time.perf_counter()
        step()
        print(f"serving: {name}: {time.perf_counter() - began:.0f} s", flush=True)
