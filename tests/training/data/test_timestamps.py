"""The clock of a log: what was written in any unit reads back as the same moments, or is refused by name."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.effort import examples
from training.data.event_log import EventLog, read_event_log
from training.data.prepare import prepare
from training.data.prepare_options import PrepareOptions
from training.errors import DataError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW_MS = 1_790_000_000_000
SECONDS = 1_700_000_001
"""An odd number of them: no 32-bit float."""
GOOD = [SECONDS + 60 * step for step in range(3000)]


def log_of(path: Path, times: Sequence[object] | pl.Series, **options: object) -> EventLog:
    items = [f"i{row}" for row in range(len(times))]
    frame = pl.DataFrame({"user_id": ["u"] * len(items), "item_id": items, "timestamp": times}, strict=False)
    frame.write_parquet(path)
    return read_event_log(path, PrepareOptions.model_validate(options), NOW_MS)


def refusal(path: Path, times: Sequence[object] | pl.Series, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        log_of(path, times, **options)
    message = str(caught.value)
    assert "'timestamp'" in message
    assert "\n" not in message
    return message


def instants(log: EventLog) -> list[int]:
    by_item = log.events.with_columns(row=pl.col("item_id").str.slice(1).cast(pl.Int64)).sort("row")
    return by_item["timestamp"].to_list()


def moment(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


def as_text(separator: str, offset: timezone, tail: str) -> Callable[[int], str]:
    def written(ms: int) -> str:
        there = moment(ms).astimezone(offset)
        return f"{there:%Y-%m-%d}{separator}{there:%H:%M:%S}.{ms % 1000:03}{tail}"

    return written


SPELLINGS: dict[str, tuple[str, Callable[[int], object]]] = {
    "ms": ("ms", lambda ms: ms),
    "us": ("us", lambda ms: ms * 1000 + 999),
    "ns": ("ns", lambda ms: ms * 1_000_000),
    "s as text": ("s", lambda ms: f" {ms // 1000}.{ms % 1000:03} "),
    "s with all digits": ("s", lambda ms: f"{ms / 1000:.17e}"),
    "ISO 8601": ("ms", as_text("T", UTC, "Z")),
    "ISO 8601, half an hour": ("ms", as_text("T", timezone(timedelta(hours=5, minutes=30)), "+05:30")),
    "SQL": ("ms", as_text(" ", UTC, "")),
    "SQL with a zone": ("ms", as_text(" ", timezone(timedelta(hours=-3)), "-03")),
    "PostgreSQL": ("ms", as_text(" ", timezone(timedelta(hours=-9, minutes=-30)), " -0930")),
    "named": ("ms", as_text(" ", UTC, " UTC")),
    "date-time": ("ms", moment),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments=st.lists(st.integers(788_918_400_000, NOW_MS + 86_399_999), max_size=8))
def test_whatever_the_spelling_a_moment_is_that_moment(
    tmp_path: Path, spelling: str, moments: list[int]
) -> None:
    moments = [SECONDS * 1000 + 1, *moments]
    unit, write = SPELLINGS[spelling]
    log = log_of(tmp_path / "log", [write(ms) for ms in moments])
    assert (log.timestamp_unit, log.dropped) == (unit, [])
    assert instants(log) == moments


def test_the_fingerprint_is_of_the_moments_and_not_of_their_spelling(tmp_path: Path) -> None:
    fingerprints = set()
    for _, write in SPELLINGS.values():
        log_of(tmp_path / "log", [write(SECONDS * 1000 + 7 * step) for step in range(5)])
        fingerprints.add(prepare(tmp_path / "log", None, tmp_path / "out", now_ms=NOW_MS).fingerprint)
    assert len(fingerprints) == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (0, "timestamp lies before 1995, e.g. 0"),
        (-1, "timestamp lies before 1995, e.g. -1"),
        (700_000_000, "timestamp lies before 1995, e.g. 700000000"),
        (1_790_086_401, "timestamp is more than a day ahead, e.g. 1790086401"),
        (1_700_000_000_000, "timestamp is more than a day ahead, e.g. 1700000000000"),
        (10**30, "timestamp is more than a day ahead, e.g. 1e+30"),
    ],
)
def test_a_slip_is_dropped_by_its_reason_and_more_are_refused(
    tmp_path: Path, bad: float, reason: str
) -> None:
    log = log_of(tmp_path / "log", [*map(float, GOOD), float(bad)])
    assert [(drop.reason, drop.events) for drop in log.dropped] == [(reason, 1)]
    assert instants(log) == [second * 1000 for second in GOOD]
    assert "mixes seconds" in refusal(tmp_path / "log", [*map(float, GOOD), *[float(bad)] * 4])


def test_the_day_ahead_is_that_of_the_moment_given(tmp_path: Path) -> None:
    last = NOW_MS + 86_400_000
    assert instants(log_of(tmp_path / "log", [last, last - 7]))[0] == last
    assert "tomorrow" in refusal(tmp_path / "log", [last + 1, last + 8])


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ([second * (1000 if row % 3 else 1) for row, second in enumerate(GOOD)], "mixes milliseconds"),
        ([*GOOD[:50], *range(50)], "and an order (e.g. 0)"),
        ([*range(5000), SECONDS], "mixes an order (e.g. 0) and seconds"),
        (["2023-11-14", *map(str, GOOD[:9])], "mixes seconds (e.g. 1700000001) and date-times"),
        ([20231114221320, 20231114221420], "looks like YYYYMMDDhhmmss (e.g. 20231114221320)"),
        ([202311142213, 202311142214], "looks like YYYYMMDDhhmm "),
        ([2023111422, 2023111423], "looks like YYYYMMDDhh "),
        ([f"{second:.7e}" for second in GOOD], "has been rounded to 100 s"),
        ([f"{SECONDS + 7 * step:.8e}" for step in range(99)], "has been rounded to 10 s"),
        ([0] * 10, "is the same in all 10 rows (e.g. 0), so there is no order"),
        ([SECONDS] * 10, "is the same in all 10 rows"),
        ([20231114, 20231201], "looks like YYYYMMDD (e.g. 20231114)"),
        ([f"{second:g}" for second in GOOD], "has been rounded to 10,000 s"),
        ([f"{second:.6e}" for second in GOOD], "has been rounded to 1,000 s"),
        ([second // 10_000 * 10_000 for second in GOOD], "has been rounded to 10,000 s"),
        (pl.Series(GOOD, dtype=pl.Float32), "has been a 32-bit float"),
        (pl.Series(GOOD, dtype=pl.Float32).cast(pl.Int64), "has been a 32-bit float"),
        ((pl.Series(GOOD, dtype=pl.Float32).cast(pl.Int64) * 1000), "has been a 32-bit float"),
        ([f"{second}" for second in pl.Series(GOOD, dtype=pl.Float32)], "has been a 32-bit float"),
        ([1.5, 2, 3], "has fractions, so it is no order"),
        ([2e8, 3e8], "no time between 1995 and tomorrow in any unit (e.g. 200000000)"),
        ([datetime(1023, 1, 1), datetime(1023, 1, 2)], "date-times before 1995"),
    ],
)
def test_what_is_no_clock_is_refused_by_name(tmp_path: Path, times: list[object], says: str) -> None:
    assert says in refusal(tmp_path / "log", times)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_unit_that_is_said_must_be_true(tmp_path: Path, unit: str) -> None:
    factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
    for written, ticks in factor.items():
        times = [second * ticks for second in GOOD[:20]]
        if written == unit:
            assert instants(log_of(tmp_path / "log", times, timestamp_unit=unit))[0] == SECONDS * 1000
        else:
            assert f"say --timestamp-unit {written}" in refusal(tmp_path / "log", times, timestamp_unit=unit)
    assert "looks like an order" in refusal(tmp_path / "log", [1, 2, 3], timestamp_unit=unit)


@pytest.mark.parametrize("step", [86_400, 3600, 60, 1, 7])
def test_days_hours_and_minutes_are_no_rounding(tmp_path: Path, step: int) -> None:
    for first in (1_699_920_000, 1_700_000_000):
        times = [first + step * row for row in range(30)]
        assert instants(log_of(tmp_path / "log", times)) == [1000 * time for time in times]
        in_ns = [repr(time * 1e9) for time in times]
        assert instants(log_of(tmp_path / "log", in_ns)) == [1000 * time for time in times]


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=8, unique=True))
def test_an_order_that_is_said_is_judged_by_nothing(tmp_path: Path, order: list[int]) -> None:
    log = log_of(tmp_path / "log", order, timestamp_unit="order")
    assert (log.timestamp_unit, log.dropped, instants(log)) == ("order", [], order)


@settings(max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.integers(0, 10**8)
        | st.integers(788_918_400, NOW_MS // 1000)
        | st.integers(788_918_400_000, NOW_MS)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.sampled_from(["NULL", "soon", "2023-11-14", "2023-02-30", ""]),
        min_size=1,
        max_size=12,
    )
)
def test_every_row_is_kept_or_counted_or_the_log_refused(tmp_path: Path, times: list[object]) -> None:
    try:
        log = log_of(tmp_path / "log", pl.Series(list(map(str, times))))
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert log.rows == len(times) == log.events.height + sum(drop.events for drop in log.dropped)
    assert all(drop.events for drop in log.dropped)
    if log.timestamp_unit != "order":
        assert log.events["timestamp"].is_between(788_918_400_000, NOW_MS + 86_400_000).all()


def test_zones_of_any_offset_are_instants(tmp_path: Path) -> None:
    times = pl.Series([moment(SECONDS * 1000)], dtype=pl.Datetime("us", "Asia/Kolkata"))
    assert instants(log_of(tmp_path / "log", times)) == [SECONDS * 1000]
    dates = np.array(["2023-11-14", "2023-11-15"], "datetime64[D]")
    assert instants(log_of(tmp_path / "log", pl.Series(dates))) == [1_699_920_000_000, 1_700_006_400_000]
