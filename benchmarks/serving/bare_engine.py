"""The engine without HTTP, in a process of its own: how long its batches take."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.serving.checkouts import Code
from benchmarks.serving.processes import SERVER_CORE, BenchmarkError, one_thread, pinned

_SCRIPT = Path(__file__).with_name("peers") / "bare.py"


class BareEngine:
    """An engine of some code with a bundle, in a `with` block."""

    def __init__(self, code: Code, bundles: Path, device: str, work: Path) -> None:
        self.name = code.name
        self._log = work / f"bare-{code.name}.log"
        self._command = [sys.executable, "-P", str(_SCRIPT), str(bundles), device]
        self._environment = one_thread(code.environment)

    def __enter__(self) -> Self:
        with self._log.open("wb") as errors:
            self._process: Any = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
                preexec_fn=pinned(SERVER_CORE),
            )
        self.started = self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def batches(self, bodies: Path, batch: int, seconds: float) -> Sequence[float]:
        """Seconds of each batch of so many requests, for so long."""
        asked = {"bodies": str(bodies), "batch": batch, "seconds": seconds}
        self._process.stdin.write(json.dumps(asked) + "\n")
        took: list[float] = self._answer()
        return took

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            last = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise BenchmarkError(f"the engine of {self.name} ended: {' '.join(last)} (all: {self._log})")
        return json.loads(line)
