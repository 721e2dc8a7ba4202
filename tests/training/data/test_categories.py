"""Categories in text: whatever wrote a list, it reads back as that list, or is refused."""

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from files.ids import MISSING_WORDS, PADDING
from training.data.categories import UnreadableCategoriesError, categories_of, read_list
from training.data.prepare_options import CategorySeparator

WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=12
).filter(lambda word: word.strip(PADDING) == word and word not in MISSING_WORDS)
PLAIN = st.from_regex(r"[A-Z][a-z]{1,6}( [a-z]{2,4})?", fullmatch=True)


def split(*texts: str, separator: CategorySeparator = "auto") -> list[list[str]]:
    names, _ = categories_of(dict.fromkeys(texts, 1), separator, MISSING_WORDS)
    return [names[text] for text in texts]


WRITERS: dict[str, Callable[[Sequence[str]], str]] = {
    "jq": lambda words: json.dumps(words, ensure_ascii=False, separators=(",", ":")),
    "json.dumps": json.dumps,
    "pandas": repr,
    "a tuple": lambda words: repr(tuple(words)),
    "NumPy's repr": lambda words: repr(np.array(words, dtype=object)),
    "a frozenset": lambda words: f"frozenset({{{', '.join(map(repr, words))}}})",
}


@pytest.mark.parametrize("writer", WRITERS)
@given(words=st.lists(WORDS, min_size=1, max_size=5, unique=True))
def test_a_list_reads_back_whoever_wrote_it(writer: str, words: list[str]) -> None:
    assert split(WRITERS[writer](words)) == [words]


@given(st.lists(PLAIN, min_size=1, max_size=5, unique=True))
def test_lists_of_plain_words_read_back_without_quotes(words: list[str]) -> None:
    assert split(f"[{', '.join(words)}]") == split(f"{{{','.join(words)}}}") == [words]
    assert split(str(np.array(words))) == split(" ".join(map(repr, words)).join("[]")) == [words]
    assert split("|".join(words)) == split(", ".join(words)) == [words]


@given(st.lists(st.lists(WORDS, max_size=4) | st.text(max_size=20), min_size=1, max_size=8))
def test_no_category_is_a_torn_list(cells: list[list[str] | str]) -> None:
    texts = {cell if isinstance(cell, str) else repr(cell) for cell in cells}
    try:
        found = split(*texts)
    except UnreadableCategoriesError:
        return
    for name in (name for names in found for name in names):
        assert name == name.strip(PADDING)
        assert name not in MISSING_WORDS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", []),
        ("()", []),
        ("set()", []),
        ("['']", []),
        ("[nan]", []),
        ("['Comedy', nan, None]", ["Comedy"]),
        ("[1, 2]", ["1", "2"]),
        ("[u'Comedy', u'War']", ["Comedy", "War"]),
        (r"[b'Com\xc3\xa9die', b'War']", ["Comédie", "War"]),
        ("['Comedy', 'Comedy']", ["Comedy"]),
        ('"Comedy", "War"', ["Comedy", "War"]),
        ('{Comedy,"Sci Fi"}', ["Comedy", "Sci Fi"]),
        ("['Comedy' 'Drama'\n 'War']", ["Comedy", "Drama", "War"]),
        ("(no genres listed)", ["(no genres listed)"]),
        ("[Live] Music", ["[Live] Music"]),
        ("'n' Roll", ["'n' Roll"]),
        ("NaN", []),
        ("N/A", []),
    ],
)
def test_known_spellings(text: str, expected: list[str]) -> None:
    assert split(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "['Comedy', 'Dra",
        '["Comedy", ',
        "[{'id': 16, 'name': 'Animation'}]",
        '{"name": "Animation"}',
        '[["Comedy"]]',
        "[true]",
        "[1 2 3]",
        "[Comedy|Drama]",
        "Drama (dark, slow), Comedy",
        "dict_keys(['Comedy', 'War'])",
        "WrappedArray(Comedy, War)",
        "['Comedy', 'Drama', ...]",
        "['Comedy' 'Drama' ... 'War']",
        '"[\\"Comedy\\", \\"War\\"]"',
        "[Comedy 'War']",
    ],
)
def test_what_looks_like_a_list_and_is_none_is_refused(text: str) -> None:
    with pytest.raises(UnreadableCategoriesError):
        split("Comedy", text)
    assert read_list("Comedy, War") is None


def test_beside_a_bar_a_comma_separates_only_known_categories() -> None:
    found = split("Comedy|Drama", "Comedy,Drama", "Drama, dark", "War", "War, Comedy", "None")
    assert found == [
        ["Comedy", "Drama"],
        ["Comedy", "Drama"],
        ["Drama, dark"],
        ["War"],
        ["War", "Comedy"],
        [],
    ]


def test_the_separator_can_be_said() -> None:
    assert split("War, dark;Drama", separator=";") == [["War, dark", "Drama"]]
    assert split("War|Drama", separator="none") == [["War|Drama"]]
    assert split("[Live], [Studio]", separator=",") == [["[Live]", "[Studio]"]]
    with pytest.raises(UnreadableCategoriesError):
        split("[{'id': 16, 'name': 'Animation'}]", separator=",")
