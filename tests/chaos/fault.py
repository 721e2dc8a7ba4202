"""One fault of the harness."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.stage import Stage

Step = Callable[[Stage], None]
BOTH = (1, 2)
"""Numbers of workers, for the faults where it matters."""


def nothing(stage: Stage) -> None:
    """Where a fault clears itself."""


@dataclass(frozen=True)
class Fault:
    """One fault under load: `inject` begins it, `clear` ends it after at least `seconds`.

    `opens`: the circuit shall open. `forgets`: Redis itself loses what it had. `breaks`: requests on the
    connections of a process that dies are lost; recovery counts from the injection then. `min_goodput`: so
    much of what the service can do at most it must go on doing. `before`, `after`: what is done without
    load.
    """

    name: str
    inject: Step
    clear: Step = nothing
    seconds: float = 6.0
    workers: tuple[int, ...] = (1,)
    opens: bool = False
    forgets: bool = False
    breaks: bool = False
    min_goodput: float | None = None
    before: Step = nothing
    after: Step = nothing
