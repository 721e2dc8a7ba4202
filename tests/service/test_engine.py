"""The engine against the model and plain arithmetic, and against itself without company."""

from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.read import Bundle, load
from index.eligibility import Eligibility
from index.vector_index import Vectors
from model.batch import collate
from model.sampler import starting_noise
from service.engine import Engine, EngineAnswer, EngineRequest, Job, compute
from service.popularity import Popularity
from tests.factories import make_catalogue, publish_tiny_bundle

NOTHING = np.empty(0, dtype=np.int64)


@pytest.fixture(scope="module")
def bundle(bundle_root: Path) -> Bundle:
    return load(bundle_root)


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Engine:
    return Engine(bundle)


def request(history: list[int], **fields: object) -> EngineRequest:
    wish: dict[str, object] = {
        "k": 10,
        "excluded": NOTHING,
        "categories": None,
        "diversity": 0.0,
        "draws": 3,
        "interest_mode": "draws",
        "steps": 2,
        "seed": 5,
        "explain": True,
    }
    return EngineRequest(history=np.array(history, dtype=np.int64), **(wish | fields))  # type: ignore[arg-type]


def interests_by_hand(bundle: Bundle, wish: EngineRequest) -> Vectors:
    """Guidance of the one user; draws one at a time."""
    with torch.inference_mode():
        guidance = bundle.model.guide(collate([wish.history.tolist()], bundle.model.config.max_length))
        noise = starting_noise(wish.seed, wish.draws, bundle.model.config.dim)
        drawn = [
            bundle.model.generate(guidance, noise[draw : draw + 1], wish.steps) for draw in range(wish.draws)
        ]
    parts = {"draws": drawn, "guidance": [guidance[0]], "both": [*drawn, guidance[0]]}
    vectors: Vectors = torch.cat(parts[wish.interest_mode]).numpy()
    return vectors


def merged_by_hand(wish: EngineRequest, interests: Vectors) -> list[list[int]]:
    """Interests that are one: each joins the first group of its kind whose first member is near."""
    draws = 0 if wish.interest_mode == "guidance" else wish.draws
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
    excluded = set(wish.excluded.tolist())
    order = [line for line in np.argsort(-scores, kind="stable") if line + 1 not in excluded][: wish.k]
    merged = np.stack([weights[group].sum(axis=0) for group in merged_by_hand(wish, interests)])
    return [(int(line) + 1, float(scores[line]), int(merged[:, line].argmax())) for line in order]


@pytest.mark.parametrize(("mode", "steps"), list(product(["draws", "guidance", "both"], [1, 4])))
def test_answers_are_the_nearest_items_of_the_interests(
    bundle: Bundle, engine: Engine, mode: str, steps: int
) -> None:
    wish = request([3, 7, 50], interest_mode=mode, steps=steps, excluded=np.array([1, 2, 3, 7, 50]))
    (answer,) = engine.recommend([wish])
    expected = best_by_hand(bundle, wish)
    assert [(item.row, item.interest) for item in answer.items] == [(row, by) for row, _, by in expected]
    scores = [item.score for item in answer.items]
    np.testing.assert_allclose(scores, [score for _, score, _ in expected], atol=1e-6)
    groups = merged_by_hand(wish, interests_by_hand(bundle, wish))
    kinds = ["draw" if mode != "guidance" and group[0] < wish.draws else "guidance" for group in groups]
    assert [interest.kind for interest in answer.interests] == kinds
    brought = Counter(by for _, _, by in expected)
    assert [interest.item_count for interest in answer.interests] == [brought[by] for by in range(len(kinds))]
    assert sum(interest.weight for interest in answer.interests) == pytest.approx(1.0, abs=1e-5)


def test_seen_items_come_as_often_as_users_come_back(tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path / "any")
    publish_tiny_bundle(tmp_path / "never", repeat_weight=1e-6)
    any_other, never = (Engine(load(tmp_path / name)) for name in ("any", "never"))
    history = list(range(1, 60))
    wish = request(history, excluded=NOTHING, k=20)
    (counted,), (discounted,) = any_other.recommend([wish]), never.recommend([wish])
    assert {item.row for item in counted.items} & set(history)
    assert len(discounted.items) == 20
    assert not {item.row for item in discounted.items} & set(history)
    (all_of_it,) = never.recommend([request(history, excluded=np.arange(60, 201), k=59)])
    assert {item.row for item in all_of_it.items} == set(history)


def test_a_mixed_batch_answers_each_request_as_if_it_were_alone(engine: Engine) -> None:
    wishes = [
        request([1, 2, 3]),
        request([]),
        request([9], steps=1, draws=1),
        request([4, 5], steps=5, draws=7, seed=2**63 - 1),
        request(list(range(1, 60)), interest_mode="guidance"),
        request([8, 8, 8], interest_mode="both", steps=1, diversity=0.4),
        request([8, 9], explain=False),
        request([2], categories=frozenset({"Comedy"}), k=500),
        request([], categories=frozenset({"News"}), diversity=1.0),
    ]
    together = engine.recommend(wishes)
    for wish, batched in zip(wishes, together, strict=True):
        (alone,) = engine.recommend([wish])
        assert [item.row for item in batched.items] == [item.row for item in alone.items]
        assert [item.interest for item in batched.items] == [item.interest for item in alone.items]
        assert [interest.explanation for interest in batched.interests] == [
            interest.explanation for interest in alone.interests
        ]
        np.testing.assert_allclose(
            [item.score for item in batched.items], [item.score for item in alone.items], atol=1e-6
        )


def test_the_seed_decides_the_draws(engine: Engine) -> None:
    first, again, other = engine.recommend(
        [request([1, 2], seed=1), request([1, 2], seed=1), request([1, 2], seed=2)]
    )

    def answered(answer: EngineAnswer) -> list[tuple[int, int | None]]:
        return [(item.row, item.interest) for item in answer.items]

    assert answered(first) == answered(again)
    assert answered(first) != answered(other)
    # Rounding may differ from row to row of a batch.
    scores = [[item.score for item in answer.items] for answer in (first, again)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


def test_seeds_follow_from_identity_and_version(engine: Engine, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, seed=1)
    other = Engine(load(tmp_path))
    seeds = {engine.seed_for("user", "1"), engine.seed_for("user", "2"), engine.seed_for("history", "1")}
    assert len(seeds | {other.seed_for("user", "1")}) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert engine.seed_for("user", "1") == engine.seed_for("user", "1")


def test_jobs_of_two_engines_get_their_answers_each_from_its_own(engine: Engine, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, seed=1)
    other = Engine(load(tmp_path))
    wishes = [request([3, 4]), request([5])]
    answers = compute([Job(engine, wishes[0]), Job(other, wishes[0]), Job(engine, wishes[1])])
    expected = [*engine.recommend([wishes[0]]), *other.recommend([wishes[0]]), *engine.recommend([wishes[1]])]
    for answer, alone in zip(answers, expected, strict=True):
        assert [item.row for item in answer.items] == [item.row for item in alone.items]
    assert [item.row for item in answers[0].items] != [item.row for item in answers[1].items]


def test_an_item_less_category_gives_an_empty_answer(engine: Engine) -> None:
    personal, popular = engine.recommend(
        [request([1], categories=frozenset({"Nothing"})), request([], categories=frozenset({"Nothing"}))]
    )
    assert personal.items == []
    assert popular.items == []


@settings(deadline=None, max_examples=60)
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
    assert [row for row, _ in found] == expected
    np.testing.assert_allclose(
        [score for _, score in found], [counts[row - 1] / sum(counts) for row in expected]
    )


def test_diversity_spreads_popular_answers_over_categories() -> None:
    catalogue = make_catalogue(200)
    everything = Eligibility(catalogue).of(None)
    plain = Popularity(catalogue).best(10, NOTHING, everything, 0.0)
    spread = Popularity(catalogue).best(10, NOTHING, everything, 0.9)

    def overlaps(rows: list[int]) -> float:
        sets = [set(catalogue.category(row)) for row in rows]
        pairs = [(a, b) for place, a in enumerate(sets) for b in sets[:place]]
        return sum(len(a & b) / max(1, len(a | b)) for a, b in pairs)

    assert overlaps([row for row, _ in spread]) < overlaps([row for row, _ in plain])
    assert len({row for row, _ in spread}) == 10
