"""SASRec of RecTools as a recipe of the benchmark."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from benchmarks.external.exchange import (
    ANSWERS_FILE,
    SPLIT_FILE,
    Arrays,
    ExternalProcess,
    ExternalRecord,
    list_scorer,
)
from training.benchmark.recipe import Budget, Fitted, Variant
from training.data.dataset import Dataset
from training.data.splits import Split
from training.evaluation.reranking import POOL

_RECORDS = TypeAdapter(list[ExternalRecord])


@dataclass(frozen=True)
class RecToolsSASRec:
    """RecTools' SASRec with the sampled softmax of eSASRec (Tikhonovich et al., RecSys 2025).

    Its batches are of users, with the newest events of each; negatives are drawn for every position. It
    chooses its epoch as our networks do.
    """

    package: str = "rectools 0.19.0"
    dim: int = 64
    blocks: int = 2
    heads: int = 2
    max_length: int = 50
    dropout: float = 0.2
    loss: str = "sampled_softmax"
    negatives: int = 256
    batch_size: int = 128
    learning_rate: float = 1e-3
    monitor: str = "ndcg@10"
    epochs: int = 200
    """More than our networks need: a step is a batch of many users, so a small log has few an epoch."""
    patience: int = 10
    k: int = POOL
    """Length of the lists that it is asked for."""

    @property
    def settings(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)

    def settings_of(self, seed: int) -> dict[str, Any]:
        """The settings of a fit, for the process that makes it."""
        return {**self.settings, "seed": seed, "threads": torch.get_num_threads()}

    def fit(self, dataset: Dataset, split: Split, budget: Budget) -> Fitted:
        """Have it train in its own process; a fit that was killed starts anew."""
        path = budget.directory / ANSWERS_FILE
        if not path.exists():
            self._train(split, budget)
        with np.load(path, allow_pickle=False) as file:
            answers: Arrays = dict(file)
        best = max(_RECORDS.validate_json(str(answers["records"])), key=self._monitored)
        scorer = list_scorer(split, len(dataset.catalogue), answers)
        return Fitted(
            (Variant(scorer, ms_per_user=float(answers["ms_per_user"])),),
            train_s=best.seconds,
            epochs=best.epoch,
        )

    def _train(self, split: Split, budget: Budget) -> None:
        records: list[ExternalRecord] = []
        with ExternalProcess(split, self.settings_of(budget.seed), budget.directory) as external:
            while not self._finished(records, budget.minutes):
                budget.observer.epoch_started(len(records) + 1, 1)
                record = external.epoch()
                improved = not records or self._monitored(record) > max(map(self._monitored, records))
                records.append(record)
                budget.observer.epoch_done(record, improved)
            external.finish()
        (budget.directory / SPLIT_FILE).unlink()

    def _finished(self, records: list[ExternalRecord], minutes: float | None) -> bool:
        if not records:
            return False
        best = max(records, key=self._monitored)
        spent = minutes is not None and records[-1].seconds >= 60 * minutes
        return spent or len(records) >= self.epochs or len(records) - best.epoch >= self.patience

    def _monitored(self, record: ExternalRecord) -> float:
        return record.validation[self.monitor]
