"""Earlier commits of this project, laid out beside the benchmark's cache, and bundles that each can read."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import save_file

from benchmarks.serving.processes import BenchmarkError, output_of
from files.atomic import replacing
from training.run import BEST_FILE, CONFIG_FILE, LAST_FILE

ROOT = Path(__file__).parents[2]
COMMAND = ("-P", "-c", "from cli.main import main; main()")
"""Arguments of Python for the command line of whatever code PYTHONPATH names."""


@dataclass(frozen=True)
class Code:
    """A state of the project's code: where it lies, and its name in the results."""

    name: str
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which this interpreter imports that code, and not its own."""
        return {"PYTHONPATH": str(self.directory)}

    @property
    def command(self) -> list[str]:
        """`dimerec` of that code, by this interpreter and its libraries."""
        return [sys.executable, *COMMAND]


HERE = Code("ours", ROOT)
SINCE: dict[tuple[str, ...], object] = {
    ("refit_epochs",): None,
    ("training", "model", "next_vectors"): 1,
    ("training", "serving", "fresh"): 0.0,
}
"""Keys of a run's configuration that earlier commits refuse, each with the value that says what none says."""


def checked_out(commit: str, cache: Path, name: str) -> Code:
    """The code of a commit, from the repository that this file is in.

    It runs with this interpreter and its libraries, so that what differs is the code. Raises BenchmarkError
    where there is no such commit.
    """
    full = _git("rev-parse", "--verify", f"{commit}^{{commit}}").decode().strip()
    directory = cache / "commits" / full[:12]
    marker = directory / ".complete"
    if not marker.exists():
        directory.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", full))) as archive:
            archive.extractall(directory, filter="data")
        with replacing(marker) as temporary:
            temporary.write_text(full)
    return Code(name, directory)


def published(code: Code, run: Path, data: Path, cache: Path) -> Path:
    """A directory of bundles with the model of a training run, in the format of that code; kept in the cache.

    Without counts and in the run's own mode, as earlier commits have it: their answers are to be the same.
    Raises BenchmarkError where `dimerec publish` refuses.
    """
    earlier = code.directory != ROOT
    mode = json.loads((run / CONFIG_FILE).read_text(encoding="utf-8"))["training"]["serving"]["interest_mode"]
    without = [] if earlier else ["--no-counts", "--interest-mode", mode]
    digest = hashlib.sha256((run / BEST_FILE).read_bytes() + " ".join(without).encode())
    for package in ("bundle", "index", "model"):  # what decides the format
        for source in sorted((code.directory / package).glob("*.py")):
            digest.update(source.read_bytes())
    root = cache / "bundles" / digest.hexdigest()[:16]
    if not (root / "CURRENT").exists():
        if earlier:
            run = _of_before(run, cache / "runs" / digest.hexdigest()[:16])
        options = [
            "--run",
            str(run.resolve()),
            "--data",
            str(data.resolve()),
            "--bundles",
            str(root),
            "--force",
            *without,
        ]
        output_of(
            [*code.command, "publish", *options],
            f"{code.name} cannot publish {run}",
            env={**os.environ, **code.environment},
            cwd=cache,
        )
    return root


def _of_before(run: Path, directory: Path) -> Path:
    """A copy of a run that earlier commits can read: without the keys `SINCE`, where they say nothing new."""
    config = _without_new(json.loads((run / CONFIG_FILE).read_text(encoding="utf-8")))
    with safe_open(run / BEST_FILE, framework="np") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
    model = _without_new({"training": {"model": json.loads(metadata["config"])}})["training"]["model"]
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(run / LAST_FILE, directory)
    (directory / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
    save_file(tensors, directory / BEST_FILE, metadata | {"config": json.dumps(model)})
    return directory


def _without_new(config: dict[str, Any]) -> dict[str, Any]:
    for (*parents, key), nothing in SINCE.items():
        part = config
        for parent in parents:
            part = part.get(parent, {})
        if part.get(key, nothing) == nothing:
            part.pop(key, None)
    return config


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"git {arguments[0]}: {done.stderr.decode().strip()}: a whole clone is needed")
    return done.stdout
