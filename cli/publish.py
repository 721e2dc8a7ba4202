"""`dimerec publish`: put a trained model into service."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.read import current_version, verify, versions
from cli.bars import stages
from cli.interrupts import interruptible
from cli.output import Json, print_json
from index.query import MAX_REPEAT_WEIGHT
from index.tuning import IndexChoice
from model.interests import InterestMode
from training import drawing, novelty
from training.content_map import described
from training.counts import said
from training.data.dataset import read_dataset
from training.evaluation.report import warning
from training.publishing import DEFAULT_RECALL, publish_run


def command(
    run: Annotated[Path, typer.Option(help="Training run whose model is published.")] = Path("runs/latest"),
    data: Annotated[Path, typer.Option(help="The prepared data that the run was trained on.")] = Path("data"),
    bundles: Annotated[Path, typer.Option(help="Directory of bundles; made where it is missing.")] = Path(
        "bundles"
    ),
    index: Annotated[IndexChoice, typer.Option(help="Kind of index; auto: by catalogue size.")] = "auto",
    recall: Annotated[
        float,
        typer.Option(
            min=0.5,
            max=1,
            help="Part of the nearest items that the index should find, measured on held-out users: no more"
            " effort goes into a search than that takes.",
        ),
    ] = DEFAULT_RECALL,
    repeat_weight: Annotated[
        float | None,
        typer.Option(
            min=1 / MAX_REPEAT_WEIGHT,
            max=MAX_REPEAT_WEIGHT,
            help="What the score of a seen item counts where a request does not exclude seen ones; 1: as any"
            " other. [default: fitted on validation, by how often users come back]",
        ),
    ] = None,
    interest_mode: Annotated[
        InterestMode | None,
        typer.Option(
            help="The interests that search where a request does not say. [default: as the run says, but"
            " guidance alone where that is both and draws add nothing on validation events]"
        ),
    ] = None,
    counts: Annotated[
        bool | None,
        typer.Option(
            "--counts/--no-counts",
            help="Count what followed each item in the log, and let that be one more interest where it adds"
            " to the answers on validation events. [default: unless interests are merged by max]",
        ),
    ] = None,
    content: Annotated[
        Path | None,
        typer.Option(
            help="Parquet file with item_id and content, a list of as many numbers for each item: a map from"
            " it to the items' vectors is fitted, and used for new items where it beats their categories."
        ),
    ] = None,
    novelty_loss: Annotated[
        float,
        typer.Option(min=0.01, max=0.5, help="Part of HR@10 on validation that a novelty of 1 may cost."),
    ] = novelty.LOSS,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="Largest relative fall of the validation metric.")
    ] = 0.05,
    force: Annotated[bool, typer.Option("--force", help="Publish however the metric fell.")] = False,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit/--no-refit",
            help="Of a run with a refit: publish that, or the run's best model, from which a later"
            " `train --init` may start.",
        ),
    ] = True,
    revision: Annotated[
        str | None,
        typer.Option(envvar="DIMEREC_SOURCE_REVISION", help="Source revision to note in the manifest."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Publish a run's best model or its refit, the items and their index as one bundle; make it CURRENT.

    A bundle appears whole or not at all, whenever this is interrupted. A model whose validation metric fell
    by more than the margin against the bundle in service is refused; one that ranks test events no better
    than ItemKNN or Popularity is published, and a line says so.

    - `dimerec publish --run runs/latest --data data --bundles bundles`

    - `dimerec publish --run runs/latest --margin 0.01`

    - `dimerec publish --run runs/latest --content content.parquet`

    A running service takes it up with `POST /admin/reload`.
    """
    before = versions(bundles)
    with interruptible(lambda: _kept(bundles, before)), stages() as on_stage:
        version = publish_run(
            run,
            read_dataset(data),
            bundles,
            index_kind=index,
            recall=recall,
            repeat_weight=repeat_weight,
            interest_mode=interest_mode,
            counts=counts,
            content=content,
            novelty_loss=novelty_loss,
            margin=margin,
            force=force,
            refit=refit,
            source_revision=revision,
            on_stage=on_stage,
        )
    manifest = verify(bundles, version)
    standing = manifest.standing
    line = None if standing is None else warning(standing.metrics)
    if as_json:
        print_json(
            {
                "version": version,
                "bundles": bundles,
                "refit": manifest.refit,
                "standing": standing,
                "content": manifest.content,
                "draws": manifest.draws,
                "counts": manifest.counts,
                "novelty": manifest.novelty,
                "warning": line,
            }
        )
        return
    of_all = " (refitted on all events)" if manifest.refit else ""
    typer.echo(f"Published {version}{of_all} under {bundles}; it is CURRENT.")
    if manifest.draws is not None:
        typer.echo(drawing.said(manifest.draws))
    if manifest.counts is not None:
        typer.echo(said(manifest.counts))
    typer.echo(novelty.said(manifest.novelty))
    if manifest.content is not None:
        typer.echo(described(manifest.content))
    if line is not None:
        typer.echo(line)


def _kept(bundles: Path, before: list[str]) -> str:
    """Of an interrupted call; another that published at the same time may be what is found."""
    published = [version for version in versions(bundles) if version not in before]
    current = current_version(bundles)
    if not published:
        return f"nothing was published, CURRENT is {current or 'unset'} as before"
    if published[0] == current:
        return f"{current} is published, and CURRENT"
    return f"{published[0]} is published but not CURRENT: `dimerec bundles use {published[0]}` makes it that"
