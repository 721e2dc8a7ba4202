"""The JSON of answers is that which the API describes, whatever is in them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from engine.contract import AnsweredInterest, RecommendedItem, WatchedItem
from service.answers import Answer, Timings, encode, encode_batch
from service.problems import problem_of
from service.responses import RecommendBatchResponse, RecommendResponse

texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**53)
some_texts = st.lists(texts, max_size=4).map(tuple)
watched = st.lists(st.builds(WatchedItem, texts, st.none() | texts), max_size=3).map(tuple)
items = st.builds(
    RecommendedItem,
    texts,
    numbers,
    st.none() | counts,
    st.none() | watched,
    some_texts,
    st.none() | texts,
    st.booleans(),
)
interests = st.builds(
    AnsweredInterest, st.sampled_from(["draw", "guidance"]), numbers, counts, st.none() | some_texts
)
answers = st.builds(
    Answer,
    items=st.lists(items, max_size=5),
    interests=st.lists(interests, max_size=5),
    source=st.sampled_from(["personal", "popularity"]),
    unknown_categories=st.lists(texts, max_size=3),
    fresh_missing=st.integers(0, 500),
    model_version=texts,
    request_id=texts,
    degraded=st.sampled_from([None, "history_unavailable"]),
    timings_ms=st.builds(Timings, numbers, numbers, numbers, numbers),
)


@given(answers)
def test_an_answer_reads_as_it_is_described(answer: Answer) -> None:
    encoded = encode(answer)
    described = RecommendResponse.model_validate_json(encoded, strict=True)
    assert json.loads(encoded) == json.loads(described.model_dump_json())
    assert list(json.loads(encoded)) == list(RecommendResponse.model_fields)


@given(st.lists(answers | texts.map(lambda text: problem_of(ValueError(text), text)), max_size=4))
def test_so_does_a_batch_with_problems_in_it(batch: list[Answer]) -> None:
    encoded = encode_batch(batch)
    described = RecommendBatchResponse.model_validate_json(encoded, strict=True)
    assert json.loads(encoded) == json.loads(described.model_dump_json())
