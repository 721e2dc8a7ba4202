"""One fault under load, and the verdict on it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event, Thread

from benchmarks.documents.chaos_table import HELD, ChaosRow
from tests.chaos.fault import Fault
from tests.chaos.load import Answer
from tests.chaos.stage import DEADLINE_MS, HISTORY_TIMEOUT_S, Stage
from training.benchmark.machine import hardware, source_revision

CALM_S = 3.0
"""Load before a fault."""
AFTER_S = 6.0
"""Load after it: twice as long as a circuit needs, and some."""
SETTLED_S = 2.0
"""From clearing: when all is to be as before."""
MAX_OPENED_S = 1.0
MAX_RSS_RATIO = 1.1
_MAX_LATE_MS = 50.0
"""Chosen: where requests are sent later than this, part of the latency is that."""
_SAMPLE_S = 0.5
_QUICK = 20
"""Recommendations in a row that did not wait for Redis: the circuit is open."""
_USUAL = 100
"""Requests in a row, ten events among them, that were answered as usual: all is as before."""


@dataclass(frozen=True)
class Times:
    """Moments of the monotonic clock."""

    injected: float
    cleared: float


def measured(stage: Stage, fault: Fault, part: float) -> ChaosRow:
    """Inject the fault under load, clear it, and say what became of every request."""
    stage.forget_notes()
    fault.before(stage)
    rate = stage.begin_load(f"{fault.name}-{int(time.time())}", part)
    with MemoryWatch(stage) as memory:
        time.sleep(CALM_S)
        injected = time.monotonic()
        fault.inject(stage)
        time.sleep(max(0.0, injected + fault.seconds - time.monotonic()))
        fault.clear(stage)
        times = Times(injected, time.monotonic())
        time.sleep(AFTER_S)
    report = stage.end_load()
    lost = [report.acknowledged[event] for event in stage.lost(report)]
    fault.judge(stage, report)
    fault.after(stage)
    if fault.forgets:
        late = sum(moment > times.cleared for moment in lost)
        stage.remarks.append(f"{len(lost) - late} events went with Redis's memory")
        stage.findings += [f"{late} events lost afterwards"] if late else []
    if fault.breaks:
        stage.remarks.append(f"{sum(answer.outcome == 'broken' for answer in report.answers)} broken")
    if fault.min_goodput is not None:
        _judge_goodput(stage, fault.min_goodput, report.answers, times)
    row = row_of(fault, stage.workers, rate, report.answers, times, len(lost), memory.most / stage.warm_bytes)
    found = [*([] if row.verdict == HELD else [row.verdict]), *stage.findings]
    remarks = [*stage.remarks, *filter(None, [row.remark])]
    if (row.late_ms or 0) > _MAX_LATE_MS:
        remarks.append(f"requests sent {row.late_ms:.0f} ms late (p99)")
    machine = hardware()
    facts = {
        "verdict": "; ".join(found) or HELD,
        "remark": "; ".join(remarks),
        "commit": source_revision(),
        "hardware": f"{machine.cpu}, {machine.cores} cores",
        "command": f"python -m tests.chaos --only {fault.name} --workers {stage.workers}",
    }
    return row.model_copy(update=facts)


def row_of(
    fault: Fault,
    workers: int,
    rate: float,
    answers: Sequence[Answer],
    times: Times,
    events_lost: int,
    rss_ratio: float,
) -> ChaosRow:
    """The counts of one fault and the verdict on them."""
    counted = [answer for answer in answers if answer.at >= times.injected]
    outcomes = [answer.outcome for answer in counted]
    row = ChaosRow(
        fault=fault.name,
        workers=workers,
        rate=round(rate, 1),
        requests=len(counted),
        ok=outcomes.count("ok"),
        degraded=outcomes.count("degraded"),
        refused=outcomes.count("refused"),
        errors_5xx=outcomes.count("error"),
        unanswered=sum(outcome in ("broken", "unconnected", "unanswered") for outcome in outcomes),
        p99_ms=_p99([one for one in counted if one.at < times.cleared]),
        p99_after_ms=_p99([one for one in counted if one.at >= times.cleared + SETTLED_S]),
        recovery_s=_recovery(counted, _broke(counted, times) if fault.breaks else times.cleared),
        opened_s=_opened(counted, times.injected) if fault.opens else None,
        events_lost=events_lost,
        rss_ratio=round(rss_ratio, 2),
        late_ms=_late_ms(counted),
        remark=_later(counted, times.cleared + SETTLED_S),
        verdict="",
    )
    wrong = outcomes.count("wrong")
    faults = _faults(row, fault)
    faults += ["the circuit did not open"] if fault.opens and row.opened_s is None else []
    faults += [f"{wrong} answers are not of the version that they name"] if wrong else []
    return row.model_copy(update={"verdict": "; ".join(faults) or HELD})


def _judge_goodput(stage: Stage, least: float, answers: Sequence[Answer], times: Times) -> None:
    in_time = [
        one
        for one in answers
        if one.kind == "recommend"
        and times.injected <= one.at < times.cleared
        and one.outcome in ("ok", "degraded")
        and one.seconds <= DEADLINE_MS / 1000
    ]
    part = len(in_time) / (times.cleared - times.injected) / stage.saturated
    stage.remarks.append(f"goodput {100 * part:.0f} % of saturation")
    if part < least:
        stage.findings.append(f"goodput below {100 * least:.0f} % of saturation")


def _faults(row: ChaosRow, fault: Fault) -> list[str]:
    """What did not hold, in words."""
    found = {
        f"{row.errors_5xx} answers of 5xx": row.errors_5xx,
        f"{row.unanswered} unanswered": row.unanswered and not fault.breaks,
        f"{row.events_lost} events lost": row.events_lost and not fault.forgets,
        "p99 above the deadline": max(row.p99_ms or 0, row.p99_after_ms or 0) > DEADLINE_MS,
        f"recovery after {row.recovery_s} s": (row.recovery_s or 0) > SETTLED_S and not fault.breaks,
        "no recovery": row.recovery_s is None,
        f"circuit open after {row.opened_s} s": row.opened_s is not None and row.opened_s > MAX_OPENED_S,
        f"RSS {row.rss_ratio} × that after warm-up": row.rss_ratio > MAX_RSS_RATIO,
    }
    return [words for words, true in found.items() if true]


def _p99(answers: Sequence[Answer]) -> float | None:
    good = sorted(
        1000 * answer.seconds
        for answer in answers
        if answer.kind == "recommend" and answer.outcome in ("ok", "degraded")
    )
    return round(good[min(len(good) - 1, int(0.99 * len(good)))], 1) if good else None


def _late_ms(answers: Sequence[Answer]) -> float | None:
    late = sorted(1000 * answer.late_s for answer in answers)
    return round(late[int(0.99 * len(late))], 1) if late else None


def _recovery(answers: Sequence[Answer], since: float) -> float | None:
    """Seconds until a row of requests began that were answered as usual; None where none was so long."""
    row: list[Answer] = []
    for one in sorted(answers, key=lambda one: one.at):
        if one.at >= since:
            row = [*row, one] if one.outcome == "ok" else []
            if len(row) == _USUAL:
                return round(row[0].at - since, 1)
    return None


def _broke(answers: Sequence[Answer], times: Times) -> float:
    """The moment of the first request that the end of a process met."""
    met = (one.at for one in answers if one.outcome in ("broken", "unconnected"))
    return min(met, default=times.injected)


def _later(answers: Sequence[Answer], since: float) -> str:
    """Answers that were not as usual though all should have been, in words."""
    count = sum(one.outcome != "ok" for one in answers if one.at >= since)
    return f"{count} not as usual later than {SETTLED_S:.0f} s after" if count else ""


def _opened(answers: Sequence[Answer], injected: float) -> float | None:
    """Seconds until a row of recommendations began that did not wait; None where all of them did."""
    asked = sorted((one for one in answers if one.kind == "recommend"), key=lambda one: one.at)
    row: list[Answer] = []
    for one in asked:
        quick = one.outcome == "degraded" and one.seconds < HISTORY_TIMEOUT_S / 2
        row = [*row, one] if quick else []
        if len(row) == _QUICK:
            return round(row[0].at - injected, 2)
    return None


class MemoryWatch:
    """The most memory of the service while the block lasts."""

    def __init__(self, stage: Stage) -> None:
        self.most = 0
        self._stage = stage
        self._over = Event()
        self._thread = Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            self.most = max(self.most, self._stage.memory())
