"""Other servers with the same engine inside, each in an environment of its own."""

import hashlib
import subprocess
import sys
from pathlib import Path

from benchmarks.serving import sides
from benchmarks.serving.checkouts import ROOT
from benchmarks.serving.processes import BenchmarkError
from benchmarks.serving.sides import Side
from benchmarks.serving.stage import Stage
from files.atomic import replacing

FASTAPI = "fastapi"
PEERS: tuple[str, ...] = ()
"""Those that need an environment of their own."""
_REQUIREMENTS = Path(__file__).with_name("peers")


def peer(name: str, stage: Stage, bundles: Path) -> Side:
    """The side of this name."""
    environment = sides.peer_environment(stage, bundles)
    if name == FASTAPI:
        found = sides.module("plain_fastapi", sys.executable, environment, "def route, one forward a request")
    else:
        raise BenchmarkError(f"there is no side {name}")
    return Side(name, found.command, found.environment, found.batched, found.configuration)


def environment_python(name: str, cache: Path) -> Path:
    """The interpreter of an environment with what `peers/requirements-NAME.txt` pins; made at the first need.

    Raises BenchmarkError where pip cannot install it.
    """
    requirements = _REQUIREMENTS / f"requirements-{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    environment = cache / "environments" / name
    marker = environment / "installed"
    if not marker.exists() or marker.read_text() != digest:
        print(f"serving: making an environment for {name}", file=sys.stderr)
        base = Path(sys.executable)
        _run([base, "-m", "venv", "--clear", environment])
        _run(
            [environment / "bin" / "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements]
        )
        with replacing(marker) as temporary:
            temporary.write_text(digest)
    return environment / "bin" / "python"


def _run(command: list[Path | str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{' '.join(map(str, command))}: {done.stderr.strip()[-400:]}")
