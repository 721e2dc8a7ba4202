"""One fault of the harness."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.load import Report
from tests.chaos.stage import Stage

Step = Callable[[Stage], None]
Judge = Callable[[Stage, Report], None]
BOTH = (1, 2)
"""Numbers of workers, for the faults where it matters."""


def nothing(stage: Stage) -> None:
    """Where a fault clears itself."""


def no_more(stage: Stage, report: Report) -> None:
    """Where nothing is to be judged but what always is."""


@dataclass(frozen=True)
class Fault:
    """One fault under load: `inject` begins it, `clear` ends it after at least `seconds`.

    `opens`: the circuit shall open. `forgets`: Redis itself loses what it had. `breaks`: requests on the
    connections of a process that dies are lost; recovery counts from the injection then. `min_goodput`: so
    much of what the service can do at most it must go on doing. `judge`: what else is to hold, looked at once
    the load is over. `before`, `after`: what is done without load.
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
    judge: Judge = no_more
    before: Step = nothing
    after: Step = nothing
