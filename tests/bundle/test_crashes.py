"""Processes killed in the middle, and processes at the same time: CURRENT always loads."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from bundle.read import current_version, read_bundle, verify, versions
from bundle.write import STALE_AFTER_S, prune
from tests.bundle import processes
from tests.factories import publish_tiny_bundle


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """Processes forked from one that has imported everything, so that each is running at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.bundle.processes"])
    return context


def assert_sound(root: Path) -> None:
    """Every version that is listed is whole, and the one in service loads."""
    for version in versions(root):
        verify(root, version)
    assert read_bundle(root).version == current_version(root)


def assert_recovers(root: Path) -> None:
    """The next publication works, and in time nothing is left of the one that was killed."""
    newest = publish_tiny_bundle(root, items=40, seed=8)
    assert read_bundle(root).version == newest
    for path in root.glob(".publishing-*"):
        for aged in (*path.iterdir(), path):
            os.utime(aged, (0, time.time() - STALE_AFTER_S - 60))
    prune(root, 1)
    assert {path.name for path in root.iterdir()} == {newest, "CURRENT", ".lock"}


@pytest.mark.smoke
def test_death_before_any_step_of_publishing_and_pruning(
    context: ForkServerContext, pristine_root: Path, tmp_path: Path
) -> None:
    before = set(versions(pristine_root))
    outcomes = set()
    for step in range(1, 200):
        root = Path(shutil.copytree(pristine_root, tmp_path / "bundles"))
        process = context.Process(target=processes.die_at, args=(step, processes.publish_and_prune, root))
        process.start()
        process.join()
        assert_sound(root)
        outcomes.add((current_version(root) in before, len(versions(root)), len(list(root.glob(".*-*")))))
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        assert_recovers(root)
        shutil.rmtree(root)
    assert process.exitcode == 0, "it never came to its end"
    assert step > 30
    # Killed while writing, between the rename and CURRENT, before, during and after the removals.
    assert outcomes >= {(True, 2, 0), (True, 2, 1), (True, 3, 0), (False, 3, 0), (False, 2, 1), (False, 1, 0)}


def test_death_at_random_instants(context: ForkServerContext, root: Path) -> None:
    generator = random.Random(0)
    for _ in range(15):
        started = context.Event()
        process = context.Process(target=processes.publish_for_ever, args=(root, started))
        process.start()
        assert started.wait(60)
        time.sleep(generator.uniform(0, 0.3))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert_sound(root)
    assert_recovers(root)


def test_publishers_at_the_same_time_do_not_harm_each_other(context: ForkServerContext, root: Path) -> None:
    before = versions(root)
    together = [context.Process(target=processes.publish_several, args=(root, 4)) for _ in range(4)]
    for process in together:
        process.start()
    for process in together:
        process.join()
    assert [process.exitcode for process in together] == [0, 0, 0, 0]
    assert len(versions(root)) == len(before) + 16
    assert current_version(root) not in before
    assert_sound(root)
    assert not list(root.glob(".publishing-*"))


def test_a_reader_among_publishers_and_a_pruner_always_finds_a_whole_bundle(
    context: ForkServerContext, root: Path
) -> None:
    together = [
        *(context.Process(target=processes.publish_several, args=(root, 15)) for _ in range(2)),
        context.Process(target=processes.prune_and_choose, args=(root, 40)),
    ]
    for process in together:
        process.start()
    while any(process.is_alive() for process in together):
        assert read_bundle(root).version
    assert [process.exitcode for process in together] == [0, 0, 0]
    assert_sound(root)
