from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from index.exact import ExactIndex
from index.merging import Merge
from index.query import Query
from index.retrieval import Retriever
from index.vector_table import VectorTable
from model.batch import collate
from model.dimerec import DimeRec
from tests.factories import make_model, make_serving
from tests.training.random_logs import datasets, random_dataset
from training.data.dataset import Dataset
from training.data.splits import Histories, leave_one_out
from training.errors import DataError
from training.evaluation.bootstrap import paired_bootstrap
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.draws import measure_draws
from training.evaluation.metrics import Scores, top_items
from training.evaluation.ranking import Evaluation, evaluate, evaluate_both

KS = (1, 3, 5)


@dataclass
class RandomScorer:
    """Scores drawn from the newest item of a history, from few values, so that there are ties."""

    items: int

    def score(self, histories: Histories) -> Scores:
        rows = [self.row(histories[place].tolist()) for place in range(len(histories))]
        return np.array(rows, np.float32).reshape(len(histories), self.items)

    def row(self, history: list[int]) -> list[float]:
        generator = np.random.default_rng([history[-1], len(history)])
        return generator.integers(0, 6, size=self.items).astype(float).tolist()


def brute_force_rank(scores: list[float], target: int, seen: set[int]) -> float:
    left = {row: score for row, score in enumerate(scores, start=1) if row not in seen}
    if target not in left:
        return np.inf
    own = left.pop(target)
    return 1 + sum(s > own for s in left.values()) + sum(s == own for s in left.values()) / 2


@given(datasets(), st.booleans(), st.integers(1, 5))
def test_evaluation_is_the_plain_loop(dataset: Dataset, exclude_seen: bool, batch_size: int) -> None:
    targets, scorer = leave_one_out(dataset).test, RandomScorer(len(dataset.catalogue))
    if not len(targets):
        return
    expected = []
    for row in range(len(targets)):
        history = targets.histories[row].tolist()
        seen = set(history) if exclude_seen else set()
        expected.append(brute_force_rank(scorer.row(history), int(targets.items[row]), seen))
    found = evaluate(scorer, targets, ks=KS, exclude_seen=exclude_seen, batch_size=batch_size)
    assert found.ranks.tolist() == expected
    for k in KS:
        assert found.metrics[f"hr@{k}"] == pytest.approx(np.mean([rank <= k for rank in expected]))
        gains = [1 / np.log2(1 + rank) if rank <= k else 0 for rank in expected]
        assert found.metrics[f"ndcg@{k}"] == pytest.approx(np.mean(gains))


def test_one_pass_over_both_ways_is_the_same_as_two() -> None:
    dataset = random_dataset(np.random.default_rng(0), np.full(70, 6), items=12)
    targets, scorer = leave_one_out(dataset).test, RandomScorer(12)
    done: list[int] = []
    removed, kept = evaluate_both(scorer, targets, dataset.catalogue, batch_size=32, on_progress=done.append)
    assert removed.metrics == evaluate(scorer, targets, dataset.catalogue, exclude_seen=True).metrics
    assert kept.metrics == evaluate(scorer, targets, dataset.catalogue, exclude_seen=False).metrics
    assert removed.metrics != kept.metrics
    assert done == [32, 32, 6]


def test_diversity_is_of_the_lists_without_seen_items() -> None:
    dataset = random_dataset(np.random.default_rng(0), np.array([4]), items=6)
    targets = leave_one_out(dataset).test
    seen = set(targets.histories[0].tolist())
    found = evaluate(RandomScorer(6), targets, dataset.catalogue, ks=(6,), exclude_seen=True)
    assert found.metrics["coverage@6"] == pytest.approx((6 - len(seen)) / 6)
    left = [names for row, names in enumerate(dataset.catalogue.categories, start=1) if row not in seen]
    assert found.metrics["distinct_categories@6"] == len({name for names in left for name in names})


def test_nothing_to_predict_is_said() -> None:
    dataset = random_dataset(np.random.default_rng(0), np.array([2, 2]), items=3)
    with pytest.raises(DataError, match="holds no event out"):
        evaluate(RandomScorer(3), leave_one_out(dataset).test, exclude_seen=True)


def dimerec_case(
    interest_mode: str = "draws", merge: str = "mean", repeat_weight: float = 1.0
) -> tuple[DimeRec, Histories, DimeRecScorer]:
    dataset = random_dataset(np.random.default_rng(5), np.arange(3, 33), items=40)
    model = make_model(40, guidance_vectors=4)
    serving = make_serving(interest_mode=interest_mode, merge=merge, draws=3)
    return model, leave_one_out(dataset).test.histories, DimeRecScorer(model, serving, 7, repeat_weight)


@pytest.mark.parametrize("interest_mode", ["draws", "guidance", "both"])
def test_a_dimerec_score_depends_on_its_history_alone(interest_mode: str) -> None:
    _, histories, scorer = dimerec_case(interest_mode)
    together = scorer.score(histories)
    alone = np.concatenate([scorer.score(histories.batch(row, 1)) for row in range(len(histories))])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    np.testing.assert_allclose(together, scorer.score(histories), atol=0)


@pytest.mark.parametrize("interest_mode", ["draws", "guidance", "both"])
def test_the_interests_are_unit_vectors_of_the_asked_kind(interest_mode: str) -> None:
    model, histories, scorer = dimerec_case(interest_mode)
    with torch.inference_mode():
        interests = scorer.interests(histories)
        guidance = model.guide(
            collate([histories[row].tolist() for row in range(30)], model.config.max_length)
        )
    expected = {"draws": 3, "guidance": 4, "both": 7}[interest_mode]
    assert interests.shape == (30, expected, model.config.dim)
    torch.testing.assert_close(interests.norm(dim=2), torch.ones(30, expected))
    if interest_mode != "draws":
        torch.testing.assert_close(interests[:, -4:], guidance)


def test_another_seed_draws_other_interests() -> None:
    model, histories, scorer = dimerec_case()
    other = DimeRecScorer(model, make_serving(draws=3), seed=8)
    assert not np.allclose(scorer.score(histories), other.score(histories))


@pytest.mark.parametrize(("merge", "repeat_weight"), [("mean", 1.0), ("mean", 0.01), ("max", 1.0)])
def test_a_dimerec_ranking_is_the_one_that_serving_gives(merge: Merge, repeat_weight: float) -> None:
    model, histories, scorer = dimerec_case("both", merge, repeat_weight)
    with torch.inference_mode():
        interests = scorer.interests(histories).numpy()
        vectors = model.item_vectors().numpy()
    catalogue = random_dataset(np.random.default_rng(0), np.array([3]), items=40).catalogue
    retriever = Retriever(ExactIndex(VectorTable(vectors)), VectorTable(vectors), catalogue)
    top = top_items(scorer.score(histories), 40)
    none = np.empty(0, np.int64)
    for row in range(len(histories)):
        query = Query(
            interests=interests[row],
            k=40,
            excluded=none,
            categories=None,
            diversity=0.0,
            merge=merge,
            temperature=0.07,
            weights=np.array([0.25] * 3 + [0.0625] * 4, dtype=np.float32),
            seen=histories[row].astype(np.int64),
            repeat_weight=repeat_weight,
        )
        candidates = retriever.retrieve([query])[0].candidates
        assert [candidate.row for candidate in candidates] == top[row].tolist()


def test_scoring_leaves_the_model_in_the_mode_it_was_in() -> None:
    model, histories, scorer = dimerec_case()
    quiet = scorer.score(histories)
    model.train()
    np.testing.assert_array_equal(scorer.score(histories), quiet)
    assert model.training


def evaluations(seed: int, users: int, shift: float) -> tuple[Evaluation, Evaluation]:
    generator = np.random.default_rng(seed)
    of_users = np.repeat(np.arange(users), generator.integers(1, 4, size=users))
    first = generator.integers(1, 30, size=len(of_users)).astype(float)
    second = np.maximum(1, first + generator.integers(-3, 4, size=len(of_users)) + shift)
    return Evaluation({}, first, of_users), Evaluation({}, second, of_users)


def test_the_bootstrap_finds_what_is_there_and_not_what_is_not() -> None:
    better = paired_bootstrap(*evaluations(0, 400, 4), "ndcg", 10, generator=np.random.default_rng(0))
    assert 0 < better.low < better.mean < better.high
    first, _ = evaluations(0, 400, 0)
    same = paired_bootstrap(first, first, "hr", 10, generator=np.random.default_rng(0))
    assert (same.low, same.mean, same.high) == (0, 0, 0)


def test_the_bootstrap_agrees_with_resampling_users_one_by_one() -> None:
    first, second = evaluations(1, 60, 1)
    found = paired_bootstrap(first, second, "hr", 10, generator=np.random.default_rng(0), resamples=4000)
    differences = (first.ranks <= 10).astype(float) - (second.ranks <= 10)
    generator, means = np.random.default_rng(9), []
    for _ in range(4000):
        drawn = generator.integers(60, size=60)
        values = np.concatenate([differences[first.users == user] for user in drawn])
        means.append(values.mean())
    assert found.mean == pytest.approx(differences.mean())
    assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)


def test_the_bootstrap_is_a_function_of_its_generator_and_of_the_same_targets() -> None:
    first, second = evaluations(2, 50, 1)
    once, again = (
        paired_bootstrap(first, second, "hr", 5, generator=np.random.default_rng(4)) for _ in range(2)
    )
    assert once == again
    with pytest.raises(ValueError, match="different targets"):
        paired_bootstrap(
            first, replace(second, users=second.users[::-1]), "hr", 5, generator=np.random.default_rng(0)
        )


def test_the_draws_are_measured_as_by_hand() -> None:
    dataset = random_dataset(np.random.default_rng(5), np.full(50, 6), items=90)
    model, serving, targets = make_model(90), make_serving(draws=6), leave_one_out(dataset).test
    with torch.inference_mode():
        interests = DimeRecScorer(model, serving, seed=2).interests(targets.histories).numpy()
        vectors = model.item_vectors().numpy()
    cosines, hits = [], []
    for row, item in enumerate(targets.items):
        seen = set(targets.histories[row].tolist())
        products = interests[row] @ interests[row].T
        cosines += [products[i, j] for i in range(6) for j in range(6) if i != j]
        ranks = [brute_force_rank((vectors @ draw).tolist(), int(item), seen) for draw in interests[row]]
        hits.append([min(ranks[:count]) <= 20 for count in (1, 2, 4, 6)])
    found = measure_draws(model, serving, targets, seed=2)
    assert found.pairwise_cosine == pytest.approx(np.mean(cosines), abs=1e-5)
    assert found.best_of == pytest.approx(dict(zip((1, 2, 4, 6), np.mean(hits, axis=0), strict=True)))
    assert found.best_of[1] < found.best_of[6]


def test_a_single_draw_is_like_itself() -> None:
    dataset = random_dataset(np.random.default_rng(5), np.full(9, 6), items=40)
    found = measure_draws(make_model(40), make_serving(draws=1), leave_one_out(dataset).test)
    assert (found.pairwise_cosine, list(found.best_of)) == (1.0, [1])
