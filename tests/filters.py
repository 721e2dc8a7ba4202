"""Filters on the attributes that `tests.factories.make_attributes` makes, for hypothesis."""

from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st

from index.filters import Combined, Condition, Filter
from tests.factories import LANGUAGES, TAGS

LENGTHS = st.integers(0, 61) | st.floats(0, 61)
# Whole days, as those of the catalogue, so that their texts are in order as they are in time.
DAYS = st.integers(-10, 20_010).map(lambda days: (date(1970, 1, 1) + timedelta(days)).isoformat())


def _among(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    some = st.lists(values, min_size=1, max_size=3).map(tuple)
    return some.map(lambda among: Condition(name, among))


@st.composite
def _ranges(draw: st.DrawFn, name: str, values: st.SearchStrategy[Any]) -> Filter:
    ends = draw(st.sampled_from(["low", "high", "both"]))
    bounds = [draw(st.sampled_from(["at_least", "above"]))] if ends != "high" else []
    bounds += [draw(st.sampled_from(["at_most", "below"]))] if ends != "low" else []
    return Condition(name, **{bound: draw(values) for bound in bounds})


CONDITIONS: st.SearchStrategy[Filter] = st.one_of(
    _among("length", LENGTHS),
    _among("released", DAYS),
    _among("language", st.sampled_from([*LANGUAGES, "unknown"])),
    _among("live", st.booleans()),
    _among("tags", st.sampled_from([*TAGS, "unknown"])),
    _ranges("length", LENGTHS),
    _ranges("released", DAYS),
)


def filters() -> st.SearchStrategy[Filter]:
    """Any filter of a few conditions."""
    return st.recursive(CONDITIONS, _combined, max_leaves=5)


def _combined(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    some = st.lists(parts, min_size=1, max_size=3).map(tuple)
    return st.builds(Combined, st.sampled_from(["all_of", "any_of", "none_of"]), some)
