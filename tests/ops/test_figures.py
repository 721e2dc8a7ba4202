"""The figures in the documents' tables are those of `docs/results`, and these agree with each other."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from training.benchmark.comparisons import Comparison
from training.benchmark.rows import Row
from training.benchmark.store import read_kept
from training.benchmark.summary import Line, lines

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "docs" / "results"

ROUNDING = 1e-4
"""A mean of differences and a difference of means have four decimals, each rounded."""

BASELINES = {
    "SASRec, sampled softmax, our harness": "sasrec",
    "SASRec, softmax over all items": "sasrec-ce",
    "SASRec": "sasrec",
    "ComiRec-SA": "comirec-sa",
    "ComiRec-DR": "comirec-dr",
    "ItemKNN": "itemknn",
    "Popularity": "popularity",
    "DiffuRec, 32 steps, our harness": "diffurec",
    "SASRec of RecTools, as wide and deep as ours": "rectools-sasrec",
    "the same with four blocks and d = 128": "sasrec-ce-deep",
}
SMALL_LOG = {"**DimeRec**": "dimerec", "DimeRec, the recipe of large logs": "dimerec-large"}
PARTS = {
    "nothing (mean of three seeds)": "dimerec-large",
    "one guidance vector": "dimerec-k1",
    "no reconstruction loss": "dimerec-no-reconstruction",
    "the target's vector takes a gradient in it": "dimerec-attached",
    "the prediction is projected onto the sphere before it": "dimerec-projected",
    "no softmax loss of the denoised": "dimerec-no-softmax",
    "the paper's perceptron as denoiser": "dimerec-perceptron",
    "no noise": "dimerec-no-noise",
    "Gaussian noise, projected onto the sphere": "dimerec-gaussian",
    "Gaussian noise, off the sphere": "dimerec-euclidean",
    "item vectors start at random": "dimerec-random-start",
    "guidance learns from the next item alone": "dimerec-no-later",
    "guidance: the last state of SASRec's encoder": "dimerec-sasrec",
    "guidance: pooling that forgets (`recency_attentive`, K = 4)": "dimerec-recency-attentive",
    "guidance: the four newest items themselves": "dimerec-recent",
    "guidance: ComiRec's self-attention, K = 4": "dimerec-self-attentive",
    "guidance: a perceptron of the history": "dimerec-mlp",
    "guidance: capsules, K = 4": "dimerec-dynamic-routing",
}
SERVED = {
    "**DimeRec**": "dimerec",
    "DimeRec, draws and guidance": "dimerec (both mean 4 × 4 steps)",
    "DimeRec, without counts": "dimerec (without counts)",
    "DimeRec, trained without noise": "dimerec-no-noise",
} | BASELINES

TABLES = [
    ("docs/benchmark.md", "Amazon Beauty (", "amazon-beauty", True, SERVED),
    ("docs/benchmark.md", "KuaiRand-Pure (", "kuairand-pure", True, SERVED),
    ("docs/benchmark.md", "MovieLens-1M (", "movielens-1m", True, SERVED),
    ("docs/benchmark.md", "seen items removed", "movielens-100k", True, SMALL_LOG | BASELINES),
    ("docs/benchmark.md", "seen items kept", "movielens-100k", False, SMALL_LOG | BASELINES),
    ("docs/experiments.md", "what is changed", "movielens-100k", True, PARTS),
]
"""Of each table: its document, how its heading row begins, the data, seen items removed, models by row."""


@pytest.fixture(scope="module")
def rows() -> Sequence[Row]:
    return [row for row in read_kept(RESULTS / "quality.json", Row) if row.part == "test"]


@pytest.mark.parametrize(("document", "heading", "data", "removed", "models"), TABLES)
def test_a_table_has_the_figures_of_the_results(
    rows: Sequence[Row], document: str, heading: str, data: str, removed: bool, models: dict[str, str]
) -> None:
    found = {
        line.label: line
        for line in lines(rows)
        if (line.first.data, line.first.split) == (data, "leave-one-out")
        and line.first.exclude_seen == removed
    }
    (_, *metrics), body = table(document, heading)
    assert len(body) > 2
    for label, *cells in body:
        line = found[models[label]]
        for metric, cell in zip(metrics, cells, strict=True):
            if re.fullmatch(r"(HR|NDCG)@\d+", metric):
                assert cell in (spelled(line, metric, least=True), spelled(line, metric, least=False)), (
                    document,
                    label,
                    metric,
                )


def test_differences_are_those_of_the_rows(rows: Sequence[Row]) -> None:
    """Where every user has one target. One of fits that were measured anew since would not agree."""
    fits = {(line.label, row.exclude_seen, row.run): row for line in lines(rows) for row in line.rows}
    compared = read_kept(RESULTS / "differences.json", Comparison)
    assert len(compared) > 50
    for one in compared:
        means = []
        for label in (one.first, one.second):
            of_label = [fits[key] for run in one.runs if (key := (label, one.exclude_seen, run)) in fits]
            values = [row.metric(one.metric) or 0 for row in of_label]
            means.append(sum(values) / len(values))
        if one.split == "leave-one-out":
            assert means[0] - means[1] == pytest.approx(one.mean, abs=ROUNDING), one.sort_key


def table(document: str, heading: str) -> tuple[list[str], list[list[str]]]:
    """The cells of a document's table: its heading row, which begins so, and its other rows."""
    _, found, rest = (REPOSITORY / document).read_text().partition(f"\n| {heading}")
    assert found, f"{document} has no table {heading!r}"
    text = f"{found}{rest}".strip().partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()]
    return cells[0], cells[2:]


def spelled(line: Line, metric: str, *, least: bool) -> str:
    """The mean as the documents write it, with the least and the most of several seeds or without."""
    values = line.values(metric.lower()) or []
    mean, low, high = (f"{value:.4f}"[1:] for value in (sum(values) / len(values), min(values), max(values)))
    return f"{mean} ({low}–{high})" if least and len(values) > 1 else mean
