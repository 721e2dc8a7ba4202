"""A model trained on all events beside the one before, on events that neither has seen.

    python -m benchmarks.quality.refit --data .demo/data

Each user's last event is set aside before anything else: what is prepared, split, trained on and refitted is
the log without these. Both models then get the whole history that is left, and rank the event set aside among
all items but those seen; an item that only occurs among these events is a miss.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from numpy.typing import NDArray

from benchmarks.quality.cold import Lines
from benchmarks.quality.results import interval, show, write
from files.atomic import replacing
from model.checkpoint import read_checkpoint
from training.benchmark.machine import hardware, source_revision
from training.config import TrainingConfig, read_config
from training.data.dataset import Dataset, read_dataset
from training.data.prepare import prepare
from training.data.prepare_options import PrepareOptions
from training.data.splits import Histories, Targets
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.ranking import METRICS, evaluate
from training.fitting import fit
from training.refit import refit, refitted
from training.run import BEST_FILE
from training.trainer import train

KS = (10, 50)


def set_aside(dataset: Dataset, directory: Path) -> dict[str, str]:
    """Write the log without each user's last event into `directory`; returns these events, user → item."""
    ids = np.array(dataset.catalogue.item_ids)
    users = np.repeat(np.array(dataset.user_ids), np.diff(dataset.offsets))
    last = dataset.offsets[1:] - 1
    log = pl.DataFrame(
        {"user_id": users, "item_id": ids[dataset.items - 1], "timestamp": dataset.timestamps},
        schema_overrides={"timestamp": pl.Int64},
    )
    kept = np.ones(len(log), np.bool_)
    kept[last] = False
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(directory / "events.parquet") as temporary:
        log.filter(pl.Series(kept)).write_parquet(temporary)
    return dict(zip(dataset.user_ids, ids[dataset.items[last] - 1].tolist(), strict=True))


def targets_of(dataset: Dataset, aside: dict[str, str]) -> Targets:
    """The events set aside whose item `dataset` knows, each after all that is left of its user."""
    row = {item: row for row, item in enumerate(dataset.catalogue.item_ids, start=1)}
    known = [user for user, name in enumerate(dataset.user_ids) if aside[name] in row]
    users = np.array(known, np.int64)
    items = np.array([row[aside[dataset.user_ids[user]]] for user in known], np.int32)
    starts, ends = dataset.offsets[users], dataset.offsets[users + 1]
    return Targets(Histories(dataset.items, starts, ends), items, users, ends)


def metrics(
    checkpoint: Path, config: TrainingConfig, targets: Targets, users: int
) -> dict[str, NDArray[np.float64]]:
    """HR@k and NDCG@k of each of `users`; 0 for those whose item is not known."""
    scorer = DimeRecScorer(read_checkpoint(checkpoint), config.serving, config.seed)
    ranks = evaluate(scorer, targets, ks=KS, exclude_seen=True).ranks
    found = {}
    for name, of in METRICS.items():
        for k in KS:
            values = np.zeros(users)
            values[targets.users] = of(ranks, k)
            found[f"{name}@{k}"] = values
    return found


def main(
    data: Annotated[Path, typer.Option(help="Prepared data, as of the demo.")],
    work: Annotated[Path, typer.Option(help="The log without the events set aside, and the run.")] = Path(
        ".quality/refit"
    ),
    out: Annotated[Path, typer.Option(help="File of the results.")] = Path("docs/results/refit.json"),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As of `dimerec train`.")
    ] = None,
) -> None:
    """Set each user's last event aside, train and refit on the rest, and look for it; write the results."""
    revision, whole = source_revision(), read_dataset(data)
    aside = set_aside(whole, work)
    unit = whole.timestamp_unit if whole.timestamp_unit == "order" else "ms"
    prepare(work / "events.parquet", None, work / "data", PrepareOptions(timestamp_unit=unit))
    dataset = read_dataset(work / "data")
    config = fit(read_config(None, overrides or []), dataset).config
    outcome = train(dataset, config, work / "run", Lines())
    refit(dataset, work / "run", Lines())
    targets = targets_of(dataset, aside)
    checkpoints = {"run": work / "run" / BEST_FILE, "refit": refitted(work / "run")}
    found = {
        name: metrics(checkpoint, config, targets, len(dataset))
        for name, checkpoint in checkpoints.items()
        if checkpoint is not None
    }
    everyone = np.arange(len(dataset))
    settings = "".join(f" --set {override}" for override in overrides or [])
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.quality.refit --data {data}{settings}",
        "commit": revision,
        "hardware": hardware().model_dump(),
        "data_fingerprint": whole.fingerprint,
        "seed": config.seed,
        "planned_epochs": config.epochs,
        "epochs": outcome.best.epoch,
        "learned_events": {"run": len(dataset.items) - 2 * len(dataset), "refit": len(dataset.items)},
        "users": len(dataset),
        "unknown_items": len(dataset) - len(targets),
        "metrics": {
            way: {name: interval(values, everyone) for name, values in some.items()}
            for way, some in found.items()
        },
        "refit_less_run": {
            name: interval(values - found["run"][name], everyone) for name, values in found["refit"].items()
        },
    }
    write(result, out)
    for way, some in result["metrics"].items():
        show(way, some)
    show("difference", result["refit_less_run"])


if __name__ == "__main__":
    typer.run(main)
