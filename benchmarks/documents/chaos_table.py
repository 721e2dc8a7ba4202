"""The table of docs/reliability.md: faults under load, as `make chaos` measured them."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from files.atomic import replacing

HELD = "held"
"""The verdict where everything held that must."""


class ChaosRow(BaseModel):
    """One fault: counts from its injection to the end, `/recommend` and `/events` together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: str
    workers: int
    rate: float
    """Requests started a second."""
    requests: int
    ok: int
    degraded: int
    refused: int
    """429, 504, and 503 with Retry-After."""
    errors_5xx: int
    """All other answers that are no 200."""
    unanswered: int
    """Connection refused or broken, or no answer at all."""
    p99_ms: float | None
    """Of recommendations that were answered 200 while the fault lasted, from the intended start."""
    p99_after_ms: float | None
    """The same, from 2 s after it was cleared."""
    recovery_s: float | None
    """From clearing to the first of a hundred requests in a row that were answered as usual."""
    opened_s: float | None
    """From injection until recommendations no longer waited for Redis; null where no circuit opens."""
    events_lost: int
    """Acknowledged, but not in the history afterwards."""
    rss_ratio: float
    """Most memory of all processes, of that after warm-up."""
    late_ms: float | None = None
    """p99 of how much later than intended requests were sent: by the load, or for want of a connection."""
    remark: str
    verdict: str
    """`held`, or what did not."""
    commit: str | None = None
    hardware: str = ""
    command: str = ""
    """The measurement: code, machine, and how to repeat it."""


_ROWS = TypeAdapter(list[ChaosRow])
_HEADING = (
    "fault",
    "workers",
    "requests",
    "ok",
    "degraded",
    "refused",
    "5xx",
    "unanswered",
    "p99, ms",
    "p99 after, ms",
    "recovery, s",
    "events lost",
    "verdict",
)


def read_rows(path: Path) -> list[ChaosRow]:
    """The rows that are kept in a file; none where there is no file."""
    return _ROWS.validate_json(path.read_bytes()) if path.exists() else []


def write_rows(path: Path, rows: Sequence[ChaosRow]) -> None:
    """Keep the rows in a file."""
    with replacing(path) as temporary:
        temporary.write_bytes(_ROWS.dump_json(list(rows), indent=2) + b"\n")


def chaos_table(rows: Sequence[ChaosRow]) -> str:
    """The rows as a table of Markdown."""
    aligned = ["---", *["---:"] * (len(_HEADING) - 2), "---"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (_HEADING, aligned, *map(_cells, rows)))


def _cells(row: ChaosRow) -> list[str]:
    counts = (row.requests, row.ok, row.degraded, row.refused, row.errors_5xx, row.unanswered)
    return [
        row.fault,
        str(row.workers),
        *(f"{count:,}" for count in counts),
        *("–" if ms is None else f"{ms:.0f}" for ms in (row.p99_ms, row.p99_after_ms)),
        "–" if row.recovery_s is None else f"{row.recovery_s:.1f}",
        str(row.events_lost),
        "; ".join(filter(None, (row.verdict, row.remark))),
    ]
