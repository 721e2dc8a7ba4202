"""`pip install .` brings no FAISS: what needs it says in one line how to get it, the rest works."""

import sys
from pathlib import Path

import pytest

from index.errors import FaissMissingError
from service.app import create_app
from service.settings import Settings
from tests.cli.conftest import Run
from tests.factories import publish_tiny_bundle
from tests.training.logs import cyclic_dataset
from training.publishing import publish_run

REMEDY = "pip install 'dimerec-serve[cpu]'"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A published bundle on a machine that has lost its FAISS."""
    publish_tiny_bundle(tmp_path)
    monkeypatch.setitem(sys.modules, "faiss", None)
    return tmp_path


def test_recommend_names_the_extra(dimerec: Run, root: Path) -> None:
    done = dimerec("recommend", "--bundles", root, "--history", "1050")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert REMEDY in done.err


def test_serve_names_the_extra(root: Path) -> None:
    with pytest.raises(FaissMissingError) as refused:
        create_app(Settings(bundles=root))
    assert REMEDY in str(refused.value)


def test_publish_names_the_extra_before_it_reads_the_run(root: Path) -> None:
    with pytest.raises(FaissMissingError) as refused:
        publish_run(root / "no such run", cyclic_dataset(), root)
    assert REMEDY in str(refused.value)


@pytest.mark.parametrize("options", [(), ("--prepare-only",)])
def test_demo_names_the_extra_before_minutes_of_training(
    dimerec: Run, root: Path, options: tuple[str, ...]
) -> None:
    done = dimerec("demo", "--directory", root / "demo", *options)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert REMEDY in done.err
    assert not (root / "demo").exists()


@pytest.mark.parametrize(
    "command", ["publish", "train", "evaluate", "benchmark", "recommend", "serve", "demo"]
)
def test_help_needs_no_faiss(dimerec: Run, root: Path, command: str) -> None:
    assert dimerec(command, "--help").code == 0


def test_bundles_are_looked_after_without_faiss(dimerec: Run, root: Path) -> None:
    assert dimerec("bundles", "verify", "--bundles", root).code == 0
