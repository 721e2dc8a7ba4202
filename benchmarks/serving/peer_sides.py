"""Other servers with the same engine inside, each in an environment of its own."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.serving import sides
from benchmarks.serving.checkouts import ROOT
from benchmarks.serving.processes import output_of
from benchmarks.serving.sides import Side
from benchmarks.serving.stage import Stage
from files.atomic import replacing

FASTAPI = "fastapi"
_RAY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
}
_RAY_BESIDES = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # it starts slowly where it shares two cores
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
}
_BENTOML = {"BENTOML_DO_NOT_TRACK": "True"}
PEERS: dict[str, str] = {
    "litserve": "max_batch_size=64, batch_timeout=.005, workers_per_device=1, fast_queue=True",
    "bentoml": "batchable=True, max_batch_size=64, workers=1",
    "ray": "@serve.batch(64, .005), one replica, max_ongoing_requests=1024, "
    + ", ".join(f"{name}={value}" for name, value in _RAY.items()),
}
"""Those with an environment of their own, and how they are set up, as their documentation recommends."""
_REQUIREMENTS = Path(__file__).with_name("peers")


def peer(name: str, stage: Stage, bundles: Path) -> Side:
    """The side of this name."""
    environment = sides.peer_environment(stage, bundles)
    if name == FASTAPI:
        found = sides.module("plain_fastapi", sys.executable, environment, "def route, one forward a request")
        return replace(found, name=FASTAPI)
    python = environment_python(name, stage.cache)
    if name == "bentoml":
        command = [
            str(python),
            "-P",
            "-m",
            "bentoml",
            "serve",
            "benchmarks.serving.peers.bentoml_app:Recommend",
        ]
        command += ["--working-dir", str(ROOT), "--host", "127.0.0.1", "--port"]
        return Side(name, lambda port: [*command, str(port)], environment | _BENTOML, True, PEERS[name])
    extra = _RAY | _RAY_BESIDES if name == "ray" else {}
    return replace(sides.module(f"{name}_app", python, environment | extra, PEERS[name]), name=name)


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
        pip: list[str | Path] = [
            environment / "bin" / "python",
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
        ]
        fault = f"no environment for {name}"
        output_of([base, "-m", "venv", "--clear", environment], fault, cwd=ROOT)
        output_of([*pip, "-r", requirements], fault, cwd=ROOT)
        with replacing(marker) as temporary:
            temporary.write_text(digest)
    return environment / "bin" / "python"
