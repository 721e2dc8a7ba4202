"""Counts beside a model: what its answers gain from one more interest that only counts pairs of the log.

    python -m benchmarks.quality.counts sessions ../shared/data/amazon-beauty.parquet SESSIONS.parquet
    python -m benchmarks.quality.counts measure NAME --run RUN --data DATA

The first cuts short sessions out of a log, to be prepared and trained on; the second asks a trained model,
fits decay and weight of the counts on validation events, and puts what they give on test events into the
results under this name.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer

from benchmarks.quality.opened_run import opened_run, provenance
from benchmarks.quality.results import put
from files.atomic import replacing
from index.counts import Counts
from training.baselines.item_knn import ItemKNN
from training.counts import FOLLOWERS, WEIGHTS, Fitted, count_followers, fit_weight, greatest, ranks_with
from training.data.splits import Sequences, Targets
from training.evaluation.bootstrap import resampled
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.metrics import Ranks
from training.evaluation.ranking import METRICS

SHORTEST, LONGEST = 3, 6
"""Events of a session. Leave-one-out needs three; the log that the model was behind on has such ones."""
SEED = 0
"""Of the lengths of sessions, and of the users who are asked for."""
MEASURED = (("ndcg", 10), ("hr", 10), ("hr", 50))
"""Metrics of each list."""

application = typer.Typer(add_completion=False, help=__doc__)


@application.command()
def sessions(
    events: Annotated[Path, typer.Argument(help="Parquet file of user_id, item_id, timestamp.")],
    out: Annotated[Path, typer.Argument(help="Parquet file to write.")],
    each: Annotated[int, typer.Option(min=1, help="Sessions from the end of each user's events.")] = 1,
) -> None:
    """Cut the end of each user's events into sessions of 3 to 6 events, a user each."""
    with replacing(out) as temporary:
        cut(pl.read_parquet(events), each).write_parquet(temporary)


def cut(log: pl.DataFrame, each: int) -> pl.DataFrame:
    """Each user's last `each` sessions, whose lengths are drawn; none has fewer than three events."""
    random = np.random.default_rng(SEED)
    parts = []
    for (user,), own in log.sort("user_id", "timestamp").group_by("user_id", maintain_order=True):
        end = len(own)
        for number, length in enumerate(random.integers(SHORTEST, LONGEST + 1, each).tolist()):
            if end < SHORTEST:
                break
            start = max(end - length, 0)
            named = pl.lit(f"{user}-{number}").alias("user_id")
            parts.append(own[start:end].select(named, "item_id", pl.int_range(pl.len()).alias("timestamp")))
            end = start
    return pl.concat(parts)


@application.command()
def measure(
    name: Annotated[str, typer.Argument(help="Of the row in the results.")],
    run: Annotated[Path, typer.Option(help="Training run.")],
    data: Annotated[Path, typer.Option(help="The prepared data that it was trained on.")],
    users: Annotated[int, typer.Option(min=1, help="Test users who are asked for at most.")] = 10_000,
    out: Annotated[Path, typer.Option(help="File of the results.")] = Path("docs/results/counts.json"),
) -> None:
    """Fit counts to a run's best model on validation events, and measure it with them on test events."""
    trained, dataset, split = opened_run(run, data)
    items = len(dataset.catalogue)
    scorer = DimeRecScorer(trained.model.eval(), trained.serving)
    test = split.test.sample(users, np.random.default_rng(SEED))
    result: dict[str, Any] = {
        **provenance(f"counts measure {name} --users {users}", dataset),
        "training_events": len(split.train.items),
        "targets": len(test),
    }
    for kind, counts in (
        ("followers", count_followers(split.train, items)),
        ("alike", alike(split.train, items)),
    ):
        fitted = fit_weight(scorer, counts, split.validation)
        result[kind] = row(scorer, fitted, test)
        print(name, kind, json.dumps(result[kind]), flush=True)
    put(name, result, out)


def alike(train: Sequences, items: int) -> Counts:
    """ItemKNN's similarities in place of followers, as many of each item."""
    return greatest(ItemKNN.fit(train, items, neighbours=FOLLOWERS).similarity, FOLLOWERS)


def row(scorer: DimeRecScorer, fitted: Fitted, test: Targets) -> dict[str, Any]:
    """The choice on validation, and the test events by it and by each weight at its decay."""
    chosen = fitted.counts
    weights = [0.0, *WEIGHTS]
    ranked = ranks_with(scorer, [replace(chosen, weight=weight) for weight in weights], test)
    by_weight = dict(zip(weights, ranked, strict=True))
    return {
        "decay": chosen.decay,
        "weight": chosen.weight,
        "validation": {
            "targets": fitted.targets,
            "before": rounded(fitted.before),
            "after": rounded(fitted.after),
            "ndcg@10": None if fitted.lead is None else rounded(asdict(fitted.lead)),
        },
        "test": measured(by_weight[chosen.weight], ranked[0], test),
        "by_weight": {
            f"{weight}": rounded({f"{metric}@{k}": METRICS[metric](own, k).mean() for metric, k in MEASURED})
            for weight, own in by_weight.items()
        },
    }


def measured(ranks: Ranks, alone: Ranks, test: Targets) -> dict[str, dict[str, float]]:
    """Each metric of the ranks and of the model `alone`, and the difference with its interval over users."""
    found = {}
    for metric, k in MEASURED:
        own, other = METRICS[metric](ranks, k), METRICS[metric](alone, k)
        gain = resampled(own - other, test.users, generator=np.random.default_rng(SEED))
        found[f"{metric}@{k}"] = rounded({"alone": other.mean(), "counted": own.mean(), **asdict(gain)})
    return found


def rounded(values: dict[str, float]) -> dict[str, float]:
    """As the file has them."""
    return {name: round(float(value), 5) for name, value in values.items()}


if __name__ == "__main__":
    application()
