"""The Makefile says what it has, and CI runs what a developer runs."""

import os
import re
import shutil
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


@pytest.mark.parametrize("engine", ["answers", "is silent", "is not installed"])
def test_ci_runs_all_tests_and_the_containers_where_an_engine_answers(engine: str, tmp_path: Path) -> None:
    for name, script in {"make": 'echo "make $*"', "docker": f'[ "{engine}" = answers ]'}.items():
        if name == "make" or engine != "is not installed":
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    ran = subprocess.run(
        ["bash", ".ci/run"],
        cwd=REPOSITORY,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    last = "make containers" if engine == "answers" else "containers: skipped, no container engine answers"
    assert ran.stdout.splitlines() == ["make test", "make smoke", "make audit", last]


def test_a_failure_of_the_tests_is_a_failure_of_ci(tmp_path: Path) -> None:
    (tmp_path / "make").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "make").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run(["bash", ".ci/run"], cwd=REPOSITORY, env=environment, check=False).returncode == 7


@pytest.mark.parametrize("target", ["test", "smoke"])
def test_the_tests_are_the_last_thing_that_runs(target: str) -> None:
    last = make("--dry-run", target).replace("\\\n", "").splitlines()[-1]
    assert "-m pytest" in last
