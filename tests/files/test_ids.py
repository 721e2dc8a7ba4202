"""The rule of what may be an id, as Python, pydantic and JSON Schema read it."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from files.ids import MAX_ID_LENGTH, MISSING_WORDS, PADDING, UNPADDED, fault, is_id

EDGES = st.sampled_from([*PADDING, "a", "7", "é", "\x00", "\x85", "-", "​"])


@given(st.text() | st.text(EDGES, max_size=4) | st.sampled_from(MISSING_WORDS))
@example("a b")
@example("a\n")
def test_an_id_may_be_written_if_it_is_one_unpadded_and_not_missing(text: str) -> None:
    controls = any(unicodedata.category(character) == "Cc" for character in text)
    well_formed = 1 <= len(text) <= MAX_ID_LENGTH and not controls
    assert is_id(text) == well_formed
    assert (fault(text) is None) == (
        well_formed and text.strip().strip("\ufeff").strip() == text and text not in MISSING_WORDS
    )


@given(st.text(min_size=1) | st.text(EDGES, min_size=1, max_size=4))
def test_the_pattern_says_the_same(text: str) -> None:
    written = text not in MISSING_WORDS and len(text) <= MAX_ID_LENGTH
    if written:
        assert (fault(text) is None) == (re.fullmatch(UNPADDED, text) is not None)


def test_padding_is_what_python_takes_for_blank_and_the_byte_order_mark() -> None:
    blank = {chr(code) for code in range(0x3100) if chr(code).isspace() and not 0x1C <= code <= 0x1F}
    assert set(PADDING) == blank | {"\ufeff"}


@pytest.mark.parametrize(
    ("text", "says"), [("", "missing"), ("NULL", "missing"), (" a", "blanks"), ("a\x01", "control")]
)
def test_the_fault_names_the_reason(text: str, says: str) -> None:
    assert says in str(fault(text))
