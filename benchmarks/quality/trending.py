"""Popularity with recent events beside that of the log alone, for what users watch next.

The log up to a moment is what a bundle was trained on, and popularity its counts; from then on each event is
first predicted, for a user of whom nothing is known but what not to answer with, and then counted with a
half-life, as `engine.popularity` blends it in.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer
from numpy.typing import NDArray

from training.data.movielens import fetch_movielens_100k

K = 20
"""Of HR@k: the demo's screen, about."""
PRIORS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
"""Recent events that the log counts as, to choose from."""
DAY_S = 86_400
"""Of 24 hours."""


@dataclass(frozen=True)
class Log:
    """Events by time: users and items from 0, and seconds."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    times_s: NDArray[np.int64]


def read_log(path: Path, time: str, unit_s: float) -> Log:
    """The events of a CSV or Parquet file, whose column `time` counts units of `unit_s`."""
    frame = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
    codes = [
        np.unique(frame[name].cast(pl.String).to_numpy(), return_inverse=True)[1]
        for name in ("user_id", "item_id")
    ]
    times = (frame[time].to_numpy() * unit_s).astype(np.int64)
    order = np.argsort(times, kind="stable")
    return Log(codes[0][order], codes[1][order], times[order])


def hit_rate(log: Log, cut: int, half_life_s: float, prior: float | None, every: int) -> float:
    """HR@K of every `every`-th event after the first `cut`; `prior` None: of the log's popularity alone."""
    items = int(log.items.max()) + 1
    shares = np.bincount(log.items[:cut], minlength=items) / cut
    recent, landmark = np.zeros(items), int(log.times_s[cut])
    seen: dict[int, set[int]] = {}
    hits = asked = 0
    for index, (user, item, moment) in enumerate(
        zip(log.users.tolist(), log.items.tolist(), log.times_s.tolist(), strict=True)
    ):
        watched = seen.setdefault(user, set())
        if index >= cut:
            passed = (moment - landmark) / half_life_s
            if passed > 1:
                recent, landmark, passed = recent * 2.0**-passed, moment, 0.0
            if index % every == 0:
                scores = shares if prior is None else prior * shares + recent * 2.0**-passed
                better = scores > scores[item]
                hits += int(np.count_nonzero(better) - np.count_nonzero(better[list(watched)])) < K
                asked += 1
            recent[item] += 2.0**passed
        watched.add(item)
    return hits / asked


def main(
    shared: Annotated[Path, typer.Option(help="Directory of the Parquet files of public data.")],
    half_life_days: Annotated[float, typer.Option(help="Of an event.")] = 3.0,
) -> None:
    """Print HR@20 on MovieLens-100K and -1M, from half of the log on and from four fifths."""
    logs = {
        "movielens-100k": (read_log(fetch_movielens_100k(Path(".quality"))[0], "timestamp", 1), 1),
        "movielens-1m": (read_log(shared / "movielens-1m-file-order.parquet", "time", 1), 10),
    }
    print("log, part learned", "log alone", *PRIORS, sep=" | ")
    for name, (log, every) in logs.items():
        for part in (0.5, 0.8):
            cut = int(part * len(log.items))
            rates = [hit_rate(log, cut, half_life_days * DAY_S, prior, every) for prior in (None, *PRIORS)]
            print(f"{name}, {part}", *(f"{rate:.4f}" for rate in rates), sep=" | ", flush=True)


if __name__ == "__main__":
    typer.run(main)
