"""The Makefile says what it has, and CI runs what a developer runs."""

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MAKEFILE = (REPOSITORY / "Makefile").read_text()
TARGETS = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)[0].split()


def make(*arguments: str) -> str:
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_alone_lists_every_target_and_every_variable() -> None:
    listed = make()
    for target in TARGETS:
        assert re.search(rf"^  make {target} +\S", listed, re.MULTILINE), target
    for variable in re.findall(r"^(\w+) \?=", MAKEFILE, re.MULTILINE):
        assert f"  {variable}=" in listed or variable == "WORKERS", variable


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_planned(target: str) -> None:
    assert make("--dry-run", target)


def test_demo_is_given_what_the_caller_chose() -> None:
    attached = make("--dry-run", "demo", "PORT=8123", "REDIS=redis://localhost:6379/3")
    assert "dimerec demo --directory .demo --port 8123 --redis redis://localhost:6379/3" in attached
    assert "detached.py" not in attached
    assert "docker/detached.py start .demo 8123 .venv/bin/dimerec demo" in make(
        "--dry-run", "demo", "DETACH=1", "PORT=8123"
    )


def test_ci_runs_make_test_and_nothing_else() -> None:
    lines = (REPOSITORY / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "exec make test"]


def test_the_tests_are_the_last_thing_that_make_test_runs() -> None:
    assert "-m pytest" in make("--dry-run", "test").splitlines()[-1]
