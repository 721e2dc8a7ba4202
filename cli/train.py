"""`dimerec train`: learn a model from prepared data."""

from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cli.bars import Bars
from cli.interrupts import interruptible
from cli.output import Json, print_json
from training.config import TrainingConfig, read_config
from training.data.dataset import read_dataset
from training.fitting import Fitted, fit
from training.log_recipe import described
from training.refit import REFIT_DIRECTORY, refit
from training.run import EpochRecord, read_records
from training.trainer import Outcome, train
from training.warm_start import Initial


def command(
    data: Annotated[Path, typer.Option(help="Directory that `dimerec prepare` wrote.")] = Path("data"),
    out: Annotated[Path, typer.Option(help="Run directory; an unfinished run in it is resumed.")] = Path(
        "runs/latest"
    ),
    config: Annotated[Path | None, typer.Option(help="TOML file; default: every key's default.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; repeatable.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Start from the bundle in service under this root (warm start).")
    ] = None,
    refitted: Annotated[
        bool,
        typer.Option(
            "--refit",
            help="Then train anew on all events, those held out too, for as many epochs as led to the best."
            " `publish` takes that model; what is measured is of the run before it, which may be an old one.",
        ),
    ] = False,
    show_config: Annotated[bool, typer.Option("--show-config", help="List every key and exit.")] = False,
    as_json: Json = False,
) -> None:
    """Train a DimeRec model; stop early, keep the best epoch, resume after a crash.

    For example:

    - `dimerec train --data data --out runs/first`

    - `dimerec train --data data --out runs/wide --set model.dim=256 --set epochs=20`

    - `dimerec train --data data --out runs/second --init bundles` (new catalogue, old knowledge)

    - `dimerec train --data data --out runs/first --refit` (for production: the newest events, too)

    Keys that nobody set follow the size of the log; what was chosen is said first, and any of it can be set:
    `dimerec train --show-config` lists them. Stop it at any time, with Ctrl-C or otherwise, and give the same
    command again: it goes on from the last whole epoch.
    """
    settings = read_config(config, overrides or [])
    if show_config:
        show(settings, as_json=as_json)
        return
    dataset = read_dataset(data)
    initial = None if init is None else Initial.in_service(init)
    fitted = fit(settings, dataset, initial)
    typer.echo(_recipe(fitted), err=as_json)
    with (
        interruptible(lambda: _kept(out)),
        TrainingProgress(Console(stderr=as_json), fitted.config) as observer,
    ):
        outcome = train(dataset, fitted.config, out, observer, initial)
        if refitted:
            observer.refit_started(outcome.best.epoch, len(dataset.items))
            refit(dataset, out, observer, initial)
    report(outcome, fitted.config, out, refitted=refitted, as_json=as_json)


def _recipe(fitted: Fitted) -> str:
    """Two lines: what nobody chose and what chose it, and how to choose otherwise."""
    chosen = ", ".join(f"{key}={_toml(value)}" for key, value in fitted.chosen.items())
    other = "large" if fitted.config.recipe == "small" else "small"
    return (
        f"{fitted.reason}: {chosen or 'every key of it is set'}\n"
        f"Override any key with --set KEY=VALUE, all of them with --set recipe={other}."
    )


def report(outcome: Outcome, config: TrainingConfig, out: Path, *, refitted: bool, as_json: bool) -> None:
    """Say how a run ended."""
    best = outcome.best
    if as_json:
        document = {"run": out, "epochs": outcome.epochs, "reason": outcome.reason, "best": best}
        print_json(document | {"refit": {"epochs": best.epoch} if refitted else None})
        return
    typer.echo(
        f"Stopped after epoch {outcome.epochs}: {outcome.reason}. Best: epoch {best.epoch},"
        f" {config.monitor} {best.validation[config.monitor]:.4f} → {out}"
    )
    if refitted:
        typer.echo(f"Refitted on all events, up to epoch {best.epoch} → {out / REFIT_DIRECTORY}")


def _kept(out: Path) -> str:
    """Of an interrupted run."""
    records = read_records(out)
    if not records:
        return f"no epoch was finished, so that nothing is kept in {out}"
    again = read_records(out / REFIT_DIRECTORY)
    of_refit = f", of its refit up to epoch {again[-1].epoch}" if again else ""
    return (
        f"kept up to epoch {records[-1].epoch} in {out}{of_refit};"
        " give the same command again to go on from there"
    )


def show(config: TrainingConfig, *, as_json: bool) -> None:
    """Print every key with its value and what it means, as TOML; as JSON without the meaning."""
    if as_json:
        print_json(config)
        return
    lines, open_keys = [], config.open_keys
    sections = [("", config), ("model", config.model), ("serving", config.serving)]
    for name, section in sections:
        lines += ["", f"[{name}]"] if name else []
        for key, field in type(section).model_fields.items():
            value = getattr(section, key)
            if not isinstance(value, BaseModel):
                path = f"{name}.{key}" if name else key
                unset = value is None or path in open_keys
                setting = f"# {key} =" if unset else f"{key} = {_toml(value)}"
                where_unset = described(path, None if field.default_factory else field.default)
                follows = where_unset and f"; unset: {where_unset}"
                is_choice = get_origin(field.annotation) is Literal
                choices = f"; one of {', '.join(get_args(field.annotation))}" if is_choice else ""
                lines.append(f"{setting:<40}# {field.description}{follows}{choices}")
    typer.echo("\n".join(lines))


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | int | float) else f'"{value}"'


class TrainingProgress(Bars):
    """A bar for the epoch under way and a line for every one that is over."""

    def __init__(self, console: Console, config: TrainingConfig) -> None:
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        super().__init__(console, progress)
        self.epochs = config.epochs
        self.task: TaskID | None = None

    def refit_started(self, epochs: int, events: int) -> None:
        """Say that what follows is the refit."""
        self.epochs = epochs
        self.console.print(f"Refit on all {events:,} events, up to epoch {epochs}", highlight=False)

    def epoch_started(self, epoch: int, examples: int) -> None:
        """Start a bar over the epoch's examples."""
        description = f"epoch {epoch}/{self.epochs}"
        self.task = self.progress.add_task(description, total=examples, loss="")

    def batch_done(self, examples: int, losses: dict[str, float] | None) -> None:
        """Move the bar; show the losses where they are given."""
        if self.task is not None:
            self.progress.advance(self.task, examples)
            if losses is not None:
                self.progress.update(self.task, loss=_losses(losses))

    def epoch_done(self, record: EpochRecord, improved: bool) -> None:
        """Replace the bar by a line."""
        if self.task is not None:
            self.progress.remove_task(self.task)
        shown = "  ".join(
            f"{name} {record.validation[name]:.4f}" for name in ("hr@10", "ndcg@10") if record.validation
        )
        self.console.print(
            f"epoch {record.epoch:>3}  {_losses(record.losses)}{shown and f'  validation {shown}'}"
            f"  {record.examples_per_s:,.0f} examples/s  {record.seconds:.0f} s{'  *' if improved else ''}",
            highlight=False,
            soft_wrap=True,
        )


def _losses(losses: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
