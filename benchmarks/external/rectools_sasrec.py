"""SASRec of RecTools on an exported split; runs in the environment of `requirements.txt` beside it.

    python rectools_sasrec.py split.npz settings.json answers.npz

Each line on standard input asks for one more epoch, and is answered by a line of JSON once it is trained
and validated. The end of the input asks for the lists of the best epoch, which are written whole.
`exchange.py` is the other side of this, and says what the files hold. Nothing of this project can be
imported here.
"""

import json
import logging
import sys
import time
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import LambdaCallback
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

Lists = npt.NDArray[np.int32]
"""`(histories, k)` items, best first; 0 where there are no more."""


class Part:
    """Histories, each under a number of its own, and the items that followed them."""

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], name: str) -> None:
        self.targets = arrays[f"{name}_targets"]
        self.histories = _dataset(arrays[f"{name}_items"], arrays[f"{name}_offsets"])

    def lists(self, model: Any, k: int, *, exclude_seen: bool) -> Lists:
        """Lists of the model; nothing to a history of which it knows no item."""
        users = np.arange(len(self.targets))
        found = model.recommend(
            users=users,
            dataset=self.histories,
            k=k,
            filter_viewed=exclude_seen,
            on_unsupported_targets="ignore",
        )
        lists = np.zeros((len(users), k), np.int32)
        lists[found[Columns.User], found[Columns.Rank] - 1] = found[Columns.Item]
        return lists

    def metrics(self, model: Any) -> dict[str, float]:
        """HR@k and NDCG@k with seen items removed."""
        hits = self.lists(model, 20, exclude_seen=True) == self.targets[:, None]
        gains = hits / np.log2(np.arange(20) + 2)
        sums = {"hr": hits, "ndcg": gains}
        return {f"{name}@{k}": float(of[:, :k].sum(1).mean()) for name, of in sums.items() for k in (10, 20)}


class Training:
    """A model, and the best that it has been."""

    def __init__(self, settings: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> None:
        self.settings = settings
        self.dataset = _dataset(arrays["train_items"], arrays["train_offsets"])
        lengths = np.diff(arrays["train_offsets"]).clip(max=settings["max_length"] + 1)
        self.examples = int(np.maximum(lengths - 1, 0).sum())
        self.validation = Part(arrays, "validation")
        self.clock: dict[str, float] = {}
        self.records: list[dict[str, Any]] = []
        self.best: dict[str, torch.Tensor] = {}
        seed_everything(settings["seed"])
        self.model = self._model()

    def epoch(self) -> dict[str, Any]:
        """Train and validate once more; the weights are kept if none were better."""
        self.model.fit_partial(self.dataset, min_epochs=1, max_epochs=1)
        trained = self.clock["end"] - self.clock["start"]
        loss = float(self.model.fit_trainer.callback_metrics["train_loss"])
        started = time.monotonic()
        validation = self.validation.metrics(self.model)
        spent = trained + time.monotonic() - started
        monitor = self.settings["monitor"]
        if validation[monitor] > max((record["validation"][monitor] for record in self.records), default=-1):
            self.best = deepcopy(self.model.torch_model.state_dict())
        self.records.append(
            {
                "epoch": len(self.records) + 1,
                "losses": {"total": loss},
                "validation": validation,
                "examples": self.examples,
                "examples_per_s": self.examples / trained,
                "seconds": spent + (self.records[-1]["seconds"] if self.records else 0.0),
            }
        )
        return self.records[-1]

    def answers(self, arrays: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """The lists of the best epoch, with and without seen items, and how they came to be."""
        self.model.torch_model.load_state_dict(self.best)
        answers: dict[str, npt.NDArray[Any]] = {}
        seconds, asked = 0.0, 0
        k = self.settings["k"]
        for name in ("validation", "test"):
            part = Part(arrays, name)
            started = time.monotonic()
            for exclude_seen, kind in ((True, "removed"), (False, "kept")):
                answers[f"{name}_{kind}"] = part.lists(self.model, k, exclude_seen=exclude_seen)
                asked += len(part.targets)
            seconds += time.monotonic() - started
        answers["records"] = np.array(json.dumps(self.records))
        answers["ms_per_user"] = np.array(1000 * seconds / asked)
        return answers

    def _model(self) -> Any:
        settings = self.settings
        return SASRecModel(
            n_factors=settings["dim"],
            n_blocks=settings["blocks"],
            n_heads=settings["heads"],
            session_max_len=settings["max_length"],
            dropout_rate=settings["dropout"],
            loss=settings["loss"],
            n_negatives=settings["negatives"],
            batch_size=settings["batch_size"],
            lr=settings["learning_rate"],
            get_trainer_func=self._trainer,
        )

    def _trainer(self) -> Any:
        clock = self.clock  # a closure's variables survive that RecTools copies the trainer deeply
        watch = LambdaCallback(
            on_train_epoch_start=lambda *_: clock.update(start=time.monotonic()),
            on_train_epoch_end=lambda *_: clock.update(end=time.monotonic()),
        )
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        return Trainer(
            max_epochs=1, accelerator="cpu", devices=1, enable_checkpointing=False, callbacks=[watch], **quiet
        )


def _dataset(items: npt.NDArray[Any], offsets: npt.NDArray[Any]) -> Any:
    """Sequences as RecTools reads them; only the order of the times counts."""
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    columns = {Columns.User: users, Columns.Item: items, Columns.Weight: 1.0}
    return Dataset.construct(pd.DataFrame(columns | {Columns.Datetime: np.arange(len(items))}))


def main(split: Path, settings: Path, out: Path) -> None:
    """Train as long as lines come in."""
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with np.load(split, allow_pickle=False) as file:
        arrays = dict(file)
    values = json.loads(settings.read_text())
    torch.set_num_threads(values["threads"])
    training = Training(values, arrays)
    for _ in sys.stdin:
        print(json.dumps(training.epoch()), flush=True)
    answers = training.answers(arrays)
    unfinished = out.with_suffix(".unfinished.npz")
    np.savez_compressed(unfinished, allow_pickle=False, **answers)
    unfinished.replace(out)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
