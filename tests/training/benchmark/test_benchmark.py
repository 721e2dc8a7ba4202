"""The benchmark: every fit is done once and measured right, whatever interrupts it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torchmetrics.retrieval import RetrievalHitRate, RetrievalNormalizedDCG

from index.catalogue import Catalogue
from tests.training.logs import cyclic_dataset
from tests.training.random_logs import random_dataset
from training.benchmark.comparisons import compare, compare_with
from training.benchmark.data import Data
from training.benchmark.dimerec import DimeRecRecipe
from training.benchmark.diversity_curve import Point
from training.benchmark.execute import Job, Outcome, run
from training.benchmark.markdown import render
from training.benchmark.probing import ProbeRow
from training.benchmark.recipe import Budget, Fitted, Recipe, Variant
from training.benchmark.registry import REGISTRY, find, plan
from training.benchmark.rows import Row
from training.benchmark.simple import ItemKNNRecipe, PopularityRecipe
from training.benchmark.store import DIVERSITY_FILE, PROBING_FILE, RESULTS_FILE, Store, read_kept, read_rows
from training.benchmark.summary import lines
from training.config import read_config
from training.data.dataset import Dataset
from training.data.splits import Histories, Split, by_time, leave_one_out
from training.errors import BenchmarkError, ConfigError
from training.evaluation.bootstrap import paired_bootstrap
from training.evaluation.metrics import Scores
from training.evaluation.ranking import DEFAULT_KS, Evaluation, without_seen
from training.evaluation.reranking import DELTAS
from training.run import BEST_FILE, EpochRecord

TINY = [
    "epochs=4",
    "model.dim=8",
    "model.hidden=16",
    "model.timesteps=4",
    "serving.draws=2",
    "serving.steps=2",
    "serving.temperature=0.1",
    "serving.interest_mode=draws",
]
TIMES = {"train_s", "ms_per_user"}


class Watched:
    """Counts what happens; interrupts after `epochs` epochs."""

    def __init__(self, epochs: int | None = None) -> None:
        self.left = epochs
        self.epochs = 0
        self.cached: list[bool] = []
        self.failures: list[Exception] = []
        self.expected = self.done = 0

    def fitting(self, job: Job) -> "Watched":
        return self

    def epoch_started(self, epoch: int, examples: int) -> None: ...

    def batch_done(self, examples: int, losses: dict[str, float] | None) -> None: ...

    def epoch_done(self, record: EpochRecord, improved: bool) -> None:
        self.epochs += 1
        if self.epochs == self.left:
            raise KeyboardInterrupt

    def measuring(self, job: Job, targets: int) -> None:
        self.expected += targets

    def measured(self, targets: int) -> None:
        self.done += targets

    def finished(self, job: Job, rows: list[Row], *, cached: bool) -> None:
        self.cached.append(cached)

    def failed(self, job: Job, error: Exception) -> None:
        self.failures.append(error)


class Chance:
    """Scores that are a function of the history alone, no two alike: a recipe and a scorer in one."""

    def __init__(self, items: int, salt: int = 0) -> None:
        self.items = items
        self.salt = salt

    @property
    def settings(self) -> dict[str, Any]:
        return {"salt": self.salt}

    def fit(self, dataset: Dataset, split: Split, budget: Budget) -> Fitted:
        scorer = Chance(self.items, self.salt + budget.seed)
        return Fitted((Variant(scorer), Variant(Chance(self.items, 99))), train_s=0.0)

    def score(self, histories: Histories) -> Scores:
        scores = [self._scores(histories[row]) for row in range(len(histories))]
        return np.stack(scores).astype(np.float32)

    def _scores(self, history: Any) -> Any:
        digest = hashlib.sha256(f"{self.salt} {history.tolist()}".encode()).digest()
        return np.random.default_rng(list(digest)).permutation(self.items)


class Broken:
    @property
    def settings(self) -> dict[str, Any]:
        return {"broken": True}

    def fit(self, dataset: Dataset, split: Split, budget: Budget) -> Fitted:
        raise RuntimeError("out of luck")


@pytest.fixture(scope="module")
def walks() -> Data:
    dataset = cyclic_dataset()
    return Data("walks", dataset, leave_one_out(dataset))


def tiny(sweep: bool = False, *overrides: str) -> DimeRecRecipe:
    return DimeRecRecipe(read_config(None, [*TINY, *overrides]), sweep)


def do(data: Data, recipe: Recipe, directory: Path, seed: int = 0, name: str = "one") -> list[Row]:
    return run([Job(data, name, recipe, seed)], Store(directory), Watched()).rows


def without_times(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [row.model_dump(exclude=TIMES) for row in rows]


def test_a_fit_has_a_row_for_each_way_and_ranking(walks: Data, tmp_path: Path) -> None:
    watcher = Watched()
    outcome = run([Job(walks, "dimerec", tiny(), 3)], Store(tmp_path), watcher, commit="abc")
    assert [(row.variant, row.part, row.exclude_seen) for row in outcome.rows] == [
        (variant, part, exclude_seen)
        for variant in range(4)
        for part, exclude_seen in (("validation", True), ("test", True), ("test", False))
    ]
    assert (watcher.done, watcher.epochs, watcher.cached) == (watcher.expected, 4, [False])
    served, *_ = outcome.rows
    assert (served.steps, served.draws, served.interest_mode) == (2, 2, "draws")
    assert (served.seed, served.commit, served.data, served.split) == (3, "abc", "walks", "leave-one-out")
    assert served.hardware.cores >= 1
    assert served.epochs is not None
    assert 1 <= served.epochs <= 4
    ways = {
        (row.interest_mode, row.merge, row.steps, row.temperature, row.counts is not None)
        for row in outcome.rows
    }
    assert ways == {
        ("draws", "mean", 2, 0.1, True),
        ("guidance", "max", None, None, False),
        ("guidance", "mean", None, 0.1, True),
        ("draws", "mean", 2, 0.1, False),
    }
    outcome.check()


def test_counts_have_their_part_in_what_is_served(walks: Data, tmp_path: Path) -> None:
    """Of two kinds of walks the items of one are each followed by one other: the counts say all."""
    rows = [row for row in do(walks, tiny(False, "epochs=1"), tmp_path) if row.part == "validation"]
    served, without = rows[0], rows[-1]
    assert (served.counts, without.counts) == (0.3, None)
    assert served.ndcg_10 > without.ndcg_10
    assert lines(rows)[-1].label == "one (without counts)"


def test_counts_that_add_nothing_are_left_out_and_cost_nothing(tmp_path: Path) -> None:
    dataset = random_dataset(np.random.default_rng(1), np.full(60, 9), 90)
    split = leave_one_out(dataset)
    recipe = tiny(False, "epochs=1")
    budget = Budget(
        0, None, tmp_path, Watched().fitting(Job(Data("random", dataset, split), "one", recipe, 0))
    )
    variants = recipe.fit(dataset, split, budget).variants
    assert [variant.counts for variant in variants] == [0, None, 0, None]
    assert [variant.without_counts for variant in variants] == [False, False, False, True]
    histories = split.test.histories
    served, without = (variants[index].scorer.score(histories) for index in (0, -1))
    np.testing.assert_array_equal(served, without)


def test_a_dense_log_is_measured_with_the_depth_and_temperature_it_was_trained_with(tmp_path: Path) -> None:
    dataset = cyclic_dataset(users=150)  # 37 training events per item
    dense = Data("dense", dataset, leave_one_out(dataset))
    unset = [override for override in TINY if not override.startswith("serving.temperature")]
    rows = do(dense, DimeRecRecipe(read_config(None, [*unset, "recipe=large", "epochs=1"])), tmp_path)
    assert {row.epochs for row in rows} == {1}
    assert {row.temperature for row in rows if row.merge == "mean"} == {0.1}
    assert len({tensor for tensor in _tensors(tmp_path) if tensor.endswith(".qkv.weight")}) == 4


@pytest.mark.parametrize("default", ["model.dim=128", "model.dropout=0.5", "serving.draws=4"])
def test_a_key_that_follows_the_log_is_another_setting_where_it_is_set(default: str) -> None:
    unset, chosen = (DimeRecRecipe(read_config(None, some)) for some in ([], [default]))
    assert unset.settings != chosen.settings


def test_a_temperature_for_serving_is_another_setting_even_if_it_is_the_default_one() -> None:
    unset, chosen = (DimeRecRecipe(read_config(None, some)) for some in ([], ["serving.temperature=0.05"]))
    assert unset.settings != chosen.settings
    assert unset.settings["variants"] != chosen.settings["variants"]


def _tensors(store: Path) -> list[str]:
    (best,) = store.glob("runs/*/best.safetensors")
    with safe_open(best, framework="pt") as file:
        return list(file.keys())


def test_a_sweep_asks_for_every_number_of_steps_and_draws_once(walks: Data, tmp_path: Path) -> None:
    rows = do(walks, tiny(True), tmp_path)
    of_validation = [row for row in rows if row.part == "validation" and row.draws]
    drawn = [(row.steps, row.draws) for row in of_validation if row.counts is not None]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == {(2, 2)} | {(steps, draws) for steps in (1, 2, 4) for draws in (1, 4, 8, 16)}


def test_a_sweep_of_a_model_that_is_there_trains_nothing(walks: Data, tmp_path: Path) -> None:
    served = Watched()
    run([Job(walks, "dimerec", tiny(), 0)], Store(tmp_path), served).check()
    assert served.epochs > 0
    watcher = Watched()
    swept = run([Job(walks, "dimerec-steps", tiny(True), 0)], Store(tmp_path), watcher)
    assert (watcher.epochs, watcher.cached) == (0, [False])
    assert {row.model for row in swept.rows} == {"dimerec-steps"}
    assert {row.model for row in read_rows(tmp_path / RESULTS_FILE)} == {"dimerec", "dimerec-steps"}


def test_the_metrics_are_those_of_an_outside_library(tmp_path: Path) -> None:
    dataset = random_dataset(np.random.default_rng(1), np.full(40, 9), 90)
    for split in (leave_one_out(dataset), by_time(dataset)):
        recipe = Chance(90)
        rows = do(Data("random", dataset, split), recipe, tmp_path)
        for row in (row for row in rows if row.variant == 0):
            targets = split.test if row.part == "test" else split.validation
            scores = recipe.score(targets.histories)
            if row.exclude_seen:
                scores = np.maximum(without_seen(scores, targets.histories), -1)
            found = torch.from_numpy(scores).flatten()
            relevant = torch.zeros(scores.shape, dtype=torch.bool)
            relevant[torch.arange(len(targets)), torch.from_numpy(targets.items).long() - 1] = True
            queries = torch.arange(len(targets)).repeat_interleave(90)
            for k in DEFAULT_KS:
                hits = RetrievalHitRate(top_k=k)(found, relevant.flatten(), indexes=queries)
                gain = RetrievalNormalizedDCG(top_k=k)(found, relevant.flatten(), indexes=queries)
                assert row.metric(f"hr@{k}") == pytest.approx(float(hits), abs=1e-6)
                assert row.metric(f"ndcg@{k}") == pytest.approx(float(gain), abs=1e-6)


def test_the_same_fit_is_not_done_again(walks: Data, tmp_path: Path) -> None:
    watcher = Watched()
    jobs = [Job(walks, "dimerec", tiny(), 0), Job(walks, "itemknn", ItemKNNRecipe(), 0)]
    first = run(jobs, Store(tmp_path), watcher)
    results = (tmp_path / RESULTS_FILE).read_bytes()
    again = run(jobs, Store(tmp_path), watcher)
    assert watcher.cached == [False, False, True, True]
    assert watcher.epochs == 4
    assert first.rows == again.rows
    assert (tmp_path / RESULTS_FILE).read_bytes() == results


@pytest.mark.parametrize("changed", ["learning_rate=0.01", "serving.steps=1", "model.dim=4"])
def test_a_changed_setting_is_another_fit(walks: Data, tmp_path: Path, changed: str) -> None:
    before = do(walks, tiny(), tmp_path)
    watcher = Watched()
    after = run([Job(walks, "one", tiny(False, changed), 0)], Store(tmp_path), watcher).rows
    assert (watcher.epochs, watcher.cached) == (4, [False])
    assert before[0].settings != after[0].settings
    assert len(read_rows(tmp_path / RESULTS_FILE)) == len(before) + len(after)


def test_other_data_seeds_splits_minutes_and_names_are_other_fits(walks: Data, tmp_path: Path) -> None:
    other = random_dataset(np.random.default_rng(1), np.full(40, 9), 90)
    jobs = [
        Job(walks, "popularity", PopularityRecipe(), 0),
        Job(walks, "popularity", PopularityRecipe(), 1),
        Job(walks, "popularity", PopularityRecipe(), 0, minutes=1),
        Job(walks, "other", PopularityRecipe(), 0),
        Job(Data("walks", other, leave_one_out(other)), "popularity", PopularityRecipe(), 0),
        Job(Data("walks", other, by_time(other)), "popularity", PopularityRecipe(), 0),
        Job(Data("other", other, by_time(other)), "popularity", PopularityRecipe(), 0),
    ]
    assert len({job.key for job in jobs}) == len(jobs)
    run(jobs, Store(tmp_path), Watched()).check()
    assert len(read_rows(tmp_path / RESULTS_FILE)) == 3 * len(jobs)


def test_asking_otherwise_trains_nothing(walks: Data, tmp_path: Path) -> None:
    do(walks, tiny(), tmp_path)
    (best,) = tmp_path.glob(f"runs/*/{BEST_FILE}")
    trained = best.stat().st_mtime_ns
    watcher = Watched()
    swept = run([Job(walks, "one", tiny(True), 0)], Store(tmp_path), watcher).rows
    assert (watcher.epochs, watcher.cached) == (0, [False])
    assert max(row.variant for row in swept) > 10
    assert list(tmp_path.glob(f"runs/*/{BEST_FILE}")) == [best]
    assert best.stat().st_mtime_ns == trained


def test_what_was_done_without_curves_gets_them_and_trains_nothing(walks: Data, tmp_path: Path) -> None:
    jobs = [Job(walks, "dimerec", tiny(), 0), Job(walks, "itemknn", ItemKNNRecipe(), 0)]
    store, watcher = Store(tmp_path), Watched()
    rows = run(jobs, store, watcher).rows
    assert (store.points(), store.probes()) == ([], [])
    assert run(jobs, store, watcher, curves=True).rows == rows
    assert run(jobs, store, watcher, curves=True).rows == rows
    assert (watcher.epochs, watcher.cached) == (4, [False, False, False, False, True, True])
    assert watcher.done == watcher.expected
    points = read_kept(tmp_path / DIVERSITY_FILE, Point)
    assert [(point.model, point.variant, point.delta) for point in points] == [
        (model, 0, delta) for model in ("dimerec", "itemknn") for delta in DELTAS
    ]
    assert {(point.model, point.run) for point in points} == {(job.model, job.key) for job in jobs}
    served = next(row for row in rows if row.part == "test")
    told = [served.hr_20, served.categories_20, served.ild_20]
    assert [points[0].hr_20, points[0].categories_20, points[0].ild_20] == pytest.approx(told, abs=1e-6)
    (probed,) = read_kept(tmp_path / PROBING_FILE, ProbeRow)
    assert (probed.model, probed.run, probed.items, probed.categories) == ("dimerec", jobs[0].key, 40, 5)


def test_a_recommender_not_served_by_draws_alone_has_their_curve_too(walks: Data, tmp_path: Path) -> None:
    jobs = [Job(walks, "dimerec", tiny(False, "serving.interest_mode=both"), 0)]
    store = Store(tmp_path)
    rows = run(jobs, store, Watched(), curves=True).rows
    modes = {row.variant: row.interest_mode for row in rows}
    assert [modes[variant] for variant in sorted({point.variant for point in store.points()})] == [
        "guidance",  # on these walks the draws add nothing to it
        "draws",
    ]


def test_where_nothing_has_categories_there_is_no_curve(tmp_path: Path) -> None:
    dataset = random_dataset(np.random.default_rng(1), np.full(40, 9), 90)
    bare = Catalogue(dataset.catalogue.item_ids, [None] * 90, [()] * 90, dataset.catalogue.popularity)
    dataset = replace(dataset, catalogue=bare)
    jobs = [Job(Data("bare", dataset, leave_one_out(dataset)), "popularity", PopularityRecipe(), 0)]
    store, watcher = Store(tmp_path), Watched()
    for _ in range(2):
        run(jobs, store, watcher, curves=True)
    assert watcher.cached == [False, True]
    assert store.points() == []


def test_too_few_items_to_probe_keep_no_curve_from_its_result(tmp_path: Path) -> None:
    dataset = cyclic_dataset(users=6, items=40, length=5)
    jobs = [Job(Data("few", dataset, leave_one_out(dataset)), "dimerec", tiny(), 0)]
    store, watcher = Store(tmp_path), Watched()
    for _ in range(2):
        run(jobs, store, watcher, curves=True).check()
    assert watcher.cached == [False, True]
    assert (len(store.points()), store.probes()) == (len(DELTAS), [])


def test_an_interrupted_fit_comes_to_the_same_rows(walks: Data, tmp_path: Path) -> None:
    jobs = [Job(walks, "popularity", PopularityRecipe(), 0), Job(walks, "dimerec", tiny(), 0)]
    undisturbed = run(jobs, Store(tmp_path / "undisturbed"), Watched()).rows
    store = Store(tmp_path / "interrupted")
    with pytest.raises(KeyboardInterrupt):
        run(jobs, store, Watched(epochs=2))
    assert [row.model for row in store.collect()] == ["popularity"] * 3
    watcher = Watched()
    resumed = run(jobs, store, watcher).rows
    assert (watcher.epochs, watcher.cached) == (2, [True, False])
    assert without_times(resumed) == without_times(undisturbed)


def test_one_failure_keeps_nothing_else_from_its_result(walks: Data, tmp_path: Path) -> None:
    jobs = [Job(walks, "broken", Broken(), 0), Job(walks, "popularity", PopularityRecipe(), 0)]
    watcher = Watched()
    outcome = run(jobs, Store(tmp_path), watcher)
    assert {row.model for row in outcome.rows} == {"popularity"}
    assert [str(error) for error in watcher.failures] == ["out of luck"]
    with pytest.raises(
        BenchmarkError, match=r"^failed, .*: walks leave-one-out  broken  seed 0: out of luck$"
    ):
        outcome.check()


def test_a_fit_that_another_is_at_comes_last(walks: Data, tmp_path: Path) -> None:
    items = len(walks.dataset.catalogue)
    jobs = [
        Job(walks, name, Chance(items, salt), 0) for salt, name in enumerate(("first", "second", "third"))
    ]
    order: list[str] = []

    class Releasing(Watched):
        def finished(self, job: Job, rows: list[Row], *, cached: bool) -> None:
            order.append(job.model)
            if len(order) == 2:
                held.__exit__(None, None, None)

    store = Store(tmp_path)
    held = store.locked(jobs[0].training)
    assert held.__enter__()
    run(jobs, store, Releasing()).check()
    assert order == ["second", "third", "first"]


def test_results_are_read_as_they_were_written(walks: Data, tmp_path: Path) -> None:
    rows = do(walks, PopularityRecipe(), tmp_path)
    path = tmp_path / RESULTS_FILE
    assert sorted(rows, key=lambda row: row.sort_key) == read_rows(path)
    keys = json.loads(path.read_text())[0].keys()
    assert {f"{name}@{k}" for name in ("hr", "ndcg") for k in DEFAULT_KS} < set(keys)
    assert {"categories@20", "ild@20", "coverage@20", "train_s", "ms_per_user"} < set(keys)
    path.write_text(path.read_text().replace('"seed": 0', '"seed": "x"', 1))
    with pytest.raises(BenchmarkError, match=r"results\.json holds no results: \[0\]\.seed: .*; remove it$"):
        read_rows(path)
    with pytest.raises(BenchmarkError, match="does not exist"):
        read_rows(tmp_path / "none.json")


@pytest.fixture
def chances(tmp_path: Path) -> tuple[Store, Outcome]:
    dataset = random_dataset(np.random.default_rng(2), np.full(60, 9), 30)
    data = Data("random", dataset, by_time(dataset))
    jobs = [Job(data, "chance", Chance(30), seed) for seed in range(3)]
    jobs += [Job(data, "other", Chance(30, 50), seed) for seed in range(2)]
    jobs += [Job(data, "popularity", PopularityRecipe(), 0)]
    store = Store(tmp_path)
    return store, run(jobs, store, Watched())


def test_a_comparison_is_of_the_mean_over_seeds(chances: tuple[Store, Outcome]) -> None:
    store, outcome = chances
    served = lines(
        row for row in outcome.rows if row.part == "test" and row.exclude_seen and row.variant == 0
    )
    chance, other, popularity = served
    found = compare(chance, popularity, store, "hr", 10)
    of_first, of_second = chance.mean("hr@10"), popularity.mean("hr@10")
    assert of_first is not None
    assert of_second is not None
    assert found.mean == pytest.approx(of_first - of_second, abs=1e-5)
    assert found.low < found.mean < found.high
    assert (found.seeds, found.first, found.second, found.metric) == (3, "chance", "popularity", "hr@10")
    assert len(list(compare_with("popularity", served, store))) == 4
    with pytest.raises(BenchmarkError, match="chance and other cannot be compared"):
        compare(chance, other, store)


def test_with_one_seed_a_comparison_is_the_paired_bootstrap(chances: tuple[Store, Outcome]) -> None:
    store, outcome = chances
    first = next(row for row in outcome.rows if row.part == "test" and row.exclude_seen)
    second = next(row for row in outcome.rows if row.part == "test" and row.exclude_seen and row.variant == 1)
    found = compare(lines([first])[0], lines([second])[0], store)
    ranks = store.ranks(first.run)
    expected = paired_bootstrap(
        Evaluation({}, ranks["0-seen_removed"].astype(np.float64), ranks["users"]),
        Evaluation({}, ranks["1-seen_removed"].astype(np.float64), ranks["users"]),
        "ndcg",
        20,
        generator=np.random.default_rng(0),
    )
    assert (found.mean, found.low, found.high) == (expected.mean, expected.low, expected.high)


def test_markdown_tells_the_numbers(chances: tuple[Store, Outcome]) -> None:
    store, outcome = chances
    served = lines(
        row for row in outcome.rows if row.part == "test" and row.exclude_seen and row.variant == 0
    )
    text = render(outcome.rows, compare_with("popularity", served, store))
    assert text == render(list(reversed(outcome.rows)), compare_with("popularity", served, store))
    assert "## random, time split" in text
    values = [row.ndcg_20 for row in served[0].rows]
    assert f"| {sum(values) / 3:.4f} ({min(values):.4f}–{max(values):.4f}) |" in text
    assert f"{served[-1].first.hr_50:.4f}" in text
    assert "| popularity − chance | HR@10 |" in text
    assert "chance (None None)" in text
    assert "equal recall" not in text
    assert "probe" not in text
    assert "\nSeen items kept:\n" in text
    weighed = [
        row.model_copy(update={"repeat_weight": 0.01}) for row in outcome.rows if row.model == "chance"
    ]
    others = [row for row in outcome.rows if row.model != "chance"]
    assert "\nSeen items kept, by chance weighed by how often users come back," in render([*others, *weighed])
    for block in text.split("\n\n"):
        assert len({line.count("|") for line in block.strip().splitlines()}) == 1, block


def test_markdown_compares_lists_at_one_recall_and_probes(walks: Data, tmp_path: Path) -> None:
    jobs = [Job(walks, "dimerec", tiny(), seed) for seed in range(2)]
    jobs += [Job(walks, "popularity", PopularityRecipe(), 0)]
    store = Store(tmp_path)
    rows = run(jobs, store, Watched(), curves=True).rows
    points, probes = store.points(), store.probes()
    points = [
        point.model_copy(update={"hr_20": recall - point.delta / 100, "categories_20": 3 + point.delta})
        for point in points
        for recall in [0.5 + 0.005 * point.seed if point.model == "dimerec" else 0.1]
    ]
    text = render(rows, (), points, probes)
    assert text == render(rows, (), points[::-1], probes[::-1])
    assert "HR@20 = 0.5000, the lowest among dimerec without re-ranking" in text
    assert "| dimerec | 2 | 0.25 (0.00–0.50) | 0.5000 | 3.25 (3.00–3.50) | " in text
    assert "| popularity | 1 | – | – | – | – |" in text
    low, high = sorted(probed.accuracy for probed in probes)
    spread = f"{low:.4f}" if low == high else f"{(low + high) / 2:.4f} ({low:.4f}–{high:.4f})"
    assert f"| dimerec | 2 | {spread} | – | {probes[0].majority:.4f} | 40 |" in text


def test_every_recommender_of_the_roster_is_another_one() -> None:
    settings = [json.dumps(entry.recipe([]).settings, sort_keys=True) for entry in REGISTRY.values()]
    assert len(set(settings)) == len(REGISTRY)
    assert all(entry.summary for entry in REGISTRY.values())


def test_a_plan_has_every_seed_of_what_is_random(walks: Data) -> None:
    jobs = plan(walks, find(["sasrec", "popularity"]), seeds=2, minutes=3, overrides=["epochs=7"])
    assert [(job.model, job.seed, job.minutes) for job in jobs] == [
        ("sasrec", 0, 3),
        ("popularity", 0, 3),
        ("sasrec", 1, 3),
    ]
    assert jobs[0].recipe.settings["epochs"] == 7
    with pytest.raises(BenchmarkError, match="'nobody' is not in the registry, which has popularity, "):
        find(["nobody"])
    with pytest.raises(ConfigError, match="--set seed: the benchmark sets it; say --seeds"):
        plan(walks, find(["dimerec"]), seeds=1, overrides=["seed=3"])
    with pytest.raises(ConfigError, match=r"^foo: .*; its keys are .*learning_rate"):
        plan(walks, find(["sasrec"]), seeds=1, overrides=["foo=3"])
