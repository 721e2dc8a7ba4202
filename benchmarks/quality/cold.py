"""Videos that nobody has watched, placed by their content, by their categories and at random.

    python -m benchmarks.quality.cold --data .demo/data
    python -m benchmarks.quality.cold --data kuairand --items kuairand-pure-items.parquet --name kuairand-pure

A tenth of the items, drawn with a fixed seed, is held out before a training; of a log with windows those that
nobody watched in the training window. The others make a bundle with a content map, and those held out are put
into its engine as `PUT /items` does it. Each watch of such an item is then looked for in the answer to the
user's other items before it, among all items, those left out that were seen. The content is the words of the
title, hashed, or with `--items` the columns of a file. At random an item has the vector of any other one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from numpy.typing import NDArray

from benchmarks.quality.cold_content import column_content, title_content
from benchmarks.quality.results import interval, put, show
from bundle.read import Bundle, read_bundle
from engine.changes import Change
from engine.contract import EngineRequest
from engine.engine import Engine
from engine.recipes import Content, Like, Recipe
from index.catalogue import Catalogue
from training.benchmark.machine import hardware, source_revision
from training.config import read_config
from training.data.dataset import Dataset, read_dataset
from training.evaluation.ranking import METRICS
from training.fitting import fit
from training.publishing import publish_run
from training.run import EpochRecord
from training.trainer import train

PART = 0.1
"""Of the items that is held out."""
KS = (10, 50)
"""Of HR@k and NDCG@k."""
BATCH = 64
"""Requests at once: the service's largest batch by default (`max_batch`)."""
Origin = Like | Content | None


@dataclass(frozen=True)
class Case:
    """A watch of an item that was held out, and the user's items before it that were not, oldest first."""

    user: int
    item_id: str
    history: list[str]


class Lines:
    """Prints a line for each epoch."""

    def epoch_started(self, epoch: int, examples: int) -> None:
        """Nothing yet to say."""

    def batch_done(self, examples: int, losses: dict[str, float] | None) -> None:
        """Nothing to say."""

    def epoch_done(self, record: EpochRecord, improved: bool) -> None:
        """Say how it went; of a refit, which is not validated, only that it went."""
        shown = "".join(
            f" ndcg@10 {value:.4f}" for name, value in record.validation.items() if name == "ndcg@10"
        )
        print(f"epoch {record.epoch}:{shown}{' *' if improved else ''}", flush=True)


def held_out(dataset: Dataset, seed: int) -> NDArray[np.bool_]:
    """True for the rows (items + 1,) of a tenth of the items, or of those new after the training window."""
    count = len(dataset.catalogue)
    cold = np.zeros(count + 1, dtype=np.bool_)
    if dataset.windows is not None:
        cold[1:] = np.bincount(dataset.items[dataset.windows == 0], minlength=count + 1)[1:] == 0
        return cold
    cold[1 + np.random.default_rng(seed).choice(count, round(PART * count), replace=False)] = True
    return cold


def without(dataset: Dataset, cold: NDArray[np.bool_]) -> Dataset:
    """The log as if the items of `cold` had never been."""
    kept = ~cold[dataset.items]
    ends = np.concatenate([[0], np.cumsum(kept)])
    rows = np.cumsum(~cold) - 1  # of the items that stay; row 0, the padding, stays 0
    catalogue, lines = dataset.catalogue, np.flatnonzero(~cold[1:])
    ids, titles, categories = catalogue.item_ids, catalogue.titles, catalogue.categories
    return replace(
        dataset,
        items=rows[dataset.items[kept]].astype(np.int32),
        timestamps=dataset.timestamps[kept],
        offsets=ends[dataset.offsets],
        windows=None if dataset.windows is None else dataset.windows[kept],
        catalogue=Catalogue(
            [ids[line] for line in lines],
            [titles[line] for line in lines],
            [categories[line] for line in lines],
            catalogue.popularity[lines],
        ),
    )


def cases_of(dataset: Dataset, cold: NDArray[np.bool_]) -> list[Case]:
    """All watches of items that were held out, by users who had watched something else before."""
    ids, cases = dataset.catalogue.item_ids, []
    for user in range(len(dataset)):
        history: list[str] = []
        for row in dataset.history(user).tolist():
            if not cold[row]:
                history.append(ids[row - 1])
            elif history:
                cases.append(Case(user, ids[row - 1], list(history)))
    return cases


def changes(
    dataset: Dataset,
    cold: NDArray[np.bool_],
    bundle: Bundle,
    way: str,
    seed: int,
    content: Mapping[str, list[float]],
) -> Mapping[str, Change]:
    """The items of `cold` as they are put, each by `way`; `random`: with the vector of any learned item."""
    random, catalogue, put = np.random.default_rng(seed), dataset.catalogue, {}
    ids, titles, categories = catalogue.item_ids, catalogue.titles, catalogue.categories
    learned = np.array(bundle.catalogue.item_ids)
    for line in np.flatnonzero(cold[1:]).tolist():
        origin: Origin = None
        numbers = content.get(ids[line], [])
        if way == "content" and any(numbers):
            origin = Content.of(numbers)
        if way == "random":
            origin = Like((str(random.choice(learned)),))
        recipe = Recipe(titles[line], categories[line], origin, categories[line])
        put[ids[line]] = Change(recipe, served=True)
    return put


def ranks(engine: Engine, cases: list[Case]) -> NDArray[np.float64]:
    """Rank of each case's item in the answer, from 1; ∞ where it is not among the first of them."""
    found = []
    for first in range(0, len(cases), BATCH):
        some = cases[first : first + BATCH]
        requests = [
            EngineRequest(case.history, max(KS), excluded=case.history, seed=case.user, explain=False)
            for case in some
        ]
        for case, answer in zip(some, engine.recommend(requests), strict=True):
            at = [rank for rank, item in enumerate(answer.items, 1) if item.item_id == case.item_id]
            found.append(float(at[0]) if at else np.inf)
    return np.array(found)


def metrics(ranked: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """HR@k and NDCG@k of each case."""
    return {f"{name}@{k}": of(ranked, k) for name, of in METRICS.items() for k in KS}


def main(
    data: Annotated[Path, typer.Option(help="Prepared data with titles or windows.")],
    items: Annotated[
        Path | None, typer.Option(help="Parquet file whose columns are the content. [default: the titles]")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the data set, in the results.")] = "movielens-100k",
    work: Annotated[Path, typer.Option(help="The run and its bundle are kept here.")] = Path(".quality/cold"),
    out: Annotated[Path, typer.Option(help="File of the results.")] = Path("docs/results/cold.json"),
    epochs: Annotated[int, typer.Option(min=1, help="Of the training.")] = 8,
    years: Annotated[bool, typer.Option(help="Leave the years in the titles.")] = True,
    seed: Annotated[int, typer.Option(help="Of the items, the training and the items at random.")] = 0,
) -> None:
    """Hold a tenth of the items out, train, publish with content, and look for them; write the results."""
    dataset = read_dataset(data)
    cold = held_out(dataset, seed)
    warm = without(dataset, cold)
    split = "leave-one-out" if dataset.windows is None else "window"
    config = fit(read_config(None, [f"epochs={epochs}", f"seed={seed}", f"split={split}"]), warm).config
    train(warm, config, work / "run", Lines())
    content = title_content(dataset.catalogue, years=years) if items is None else column_content(items)
    known = {item: content[item] for item in warm.catalogue.item_ids if item in content}
    table = pa.table({"item_id": list(known), "content": list(known.values())})
    pq.write_table(table, work / "content.parquet")
    publish_run(work / "run", warm, work / "bundles", content=work / "content.parquet", force=True)
    bundle, cases = read_bundle(work / "bundles"), cases_of(dataset, cold)
    users = np.array([case.user for case in cases])
    found = {}
    for way in ("content", "categories", "random"):
        engine = Engine(bundle, max_steps=bundle.manifest.serving.steps)
        stale = engine.change(changes(dataset, cold, bundle, way, seed, content))
        found[way] = metrics(ranks(engine, cases))
        print(f"{way}: {len(stale)} items without a vector", flush=True)
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.quality.cold --name {name} --epochs {epochs} --seed {seed}",
        "years": years if items is None else None,
        "epochs": epochs,
        "commit": source_revision(),
        "hardware": hardware().model_dump(),
        "data_fingerprint": dataset.fingerprint,
        "items": len(dataset.catalogue),
        "cold_items": int(cold.sum()),
        "targets": len(cases),
        "users": len(np.unique(users)),
        "map": None if bundle.manifest.content is None else bundle.manifest.content.model_dump(),
        "metrics": {
            way: {name: interval(values, users) for name, values in some.items()}
            for way, some in found.items()
        },
        "content_less_categories": {
            name: interval(values - found["categories"][name], users)
            for name, values in found["content"].items()
        },
    }
    put(name, result, out)
    for way, some in result["metrics"].items():
        show(way, some)


if __name__ == "__main__":
    typer.run(main)
