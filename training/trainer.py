"""The training loop: epochs over prefix batches, validation after each, the best model kept."""

import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from torch import Generator, Tensor, nn

from index.catalogue import Catalogue
from model.batch import PrefixBatch
from model.device import find_device
from training.batches import PrefixBatches
from training.config import Optimisation, resolve
from training.data.dataset import Dataset
from training.data.splits import SPLITS, Split
from training.errors import ConfigError, TrainingError
from training.evaluation.ranking import evaluate
from training.learner import Losses
from training.log_recipe import LogSize
from training.run import (
    BEST_FILE,
    Config,
    EpochRecord,
    Progress,
    RunConfig,
    alone_in,
    best_record,
    open_run,
    read_progress,
    write_progress,
    write_records,
)
from training.warm_start import Initial, copy_weights

_FINITE_CHECK_STEPS = 50
"""Steps between looks at the loss: each look waits for the device; two seconds apart on MovieLens-100K."""


class Observer(Protocol):
    """Who watches a run: the command line's progress bar, or a test."""

    def epoch_started(self, epoch: int, examples: int) -> None:
        """An epoch of `examples` prefixes begins."""

    def batch_done(self, examples: int, losses: dict[str, float] | None) -> None:
        """A step is over; `losses` are running means, given now and then."""

    def epoch_done(self, record: EpochRecord, improved: bool) -> None:
        """An epoch is over, validated and saved."""


@dataclass(frozen=True)
class Outcome:
    """The end of a run."""

    best: EpochRecord
    epochs: int
    reason: str


def train(
    dataset: Dataset,
    config: Optimisation,
    out: Path,
    observer: Observer,
    initial: Initial | None = None,
) -> Outcome:
    """Train on the data set's split into the run directory `out`, or resume the run found there.

    `initial` warm-starts a fresh run from an older model. Raises ConfigError where `out` holds another
    run, TrainingError where the loss stops being a number, or another process trains in `out`.
    """
    split = SPLITS[config.split](dataset)
    if not len(split.validation):
        raise TrainingError(f"the split {config.split} leaves nothing to validate on: give more events")
    if not PrefixBatches(split.train, 1, 1).examples:
        raise TrainingError(
            f"the split {config.split} leaves no user two events to learn from: prepare longer histories"
            " (with leave-one-out at least four events)"
        )
    config = resolve(
        config,
        LogSize.of(split.train, len(dataset.catalogue)),
        None if initial is None else initial.model.config,
    )
    run: RunConfig[Optimisation] = RunConfig(
        training=config,
        data_fingerprint=dataset.fingerprint,
        initial_version=None if initial is None else initial.version,
    )
    with alone_in(out):
        return Trainer.opened(run, split, dataset.catalogue, out, initial).run(observer)


class Trainer:
    """One run in memory."""

    def __init__(self, config: Optimisation, split: Split, catalogue: Catalogue, out: Path) -> None:
        self.config = config
        self.validation = split.validation.sample(config.validation_targets, np.random.default_rng(0))
        self.catalogue = catalogue
        self.out = out
        self.device = choose_device(config.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.learner = config.learner(len(catalogue))
        self.model = self.learner.network.to(self.device)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.model, config.weight_decay), lr=config.learning_rate, fused=True
        )
        self.batches = PrefixBatches(split.train, config.batch_size, self.learner.max_length)
        self.generator = Generator(self.device)
        self.records: list[EpochRecord] = []
        self.steps = 0

    @classmethod
    def opened(
        cls, run: RunConfig[Config], split: Split, catalogue: Catalogue, out: Path, initial: Initial | None
    ) -> Self:
        """The run in `out` as far as it got, else a fresh one: from `initial`, or from what the log says.

        Raises ConfigError where `out` holds another run.
        """
        resumed = open_run(out, run)
        trainer = cls(run.training, split, catalogue, out)
        if resumed:
            trainer.resume()
        elif initial is not None:
            copy_weights(initial, trainer.model, catalogue)
        else:
            trainer.learner.begin(split.train)
        return trainer

    def resume(self) -> None:
        """Take up the run where its last whole epoch left it."""
        progress = read_progress(self.out, self.optimizer.state_dict()["param_groups"])
        self.model.load_state_dict(progress.model)
        self.optimizer.load_state_dict(progress.optimizer)
        self.records = progress.records
        write_records(self.out, self.records)  # a kill may have come between the two files
        steps = [int(entry["step"]) for entry in progress.optimizer["state"].values()]
        self.steps = max(steps, default=0)

    def run(self, observer: Observer) -> Outcome:
        """Train until the epochs, the minutes or the patience are used up."""
        while (reason := self._finished()) is None:
            record = self.epoch(observer)
            improved = self._monitored(record) > max(map(self._monitored, self.records), default=-1.0)
            if improved:
                self.learner.write(self.out / BEST_FILE)
            self.keep(record)
            observer.epoch_done(record, improved)
        return Outcome(self._best(), len(self.records), reason)

    def keep(self, record: EpochRecord) -> None:
        """Write how far the run is after the epoch of `record`."""
        self.records.append(record)
        state = Progress(self.model.state_dict(), self.optimizer.state_dict(), self.records)
        write_progress(self.out, state)

    def _finished(self) -> str | None:
        if not self.records:
            return None
        done, config = self.records[-1], self.config
        if done.epoch - self._best().epoch >= config.patience:
            return f"no better {config.monitor} in {config.patience} epochs"
        if done.epoch >= config.epochs:
            return f"all {config.epochs} epochs done"
        if config.minutes is not None and done.seconds >= 60 * config.minutes:
            return f"{config.minutes:g} minutes used up"
        return None

    def epoch(self, observer: Observer) -> EpochRecord:
        """Train for the next epoch and validate; nothing is written before `keep`."""
        epoch = len(self.records) + 1
        observer.epoch_started(epoch, self.batches.examples)
        started = time.monotonic()
        before = self.records[-1].seconds if self.records else 0.0
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            # A function of (seed, epoch) alone: a resumed run repeats what an undisturbed one does.
            seed = int(np.random.SeedSequence([self.config.seed, epoch]).generate_state(1, np.uint64)[0] >> 1)
            torch.manual_seed(seed)
            self.generator.manual_seed(seed)
            losses = self._pass(epoch, np.random.default_rng(seed), observer)
        trained = time.monotonic() - started
        validation = self._validate()
        return EpochRecord(
            epoch=epoch,
            losses=losses,
            validation=validation,
            examples_per_s=self.batches.examples / trained,
            seconds=before + time.monotonic() - started,
            card=torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None,
        )

    def _pass(self, epoch: int, random: np.random.Generator, observer: Observer) -> dict[str, float]:
        self.model.train()
        means = _RunningMeans()
        for number, batch in enumerate(self.batches.epoch(random)):
            losses = self._step(batch.to(self.device))
            size = len(batch.targets)
            means.add(losses, size)
            observer.batch_done(size, means.read(epoch) if number % _FINITE_CHECK_STEPS == 0 else None)
        return means.read(epoch)

    def _step(self, batch: PrefixBatch) -> Losses:
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        with self._autocast():
            losses = self.learner.loss(batch, self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return losses

    def _learning_rate(self) -> float:
        config = self.config
        rate = config.learning_rate * min(1.0, self.steps / max(config.warmup_steps, 1))
        if config.learning_rate_decay == "none":
            return rate
        all_steps = planned_epochs(config, self.records) * self.batches.examples / config.batch_size
        return rate * (1 + math.cos(math.pi * min(1.0, self.steps / all_steps))) / 2

    def _autocast(self) -> AbstractContextManager[object]:
        if self.config.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def _validate(self) -> dict[str, float]:
        if not len(self.validation):
            return {}
        self.model.eval()
        evaluation = evaluate(self.learner.scorer(), self.validation, self.catalogue, exclude_seen=True)
        return evaluation.metrics

    def _monitored(self, record: EpochRecord) -> float:
        return record.validation[self.config.monitor]

    def _best(self) -> EpochRecord:
        return best_record(self.records, self.config.monitor)


def planned_epochs(config: Optimisation, records: list[EpochRecord]) -> int:
    """The number of epochs that there will be, so far as the minutes and the epochs up to now tell."""
    if config.minutes is None or not records:
        return config.epochs
    seconds = records[-1].seconds / len(records)
    return min(config.epochs, math.ceil(60 * config.minutes / seconds))


def choose_device(wanted: str) -> torch.device:
    """The device a configuration names; `auto` is CUDA where there is one.

    Raises ConfigError where the device is not there.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return find_device(wanted)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Embedding tables are not decayed: rare rows would wear off or, where normalised, learn faster."""
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    held = {id(weight) for weight in tables}
    others = [weight for weight in model.parameters() if id(weight) not in held]
    return [{"params": tables, "weight_decay": 0.0}, {"params": others, "weight_decay": weight_decay}]


class _RunningMeans:
    """Means of an epoch's losses per example, on the device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._examples = 0

    def add(self, losses: Losses, examples: int) -> None:
        for name, loss in losses._asdict().items():
            added = loss.detach() * examples
            self._sums[name] = self._sums[name] + added if name in self._sums else added
        self._examples += examples

    def read(self, epoch: int) -> dict[str, float]:
        values = torch.stack(list(self._sums.values())) / self._examples
        means: dict[str, float] = dict(zip(self._sums, values.tolist(), strict=True))
        if not math.isfinite(means["total"]):
            raise TrainingError(
                f"the loss is no longer a number in epoch {epoch}; lower learning_rate"
                f" (the best model so far is kept in {BEST_FILE})"
            )
        return means
