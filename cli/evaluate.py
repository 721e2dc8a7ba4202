"""`dimerec evaluate`: a model next to Popularity and ItemKNN, on events that none of them learned from."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import typer

from bundle.manifest import MAX_DRAWS
from cli.bars import measuring
from cli.horizons import horizons_of, lengths, measure_horizons, show_horizons
from cli.output import Json, print_comparisons, print_json, print_table
from cli.stages import measure_stages, show_stages
from index.tuning import IndexKind
from model.interests import InterestMode
from training import drawing
from training.data.dataset import Dataset, read_dataset
from training.data.splits import SPLITS, Split, SplitName
from training.errors import ConfigError
from training.evaluation.draws import measure_draws
from training.evaluation.horizon import sample
from training.evaluation.ranking import DEFAULT_KS
from training.evaluation.report import (
    COMPARED_KS,
    Contestant,
    Part,
    Report,
    baselines,
    compare,
    warning,
    write_report,
)
from training.evaluation.served import Served, engine_for, evaluate_served
from training.evaluation.stage.fitting import fitted_sides
from training.evaluation.stage.report import NOISE_SEEDS
from training.evaluation.trained import Trained, check_fit, measurable, settled, trained_model

SERVING = "How the model is asked (default: as the bundle says, or the run would be published)"


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


def command(
    data: Annotated[Path, typer.Option(help="Directory that `dimerec prepare` wrote.")] = Path("data"),
    run: Annotated[
        Path | None, typer.Option(help="A training run: its best model is measured, not its refit.")
    ] = None,
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
    counts: Annotated[
        bool,
        typer.Option(
            help="Let counts of what followed what have their part: a bundle's, or a run's where `dimerec"
            " publish` would find that they add something.",
            rich_help_panel=SERVING,
        ),
    ] = True,
    served: Annotated[
        bool,
        typer.Option(
            "--served",
            help="Also ask the engine of --bundles as users do, with equal seeds, beside the ranking.",
        ),
    ] = False,
    index: Annotated[
        IndexKind | None,
        typer.Option(
            help="With --served: search an index however small the catalogue: the bundle's own if it is of"
            " this kind, else one with untuned effort."
        ),
    ] = None,
    horizon: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N|rest",
            help="Also judge by what people went on to: the next N events from the part's first, or the rest"
            " of the part. May be repeated; for --split last-events or window.",
        ),
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="With --horizon: also hold the model's draws against its guidance alone and against two"
            " controls without diffusion, by likelihood, calibration, and recall at a budget.",
        ),
    ] = False,
    noise_seeds: Annotated[
        int, typer.Option(min=1, max=100, help="With --controls: seeds of noise that each side's mean is of.")
    ] = NOISE_SEEDS,
    users: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --controls: at most so many users, drawn once.", show_default="all of them"
        ),
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

    - `dimerec evaluate --bundles bundles --data data --served --index hnsw`

    - `dimerec evaluate --run runs/sessions --data data --horizon 5 --horizon rest`

    - `dimerec evaluate --run runs/sessions --data data --horizon 5 --controls --users 2000`

    - `dimerec evaluate --data data --split time` (the baselines alone)
    """
    ahead = lengths(horizon or [])
    dataset = read_dataset(data)
    trained = trained_model(run, bundles, version, device)
    held_out = SPLITS[split or (trained and trained.split) or "leave-one-out"](dataset)
    asked = {
        "steps": steps,
        "draws": draws,
        "interest_mode": interest_mode,
        "guidance_weight": guidance_weight,
        "merge": merge,
        "temperature": temperature,
    }
    _check_served(bundles, asked if counts else {**asked, "no_counts": True}, served=served, index=index)
    if controls:
        _check_controls(trained, ahead, interest_mode)
    futures = horizons_of(getattr(held_out, part), ahead)
    contestants = baselines(held_out, len(dataset.catalogue))
    found = answered = decided = None
    if trained is not None:
        check_fit(trained, dataset, split)
        serving, decided = settled(trained, asked, held_out)
        drawn = serving if interest_mode == "guidance" else drawing.with_draws(serving)
        scorer, settings = measurable(trained, serving, held_out, seed, counts=counts)
        contestants = {"DimeRec": Contestant(scorer, settings), **contestants}
        found = measure_draws(trained.model, drawn, getattr(held_out, part), seed=seed)
        if served and trained.bundle is not None:
            answered = evaluate_served(
                engine_for(trained.bundle, index),
                scorer,
                getattr(held_out, part),
                trained.bundle.catalogue.item_ids,
            )
    report = measure(contestants, dataset, held_out, part, seed)
    horizons = measure_horizons(contestants, futures, dataset.catalogue, held_out.train, seed)
    report = report.model_copy(
        update={"decided": decided, "draws": found, "served": answered, "horizons": horizons}
    )
    if controls and trained is not None:
        others = {name: [one.scorer] for name, one in contestants.items() if name != "DimeRec"}
        sides = fitted_sides(trained.model, drawn, others, held_out, seed)
        some = [sample(one, users, seed) for one in futures]
        stages = measure_stages(sides, some, dataset.catalogue, held_out.train, noise_seeds, seed)
        report = report.model_copy(update={"stages": stages})
    if out is None and run is not None:
        out = run / f"evaluation-{part}.json"
    if out is not None:
        write_report(report, out)
    if as_json:
        print_json(report)
    else:
        show_report(report)
    removed = {name: measured.seen_removed for name, measured in report.recommenders.items()}
    asked_by = None if decided is None else drawing.said(decided)
    lines = [] if trained is None else [trained.note, asked_by, _counted(report), warning(removed)]
    for line in filter(None, lines):
        typer.echo(line, err=as_json)
    if out is not None:
        typer.echo(f"Written to {out}", err=as_json)


def _counted(report: Report) -> str | None:
    weight = report.recommenders["DimeRec"].settings.get("counts")
    if weight is None:
        return None
    return f"Counts have a part of {weight:g} in DimeRec's scores; --no-counts measures it without."


def measure(
    contestants: dict[str, Contestant], dataset: Dataset, split: Split, part: Part, seed: int
) -> Report:
    """Compare recommenders behind a progress bar."""
    with measuring(contestants, len(getattr(split, part))) as advance:
        return compare(
            contestants,
            dataset,
            split,
            part,
            generator=np.random.default_rng(seed),
            on_progress=advance,
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
    if report.served is not None:
        _show_served(report.served, removed["DimeRec"])
    print_comparisons(report.comparisons)
    show_horizons(report.horizons)
    show_stages(report.stages)


def _show_served(served: Served, ranked: dict[str, float]) -> None:
    rows = [
        [name.upper(), f"{ranked[name]:.4f}", f"{value:.4f}", f"{value - ranked[name]:+.4f}"]
        for name, value in served.metrics.items()
    ]
    print_table(["DimeRec", "full ranking", f"served ({served.index})", "difference"], rows)
    typer.echo(
        f"The first 20 items are those of the full ranking for {served.same_first:.1%} of the targets."
    )


def _check_controls(trained: Trained | None, ahead: Sequence[int | None], mode: InterestMode | None) -> None:
    """Refuse to hold draws against controls where there are none, or nothing to judge them by."""
    if trained is None or not ahead:
        raise ConfigError("--controls judge a model over a horizon; give --run or --bundles, and --horizon")
    if mode == "guidance":
        raise ConfigError("--controls judge draws, and --interest-mode guidance has none; take draws or both")


def _check_served(
    bundles: Path | None, asked: dict[str, Any], *, served: bool, index: IndexKind | None
) -> None:
    """Refuse what the served path cannot be measured with."""
    if index is not None and not served:
        raise ConfigError("--index says what --served searches; give --served as well")
    if served and bundles is None:
        raise ConfigError("--served measures a bundle as it is served; name its directory with --bundles")
    given = [f"--{name.replace('_', '-')}" for name, value in asked.items() if value is not None]
    if served and given:
        raise ConfigError(f"--served asks as the bundle says; leave out {', '.join(given)}")


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
