"""What the crash tests run in processes of their own, to be killed."""

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

from bundle.read import versions
from bundle.write import prune, set_current
from tests.factories import publish_tiny_bundle

# Everything Python tells its auditors about changes to the file system, and about files and locks it takes.
FILE_EVENTS = {
    "open",
    "fcntl.flock",
    "os.chmod",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.scandir",
    "shutil.rmtree",
}


def publish_small(root: Path, seed: int) -> None:
    """Publish a model whose process is made at once: the geodesic one computes tables first."""
    publish_tiny_bundle(root, items=40, seed=seed, process="gaussian")


def publish_and_prune(root: Path) -> None:
    publish_small(root, seed=7)
    prune(root, 1)


def publish_for_ever(root: Path, started: Event) -> None:
    started.set()
    while True:
        publish_small(root, seed=0)
        prune(root, 3)


def publish_several(root: Path, count: int) -> None:
    for seed in range(count):
        publish_small(root, seed)


def prune_and_choose(root: Path, count: int) -> None:
    """Put the oldest version in service, remove what may be removed, again and again."""
    for _ in range(count):
        set_current(root, versions(root)[-1])
        prune(root, 1)


def die_at(step: int, action: Callable[[Path], None], root: Path) -> None:
    """Run `action(root)` and kill this process without warning just before its file event number `step`."""
    seen = 0

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in FILE_EVENTS:
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)
    action(root)
