"""`dimerec evaluate`: a model next to Popularity and ItemKNN, on events that none of them learned from."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bundle.manifest import MAX_DRAWS, ServingDefaults
from bundle.read import load
from cli.output import Json, print_json, print_table
from model.checkpoint import load_checkpoint
from model.dimerec import DimeRec
from model.interests import InterestMode
from training.data.dataset import Dataset, load_dataset
from training.data.splits import SPLITS, Split
from training.errors import ConfigError
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.draws import measure_draws
from training.evaluation.ranking import DEFAULT_KS
from training.evaluation.repeat_weight import learned_repeat_weight
from training.evaluation.report import (
    COMPARED_KS,
    Compared,
    Contestant,
    Part,
    Report,
    baselines,
    compare,
    warning,
    write_report,
)
from training.run import BEST_FILE, read_run_config
from training.trainer import choose_device

SERVING = "How the model is asked (default: as the run or the bundle says)"


class _Rows(NamedTuple):
    """Metrics that stand together in a table: what a row is called → the metric's name; and for which k."""

    names: dict[str, str]
    ks: Sequence[int]


ACCURACY = _Rows({"HR": "hr", "NDCG": "ndcg"}, DEFAULT_KS)
DIVERSITY = _Rows(
    {
        "distinct categories": "distinct_categories",
        "intra-list distance": "intra_list_distance",
        "catalogue coverage": "coverage",
    },
    COMPARED_KS,
)

SplitName = Literal["leave-one-out", "time", "window"]


class _Trained(NamedTuple):
    """A model and what is known of how it was trained."""

    model: DimeRec
    serving: ServingDefaults
    split: str | None
    data_fingerprint: str
    repeat_weight: float | None
    """What an item of the history counts; None: to be fitted, as `dimerec publish` does."""


def command(
    data: Annotated[Path, typer.Option(help="Directory that `dimerec prepare` wrote.")] = Path("data"),
    run: Annotated[Path | None, typer.Option(help="A training run: its best model is measured.")] = None,
    bundles: Annotated[
        Path | None, typer.Option(help="Directory of bundles: the one in service is measured.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Another version of --bundles.")] = None,
    split: Annotated[
        SplitName | None,
        typer.Option(help="What was held out. [default: as the run was trained, else leave-one-out]"),
    ] = None,
    part: Annotated[
        Part, typer.Option("--on", help="Choose settings on validation, report on test.")
    ] = "test",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps of each draw.", rich_help_panel=SERVING)
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_DRAWS, help="Interests that the diffusion draws.", rich_help_panel=SERVING
        ),
    ] = None,
    interest_mode: Annotated[
        InterestMode | None, typer.Option(help="The interests that search.", rich_help_panel=SERVING)
    ] = None,
    guidance_weight: Annotated[
        float | None,
        typer.Option(help="The guidance's part of the vote, 0 to 1, with both.", rich_help_panel=SERVING),
    ] = None,
    merge: Annotated[
        Literal["mean", "max"] | None,
        typer.Option(
            help="An item's score: the mean of the interests' softmaxes, or the best cosine.",
            rich_help_panel=SERVING,
        ),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of these softmaxes.", rich_help_panel=SERVING)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the model's noise and of the bootstrap.")] = 0,
    device: Annotated[str, typer.Option(help="Where the model computes: cpu, cuda or cuda:N.")] = "cpu",
    out: Annotated[
        Path | None,
        typer.Option(help="Write the report here as JSON. [default: evaluation-PART.json in the run]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a model next to Popularity and ItemKNN: full ranking over all items, never sampled.

    HR@k and NDCG@k for k = 5, 10, 20, 50, with seen items removed (as when serving) and kept, diversity, and
    95 % bootstrap intervals of the differences over users. ItemKNN's decay is chosen on validation. Says in a
    line where the model is not better than both.

    - `dimerec evaluate --run runs/latest --data data`

    - `dimerec evaluate --bundles bundles --data data --steps 1 --draws 4`

    - `dimerec evaluate --run runs/latest --data data --on validation --interest-mode both`

    - `dimerec evaluate --data data --split time` (the baselines alone)
    """
    dataset = load_dataset(data)
    trained = _trained(run, bundles, version, device)
    held_out = SPLITS[split or (trained and trained.split) or "leave-one-out"](dataset)
    asked = {
        "steps": steps,
        "draws": draws,
        "interest_mode": interest_mode,
        "guidance_weight": guidance_weight,
        "merge": merge,
        "temperature": temperature,
    }
    contestants = baselines(held_out, len(dataset.catalogue))
    found = None
    if trained is not None:
        _check_fit(trained, dataset, split)
        serving = _serving(trained, asked)
        weight = _repeat_weight(trained, serving, held_out, seed)
        scorer = DimeRecScorer(trained.model, serving, seed, weight)
        settings = {**serving.model_dump(exclude={"diversity"}), "repeat_weight": weight, "seed": seed}
        contestants = {"DimeRec": Contestant(scorer, settings), **contestants}
        found = measure_draws(trained.model, serving, getattr(held_out, part), seed=seed)
    report = measure(contestants, dataset, held_out, part, seed).model_copy(update={"draws": found})
    if out is None and run is not None:
        out = run / f"evaluation-{part}.json"
    if out is not None:
        write_report(report, out)
    if as_json:
        print_json(report)
    else:
        show_report(report)
    removed = {name: measured.seen_removed for name, measured in report.recommenders.items()}
    if trained is not None and (line := warning(removed)) is not None:
        typer.echo(line, err=as_json)
    if out is not None:
        typer.echo(f"Written to {out}", err=as_json)


def measure(
    contestants: dict[str, Contestant], dataset: Dataset, split: Split, part: Part, seed: int
) -> Report:
    """Compare recommenders behind a progress bar."""
    columns = [TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        total = len(getattr(split, part))
        tasks = {name: progress.add_task(name, total=total) for name in contestants}
        return compare(
            contestants,
            dataset,
            split,
            part,
            generator=np.random.default_rng(seed),
            on_progress=lambda name, targets: progress.advance(tasks[name], targets),
        )


def show_report(report: Report) -> None:
    """Print a report: accuracy, diversity, and differences that the data can or cannot tell from none."""
    typer.echo(
        f"{report.split} split, {report.part}: {report.targets:,} targets of {report.users:,} users,"
        " every item a candidate"
    )
    removed = {name: measured.seen_removed for name, measured in report.recommenders.items()}
    _show_metrics("seen items removed, as when serving", removed, [ACCURACY, DIVERSITY])
    kept = {name: measured.seen_kept for name, measured in report.recommenders.items()}
    _show_metrics("seen items kept", kept, [ACCURACY])
    if report.draws is not None:
        best = ", ".join(f"{count}: {rate:.4f}" for count, rate in report.draws.best_of.items())
        typer.echo(
            f"DimeRec's draws: mean pairwise cosine {report.draws.pairwise_cosine:.4f};"
            f" HR@20 of the best of {best}"
        )
    show_comparisons(report.comparisons)


def show_comparisons(comparisons: Iterable[Compared]) -> None:
    """Print differences that the data can or cannot tell from none."""
    for found in comparisons:
        typer.echo(
            f"{found.metric:<8} {found.first} − {found.second}: {found.mean:+.4f}"
            f" [{found.low:+.4f}, {found.high:+.4f}] {found.verdict}"
        )


def _trained(run: Path | None, bundles: Path | None, version: str | None, device: str) -> _Trained | None:
    if run is not None and bundles is not None:
        raise ConfigError("--run and --bundles name two models; give one of them")
    chosen = choose_device(device)
    if run is not None:
        config = read_run_config(run)
        model = load_checkpoint(run / BEST_FILE, chosen)
        return _Trained(model, config.training.serving, config.training.split, config.data_fingerprint, None)
    if bundles is not None:
        loaded = load(bundles, version, str(chosen))
        manifest = loaded.manifest
        return _Trained(
            loaded.model,
            manifest.serving,
            manifest.split,
            manifest.data_fingerprint,
            manifest.repeat_weight,
        )
    return None


def _check_fit(trained: _Trained, dataset: Dataset, split: SplitName | None) -> None:
    """Refuse a model that was trained on other data, or on what it would have to predict."""
    if trained.data_fingerprint != dataset.fingerprint:
        raise ConfigError(
            f"the model was trained on other data ({trained.data_fingerprint[:16]}) than --data holds"
            f" ({dataset.fingerprint[:16]}); name the directory that it was trained on"
        )
    if split is not None and trained.split is not None and split != trained.split:
        raise ConfigError(
            f"the model was trained on the split {trained.split} and may know what {split} holds out;"
            f" leave out --split, or train with --set split={split}"
        )


def _serving(trained: _Trained, asked: dict[str, Any]) -> ServingDefaults:
    """How the model is asked: as it says, but for what the caller asked otherwise."""
    given = {key: value for key, value in asked.items() if value is not None}
    try:
        serving = ServingDefaults.model_validate({**trained.serving.model_dump(), **given})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = "--" + ".".join(map(str, first["loc"])).replace("_", "-")
        raise ConfigError(f"{option}: {first['msg']}") from error
    if serving.steps > trained.model.config.timesteps:
        raise ConfigError(f"--steps is {serving.steps}, the model has {trained.model.config.timesteps}")
    return serving


def _repeat_weight(trained: _Trained, serving: ServingDefaults, split: Split, seed: int) -> float:
    if trained.repeat_weight is not None and serving == trained.serving:
        return trained.repeat_weight
    if trained.repeat_weight == 1:  # chosen, or of a bundle from before there was any other
        return 1.0
    return learned_repeat_weight(trained.model, serving, seed, split.validation)


def _show_metrics(title: str, measured: dict[str, dict[str, float]], sections: Sequence[_Rows]) -> None:
    """Print a row a metric, a column a recommender; – where a metric is undefined."""
    print_table(
        ["", *measured],
        *(list(_metric_rows(section, measured)) for section in sections),
        title=title,
        right_from=1,
    )


def _metric_rows(section: _Rows, measured: dict[str, dict[str, float]]) -> Iterator[list[str]]:
    for shown, name in section.names.items():
        for k in section.ks:
            values = (metrics.get(f"{name}@{k}") for metrics in measured.values())
            yield [f"{shown}@{k}", *("–" if value is None else f"{value:.4f}" for value in values)]
