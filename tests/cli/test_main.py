import importlib
import inspect
import pkgutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest

from bundle.manifest import ServingDefaults
from cli.main import COMMANDS
from files.errors import DimeRecError
from model.config import Architecture, GuidanceKind
from tests.cli.conftest import Run
from training.config import TrainingConfig, resolve
from training.log_recipe import LogSize

ROOMS = ("bundle", "cli", "index", "model", "service", "training")


def test_help_lists_every_command_and_loads_no_heavy_library() -> None:
    script = (
        "import sys\n"
        "from cli.main import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    print('LOADED', *sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    shown, _, loaded = done.stdout.partition("LOADED")
    assert not {"torch", "numpy", "polars", "pyarrow", "faiss", "scipy", "fastapi"} & set(loaded.split())
    for name, subcommand in COMMANDS.items():
        assert name in shown
        assert subcommand.summary in " ".join(shown.replace("│", "").split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(dimerec: Run, name: str) -> None:
    done = dimerec(name, "--help")
    assert done.code == 0
    assert f"Usage: dimerec {name}" in done.out
    if name not in {
        "bundles",
        "catalogue",
        "keys",
        "demo",
    }:  # groups of commands, and one that needs no option
        assert done.out.count("dimerec ") + done.out.count("curl ") > 1, "the help shows no example"


def test_no_command_is_a_usage_error_that_teaches(dimerec: Run) -> None:
    done = dimerec("prepre")
    assert done.code == 2
    assert "Did you mean 'prepare'?" in done.err


def test_version(dimerec: Run) -> None:
    assert dimerec("--version").out.strip() == version("dimerec-serve")


def test_every_key_of_a_training_run_is_shown_with_its_default_and_its_choices(dimerec: Run) -> None:
    shown = dimerec("train", "--show-config").out
    read = TrainingConfig.model_validate(tomllib.loads(shown))
    assert read == TrainingConfig()
    small = LogSize(300, 30_000, 100)
    assert resolve(read, small) == resolve(TrainingConfig(), small)
    lines = {line.lstrip("# ").split(" =")[0]: line for line in shown.splitlines() if " =" in line}
    parts = (TrainingConfig, Architecture, ServingDefaults)
    assert {*lines, "model", "serving"} == {key for part in parts for key in part.model_fields}
    assert all(kind in lines["guidance"] for kind in get_args(GuidanceKind))


def test_trouble_is_one_line_and_no_trace(dimerec: Run, tmp_path: Path) -> None:
    done = dimerec("prepare", "--events", tmp_path / "no.csv")
    assert done == (1, "", f"dimerec: {tmp_path}/no.csv: no such file; check the path\n")


def test_a_name_cannot_break_the_line(dimerec: Run, tmp_path: Path) -> None:
    path = tmp_path / "a\nb\x1b[31m.csv"
    done = dimerec("prepare", "--events", path)
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "\x1b" not in done.err


def test_a_full_or_unwritable_disk_is_one_line(dimerec: Run, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,timestamp\na,x,1\na,y,2\na,z,3\n")
    done = dimerec("prepare", "--events", log, "--out", log / "out")
    assert done.code == 1
    assert done.err == f"dimerec: {log}/out: Not a directory\n"


def test_a_bug_is_not_dressed_up_as_trouble(
    dimerec: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cli.prepare.prepare", broken)
    with pytest.raises(ZeroDivisionError):
        dimerec("prepare", "--events", tmp_path)


def test_every_error_of_the_packages_descends_from_the_root() -> None:
    unknown = []
    for room in ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                ours = kind.__module__.partition(".")[0] in ROOMS
                if ours and issubclass(kind, Exception) and not issubclass(kind, DimeRecError):
                    unknown.append(f"{kind.__module__}.{kind.__qualname__}")
    assert unknown == []
