"""The network of a request in other runtimes beside what serves it: one thread, in turns, in one run.

    python -m benchmarks.serving.runtimes                      the demo's model and the default one, untrained
    python -m benchmarks.serving.runtimes --only OpenVINO,int8 --rounds 3

`peers/runtimes.py` says what is measured; this makes the environment that it needs, at the first time.
"""

import subprocess
import sys
from pathlib import Path

from benchmarks.serving.checkouts import ROOT
from benchmarks.serving.peer_sides import environment_python
from benchmarks.serving.processes import one_thread
from benchmarks.serving.stage import DEFAULT_CACHE

_SCRIPT = Path(__file__).with_name("peers") / "runtimes.py"


def main() -> None:
    """Measure, with the options of the script."""
    python = environment_python("runtimes", DEFAULT_CACHE)
    environment = one_thread({"PYTHONPATH": str(ROOT)})
    command = [str(python), "-W", "ignore", "-P", str(_SCRIPT), *sys.argv[1:]]
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
