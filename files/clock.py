"""The one rule of plausible times: from 1995 until a day after now, which is always an argument."""

import time
from datetime import UTC, datetime
from typing import Literal

ClockUnit = Literal["s", "ms", "us", "ns"]
"""The unit that a clock counts since 1970 in: seconds, milliseconds, microseconds or nanoseconds."""

TICKS_PER_SECOND: dict[ClockUnit, int] = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
UNIT_NAMES: dict[ClockUnit, str] = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}

EARLIEST_MS = 788_918_400_000
"""1995-01-01T00:00Z: nobody's log of watched videos is older, and what seems to be is in another unit."""
MAX_AHEAD_MS = 24 * 3600 * 1000
"""A moment later than this after now is no clock that runs a little fast, nor one of another time zone."""

_CALENDAR_TAILS = {
    "YYYYMMDDhh": "010100",
    "YYYYMMDDhhmm": "01010000",
    "YYYYMMDDhhmmss": "0101000000",
    "YYYYMMDDhhmmssSSS": "0101000000000",
}


def now_ms() -> int:
    """The system's clock, ms since the epoch."""
    return int(time.time() * 1000)


def span(unit: ClockUnit, now_ms: int) -> tuple[int, int]:
    """The first and the last plausible number of a clock that counts in `unit`."""
    ticks = TICKS_PER_SECOND[unit]
    return EARLIEST_MS * ticks // 1000, (now_ms + MAX_AHEAD_MS) * ticks // 1000


def unit_of(number: float, now_ms: int) -> ClockUnit | None:
    """The unit in which `number` is a plausible moment; None if in none. No number is one in two units."""
    for unit in TICKS_PER_SECOND:
        first, last = span(unit, now_ms)
        if first <= number <= last:
            return unit
    return None


def calendar_spans(now_ms: int) -> dict[str, tuple[int, int]]:
    """First and last number that is a moment's own digits, by their order, for example YYYYMMDDhhmmss."""
    years = datetime.fromtimestamp(EARLIEST_MS / 1000, UTC).year, _utc(now_ms).year + 1
    return {
        digits: (int(f"{years[0]}{tail}"), int(f"{years[1]}{tail}"))
        for digits, tail in _CALENDAR_TAILS.items()
    }


def fault(timestamp_ms: int, now_ms: int) -> str | None:
    """The reason why `timestamp_ms` is no plausible moment, with the remedy; None if it is one."""
    unit = unit_of(timestamp_ms, now_ms)
    if unit == "ms":
        return None
    if unit is not None:
        right = timestamp_ms * 1000 // TICKS_PER_SECOND[unit]
        return f"looks like {UNIT_NAMES[unit]}; it is in ms since the epoch: {right}"
    for digits, (first, last) in calendar_spans(now_ms).items():
        if first <= timestamp_ms <= last:
            return f"looks like {digits}; it is in ms since the epoch"
    if timestamp_ms < EARLIEST_MS:
        return "lies before 1995; it is in ms since the epoch"
    return "more than 24 h ahead of the server's clock; it is in ms since the epoch"


def _utc(moment_ms: int) -> datetime:
    return datetime.fromtimestamp(moment_ms / 1000, UTC)
