"""Draws a training run, even under way: `python -m benchmarks.quality.training_plot runs/latest run.svg`."""

from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import typer
from matplotlib.figure import Figure

from benchmarks.quality.plots import STYLE
from training.errors import TrainingError
from training.run import EpochRecord, read_records, read_run_config


def main(
    run: Annotated[Path, typer.Argument(help="Run directory of `dimerec train`.")],
    out: Annotated[Path, typer.Argument(help="SVG file to write.")],
) -> None:
    """Draw the losses and the validation metrics of every epoch so far."""
    try:
        draw(_records(run), out)
    except TrainingError as error:
        typer.echo(f"training_plot: {error}", err=True)
        raise typer.Exit(1) from error


def draw(records: list[EpochRecord], out: Path) -> None:
    """Write one panel of loss parts and one of validation metrics over the epochs, as SVG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        losses, metrics = figure.subplots(1, 2)
        epochs = [record.epoch for record in records]
        for name in records[0].losses:
            losses.plot(epochs, [record.losses[name] for record in records], marker=".", label=name)
        for name in ("hr@10", "ndcg@10", "hr@20", "ndcg@20"):
            metrics.plot(epochs, [record.validation[name] for record in records], marker=".", label=name)
        losses.set(xlabel="epoch", ylabel="loss")
        metrics.set(xlabel="epoch", ylabel="validation, seen items removed", ylim=(0, None))
        for axes in (losses, metrics):
            axes.legend()
        minutes, rate = records[-1].seconds / 60, records[-1].examples_per_s
        figure.suptitle(f"{len(records)} epochs in {minutes:.1f} minutes, {rate:,.0f} examples/s")
        figure.savefig(out, metadata={"Date": None})


def _records(run: Path) -> list[EpochRecord]:
    read_run_config(run)
    if records := read_records(run):
        return records
    raise TrainingError(f"{run} has not finished its first epoch; try again later")


if __name__ == "__main__":
    typer.run(main)
