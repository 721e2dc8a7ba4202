"""Ctrl-C: one line that says what was kept and how to go on, and it is true."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bundle.read import current_version
from tests.cli.conftest import Run
from tests.factories import publish_tiny_bundle
from training.run import read_records

SMALL = [f"--set={key}" for key in ("model.dim=16", "model.hidden=32", "batch_size=8", "patience=1000")]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log = tmp_path_factory.mktemp("log") / "log.csv"
    rows = [f"u{user},v{(user * 7 + step) % 30},{step}" for user in range(60) for step in range(10)]
    log.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    return log


Stop = Callable[..., str]


@pytest.fixture
def stop_at(dimerec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stop:
    """The line that a command says when Ctrl-C comes at the call of `where`; `tmp_path` stays as it was."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def run(where: str, *arguments: object) -> str:
        monkeypatch.setattr(where, stop)
        before = sorted(tmp_path.rglob("*"))
        done = dimerec(*arguments)
        assert (done.code, done.err.count("\n")) == (130, 1)
        assert done.out == "" or done.out.startswith("Recipe small")  # said before the training begins
        assert sorted(tmp_path.rglob("*")) == before
        return done.err

    return run


def test_training_goes_on_from_the_epoch_that_the_interrupt_names(
    dimerec: Run, log: Path, tmp_path: Path
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    assert dimerec("prepare", "--events", log, "--out", data).code == 0
    train = ["train", "--data", str(data), "--out", str(run), *SMALL]
    command = [sys.executable, "-u", "-m", "cli.main", *train, "--set=epochs=5000"]
    one_thread, pipe = os.environ | {"OMP_NUM_THREADS": "1"}, subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=one_thread) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any("epoch   1" in line for line in iter(process.stdout.readline, ""))
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        told = process.stderr.read()
    assert process.returncode == 130
    kept = re.fullmatch(
        rf"dimerec: interrupted; kept up to epoch (\d+) in {run};"
        r" give the same command again to go on from there\n",
        told,
    )
    assert kept is not None, told
    assert len(read_records(run)) == int(kept[1]) >= 1


def test_a_run_without_a_whole_epoch_keeps_nothing(
    dimerec: Run, log: Path, tmp_path: Path, stop_at: Stop
) -> None:
    data = tmp_path / "data"
    assert dimerec("prepare", "--events", log, "--out", data).code == 0
    told = stop_at("cli.train.train", "train", "--data", data, "--out", tmp_path / "r")
    assert "no epoch was finished" in told


def test_prepare_and_recommend_and_evaluate_write_nothing(log: Path, tmp_path: Path, stop_at: Stop) -> None:
    publish_tiny_bundle(tmp_path / "bundles")
    log_and_out = ("--events", log, "--out")
    asked = ("recommend", "--bundles", tmp_path / "bundles", *log_and_out, tmp_path / "out.csv")
    nothing = "dimerec: interrupted; nothing was written\n"
    assert stop_at("cli.recommend._table", *asked) == nothing
    prepare = ("prepare", *log_and_out, tmp_path / "data")
    assert stop_at("cli.prepare.prepare", *prepare) == nothing
    assert stop_at("cli.evaluate.read_dataset", "evaluate") == nothing


def test_publish_says_what_current_is(
    dimerec: Run, tmp_path: Path, stop_at: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "bundles"
    version = publish_tiny_bundle(root)
    asked = ("publish", "--bundles", root)
    told = stop_at("cli.publish.read_dataset", *asked)
    assert told == f"dimerec: interrupted; nothing was published, CURRENT is {version} as before\n"

    def published_only(*_: object, **__: object) -> None:
        publish_tiny_bundle(root, make_current=False)
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.publish.read_dataset", published_only)
    told = dimerec(*asked).err
    remedy = re.search(r"`dimerec bundles use (\S+)`", told)
    assert remedy is not None
    assert dimerec("bundles", "use", remedy[1], "--bundles", root).code == 0
    assert current_version(root) == remedy[1] != version


def test_a_benchmark_keeps_what_is_done(
    dimerec: Run, log: Path, tmp_path: Path, stop_at: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "results"
    asked = ("benchmark", "--events", log, "--models", "popularity", "--out", out)
    assert dimerec(*asked).code == 0
    told = stop_at("cli.benchmark.run", *asked)
    assert (
        told
        == f"dimerec: interrupted; what was done is kept in {out}; give the same command again to go on\n"
    )
    monkeypatch.undo()
    assert "(done before)" in dimerec(*asked).err
