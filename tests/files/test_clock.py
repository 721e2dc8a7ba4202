"""The rule of plausible times, against the calendar of the standard library."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from files.clock import TICKS_PER_SECOND, ClockUnit, calendar_spans, fault, span, unit_of

NOW = datetime(2026, 11, 25, 18, 30, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
UNITS = st.sampled_from(list(TICKS_PER_SECOND))
MOMENTS = st.datetimes(
    datetime(1995, 1, 1), NOW.replace(tzinfo=None) + timedelta(days=1), timezones=st.just(UTC)
)


def ticks(moment: datetime, unit: ClockUnit) -> int:
    return (
        (moment - datetime(1970, 1, 1, tzinfo=UTC))
        // timedelta(microseconds=1)
        * 1000
        // (10**9 // TICKS_PER_SECOND[unit])
    )


@given(MOMENTS, UNITS)
def test_a_plausible_moment_is_known_by_its_unit_and_by_no_other(moment: datetime, unit: ClockUnit) -> None:
    assert unit_of(ticks(moment, unit), NOW_MS) == unit
    assert (fault(ticks(moment, unit), NOW_MS) is None) == (unit == "ms")


@given(st.datetimes(datetime(1970, 1, 2), datetime(2500, 1, 1), timezones=st.just(UTC)), UNITS)
def test_what_is_outside_of_the_years_is_plausible_in_no_unit(moment: datetime, unit: ClockUnit) -> None:
    inside = datetime(1995, 1, 1, tzinfo=UTC) <= moment <= NOW + timedelta(days=1)
    assert (unit_of(ticks(moment, unit), NOW_MS) == unit) == inside


@pytest.mark.parametrize("year", [1996, 2026, 2100])
def test_no_number_is_plausible_in_two_units_for_a_century(year: int) -> None:
    now = round(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1000)
    spans = [span(unit, now) for unit in TICKS_PER_SECOND]
    assert all(last < first for (_, last), (first, _) in pairwise(spans))


@given(MOMENTS)
def test_a_moment_written_as_its_digits_is_called_so(moment: datetime) -> None:
    for digits, text in (("YYYYMMDDhhmm", "%Y%m%d%H%M"), ("YYYYMMDDhhmmss", "%Y%m%d%H%M%S")):
        number = int(moment.strftime(text))
        first, last = calendar_spans(NOW_MS)[digits]
        assert first <= number <= last
        assert f"looks like {digits};" in str(fault(number, NOW_MS))


def test_seconds_are_told_what_they_are_in_ms() -> None:
    assert fault(1_700_000_000, NOW_MS) == "looks like seconds; it is in ms since the epoch: 1700000000000"
    assert fault(NOW_MS + 24 * 3600 * 1000, NOW_MS) is None
    assert "24 h ahead" in str(fault(NOW_MS + 24 * 3600 * 1000 + 1, NOW_MS))
    assert "before 1995" in str(fault(-1, NOW_MS))
