"""The engine against the model and plain arithmetic, and against itself without company."""

from collections import Counter
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.read import Bundle, read_bundle
from bundle.write import publish
from engine.contract import DescribedItem, EngineAnswer, EngineRequest
from engine.engine import Engine
from engine.popularity import Popularity
from index.eligibility import Eligibility
from index.vector_index import Vectors
from model.batch import collate
from model.sampler import starting_noise
from service.batch import Job, SimilarRequest, compute
from tests.effort import examples
from tests.factories import make_catalogue, make_index, make_model, make_serving, publish_tiny_bundle

NOTHING = np.empty(0, dtype=np.int64)
MAX_STEPS = 50


@pytest.fixture(scope="module")
def bundle(bundle_root: Path) -> Bundle:
    return read_bundle(bundle_root)


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Engine:
    return Engine(bundle, max_steps=MAX_STEPS)


def ids(rows: Iterable[int]) -> list[str]:
    """As `make_catalogue` names them."""
    return [str(1000 + row) for row in rows]


def rows(item_ids: Iterable[str]) -> list[int]:
    return [int(item_id) - 1000 for item_id in item_ids]


def answered(answer: EngineAnswer) -> list[str]:
    return [item.item_id for item in answer.items]


def request(history: Iterable[int], excluded: Iterable[int] = (), **fields: Any) -> EngineRequest:
    """A request by rows, every default of the bundle given."""
    asked: dict[str, Any] = {"k": 10, "diversity": 0.0, "draws": 3, "interest_mode": "draws"}
    asked |= {"steps": 2, "seed": 5}
    return EngineRequest(history=ids(history), excluded=ids(excluded), **(asked | fields))


def interests_by_hand(bundle: Bundle, wish: EngineRequest) -> Vectors:
    """Guidance of the one user; draws one at a time."""
    with torch.inference_mode():
        guidance = bundle.model.guide(collate([rows(wish.history)], bundle.model.config.max_length))
        assert wish.seed is not None
        assert wish.draws is not None
        noise = starting_noise(wish.seed, wish.draws, bundle.model.config.dim)
        drawn = [
            bundle.model.generate(guidance, noise[draw : draw + 1], wish.steps or 0)
            for draw in range(wish.draws)
        ]
    parts = {"draws": drawn, "guidance": [guidance[0]], "both": [*drawn, guidance[0]]}
    vectors: Vectors = torch.cat(parts[wish.interest_mode or ""]).numpy()
    return vectors


def merged_by_hand(wish: EngineRequest, interests: Vectors) -> list[list[int]]:
    """Interests that are one: each joins the first group of its kind whose first member is near."""
    draws = 0 if wish.interest_mode == "guidance" else wish.draws or 0
    groups: list[list[int]] = []
    for place, vector in enumerate(interests):
        for group in groups:
            if (group[0] < draws) == (place < draws) and float(vector @ interests[group[0]]) >= 0.9:
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def best_by_hand(bundle: Bundle, wish: EngineRequest) -> list[tuple[int, float, int]]:
    """Rows, scores, strongest merged interests: means of softmaxes over all items, then the excluded struck.

    With both kinds of interests the draws count three quarters together (`make_serving`).
    """
    assert wish.draws is not None
    interests = interests_by_hand(bundle, wish)
    cosines = interests @ bundle.model.item_vectors().detach().numpy().T
    weights = np.exp(cosines / bundle.manifest.serving.temperature)
    weights /= weights.sum(axis=1, keepdims=True)
    if wish.interest_mode == "both":
        weights[: wish.draws] *= 0.75 / wish.draws
        weights[wish.draws :] *= 0.25 / (len(weights) - wish.draws)
    else:
        weights /= len(weights)
    scores = weights.sum(axis=0)
    excluded = set(rows(wish.excluded))
    order = [line for line in np.argsort(-scores, kind="stable") if line + 1 not in excluded][: wish.k]
    merged = np.stack([weights[group].sum(axis=0) for group in merged_by_hand(wish, interests)])
    return [(int(line) + 1, float(scores[line]), int(merged[:, line].argmax())) for line in order]


@pytest.mark.parametrize(("mode", "steps"), list(product(["draws", "guidance", "both"], [1, 4])))
def test_answers_are_the_nearest_items_of_the_interests(
    bundle: Bundle, engine: Engine, mode: str, steps: int
) -> None:
    wish = request([3, 7, 50], interest_mode=mode, steps=steps, excluded=[1, 2, 3, 7, 50])
    (answer,) = engine.recommend([wish])
    expected = best_by_hand(bundle, wish)
    assert [(item.item_id, item.interest) for item in answer.items] == [
        (*ids([row]), by) for row, _, by in expected
    ]
    scores = [item.score for item in answer.items]
    np.testing.assert_allclose(scores, [score for _, score, _ in expected], atol=1e-6)
    groups = merged_by_hand(wish, interests_by_hand(bundle, wish))
    draws = wish.draws or 0
    kinds = ["draw" if mode != "guidance" and group[0] < draws else "guidance" for group in groups]
    assert [interest.kind for interest in answer.interests] == kinds
    brought = Counter(by for _, _, by in expected)
    assert [interest.item_count for interest in answer.interests] == [brought[by] for by in range(len(kinds))]
    assert sum(interest.weight for interest in answer.interests) == pytest.approx(1.0, abs=1e-5)


def test_seen_items_come_as_often_as_users_come_back(tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path / "any")
    publish_tiny_bundle(tmp_path / "never", repeat_weight=1e-6)
    any_other, never = (
        Engine(read_bundle(tmp_path / name), max_steps=MAX_STEPS) for name in ("any", "never")
    )
    history = range(1, 60)
    watched = set(ids(history))
    wish = request(history, k=20)
    (counted,), (discounted,) = any_other.recommend([wish]), never.recommend([wish])
    assert set(answered(counted)) & watched
    assert len(discounted.items) == 20
    assert not set(answered(discounted)) & watched
    (all_of_it,) = never.recommend([request(history, excluded=range(60, 201), k=59)])
    assert set(answered(all_of_it)) == watched


def test_a_mixed_batch_answers_each_request_as_if_it_were_alone(engine: Engine) -> None:
    wishes = [
        request([1, 2, 3]),
        request([]),
        request([9], steps=1, draws=1),
        request([4, 5], steps=5, draws=7, seed=2**63 - 1),
        request(range(1, 60), interest_mode="guidance"),
        request([8, 8, 8], interest_mode="both", steps=1, diversity=0.4),
        request([8, 9], explain=False),
        request([2], categories=["Comedy"], k=500),
        request([], categories=["News"], diversity=1.0),
    ]
    together = engine.recommend(wishes)
    for wish, batched in zip(wishes, together, strict=True):
        (alone,) = engine.recommend([wish])
        assert answered(batched) == answered(alone)
        assert [item.interest for item in batched.items] == [item.interest for item in alone.items]
        assert [item.because for item in batched.items] == [item.because for item in alone.items]
        labels = ([interest.top_categories for interest in answer.interests] for answer in (batched, alone))
        assert next(labels) == next(labels)
        np.testing.assert_allclose(
            [item.score for item in batched.items], [item.score for item in alone.items], atol=1e-6
        )


def test_the_seed_decides_the_draws(engine: Engine) -> None:
    first, again, other = engine.recommend(
        [request([1, 2], seed=1), request([1, 2], seed=1), request([1, 2], seed=2)]
    )

    assert answered(first) == answered(again)
    assert answered(first) != answered(other)
    # Rounding may differ from row to row of a batch.
    scores = [[item.score for item in answer.items] for answer in (first, again)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


def test_without_a_seed_the_draws_follow_from_who_asks_and_the_model(engine: Engine, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, seed=0)  # the same weights under another version
    other = Engine(read_bundle(tmp_path), max_steps=MAX_STEPS)
    one, again, another, nobody, same = (
        request([1, 2], seed=None, user_id="1"),
        request([1, 2], seed=None, user_id="1"),
        request([1, 2], seed=None, user_id="2"),
        request([1, 2], seed=None),
        request([1, 2], seed=None),
    )
    answers = [answered(answer) for answer in engine.recommend([one, again, another, nobody, same])]
    assert answers[0] == answers[1]
    assert answers[3] == answers[4]
    assert answers[0] != answers[2] != answers[3]
    assert answered(other.recommend([one])[0]) != answers[0]


def test_jobs_of_two_engines_get_their_answers_each_from_its_own(engine: Engine, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, seed=1)
    other = Engine(read_bundle(tmp_path), max_steps=MAX_STEPS)
    wishes = [request([3, 4]), request([5])]
    jobs = [Job(engine, wishes[0]), Job(other, wishes[0]), Job(engine, wishes[1])]
    similar = Job(other, SimilarRequest("1003", 4))
    *answers, nearest = compute([*jobs, similar])
    expected = [*engine.recommend([wishes[0]]), *other.recommend([wishes[0]]), *engine.recommend([wishes[1]])]
    lists = [answered(answer) for answer in answers if isinstance(answer, EngineAnswer)]
    assert lists == [answered(alone) for alone in expected]
    assert lists[0] != lists[1]
    assert nearest == other.similar("1003", 4)


def test_items_are_described_and_found_by_their_ids(bundle: Bundle, engine: Engine) -> None:
    assert len(engine) == 200
    assert engine.describe("1003") == DescribedItem("1003", "Video 3", bundle.catalogue.category(3))
    assert engine.describe("3") is None
    assert engine.unknown(["1003", "x", "1001", "x", "y"]) == ["x", "y"]
    vectors = bundle.model.item_vectors().detach().numpy()
    nearest = np.argsort(-(vectors @ vectors[2]), kind="stable")[1:6] + 1
    found = engine.similar("1003", 5)
    assert found is not None
    assert [item.item_id for item in found] == ids(nearest.tolist())
    assert engine.similar("3", 5) is None


def test_an_item_less_category_gives_an_empty_answer(engine: Engine) -> None:
    personal, popular = engine.recommend(
        [request([1], categories=["Nothing"]), request([], categories=["Nothing"])]
    )
    assert personal.items == []
    assert popular.items == []


@settings(max_examples=examples(60))
@given(
    k=st.integers(1, 60),
    excluded=st.frozensets(st.integers(1, 40), max_size=40),
    categories=st.none()
    | st.frozensets(st.sampled_from(["Action", "Comedy", "News", "Nothing"]), min_size=1),
    seed=st.integers(0, 3),
)
def test_popularity_is_a_sort_of_what_fits(
    k: int, excluded: frozenset[int], categories: frozenset[str] | None, seed: int
) -> None:
    catalogue = make_catalogue(40, seed)
    counts = catalogue.popularity.tolist()
    fitting = [
        row
        for row in range(1, 41)
        if row not in excluded and (categories is None or categories & set(catalogue.category(row)))
    ]
    expected = sorted(fitting, key=lambda row: (-counts[row - 1], row))[:k]
    eligible = Eligibility(catalogue).of(categories)
    found = Popularity(catalogue).best(k, np.array(sorted(excluded), dtype=np.int64), eligible, 0.0)
    assert [one.row for one in found] == expected
    assert [one.score for one in found] == [counts[row - 1] / sum(counts) for row in expected]
    assert not any(one.trending for one in found)


def test_diversity_spreads_popular_answers_over_categories() -> None:
    catalogue = make_catalogue(200)
    everything = Eligibility(catalogue).of(None)
    plain = Popularity(catalogue).best(10, NOTHING, everything, 0.0)
    spread = Popularity(catalogue).best(10, NOTHING, everything, 0.9)

    def overlaps(rows: list[int]) -> float:
        sets = [set(catalogue.category(row)) for row in rows]
        pairs = [(a, b) for place, a in enumerate(sets) for b in sets[:place]]
        return sum(len(a & b) / max(1, len(a | b)) for a, b in pairs)

    assert overlaps([one.row for one in spread]) < overlaps([one.row for one in plain])
    assert len({one.row for one in spread}) == 10


@pytest.mark.parametrize(
    ("named", "kinds"),
    [
        ({}, {"guidance"}),
        ({"draws": 3}, {"draw", "guidance"}),
        ({"steps": 1}, {"draw", "guidance"}),
        ({"draws": 3, "interest_mode": "guidance"}, {"guidance"}),
        ({"interest_mode": "draws"}, {"draw"}),
    ],
    ids=str,
)
def test_who_names_draws_has_them_where_guidance_alone_is_the_default(
    tmp_path: Path, named: dict[str, Any], kinds: set[str]
) -> None:
    model = make_model(60)
    publish(
        *(tmp_path, model, make_catalogue(60), make_index(model)),
        serving=make_serving(interest_mode="guidance"),
        metrics={},
        data_fingerprint="none",
    )
    asked = Engine(read_bundle(tmp_path), max_steps=8)
    wish = EngineRequest(history=ids([1, 5, 9]), k=10, **named)
    (answer,) = asked.recommend([wish])
    assert {one.kind for one in answer.interests} == kinds
    steps = asked.costs.quantities(wish)["step posterior"]
    assert (steps > 0) == ("draw" in kinds)
