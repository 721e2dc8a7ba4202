"""Random prepared data for property tests: users of any length, repeats, items without events."""

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from index.catalogue import Catalogue
from training.data.dataset import Dataset

CATEGORIES = ("action", "comedy", "drama", "war")


def random_dataset(generator: np.random.Generator, lengths: npt.NDArray[np.int64], items: int) -> Dataset:
    """Users with `lengths` events on uniformly drawn items; real time, with ties; random windows."""
    rows = generator.integers(1, items + 1, size=lengths.sum()).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    users = np.repeat(np.arange(len(lengths)), lengths)
    timestamps = generator.integers(0, 50, size=len(rows))
    windows = generator.integers(0, 3, size=len(rows)).astype(np.int8)
    names = [
        generator.choice(CATEGORIES, size=generator.integers(0, 4), replace=False).tolist()
        for _ in range(items)
    ]
    return Dataset(
        user_ids=[f"user-{user:03}" for user in range(len(lengths))],
        items=rows,
        timestamps=timestamps[np.lexsort((timestamps, users))],
        offsets=offsets,
        catalogue=Catalogue(
            [f"item-{row}" for row in range(1, items + 1)],
            [None] * items,
            names,
            np.bincount(rows, minlength=items + 1)[1:],
        ),
        timestamp_unit="s",
        windows=windows[np.lexsort((windows, users))],
    )


@st.composite
def datasets(draw: st.DrawFn, min_users: int = 1, max_events: int = 9) -> Dataset:
    """Small random data sets."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    lengths = draw(st.lists(st.integers(1, max_events), min_size=min_users, max_size=min_users + 20))
    return random_dataset(generator, np.array(lengths), items=draw(st.integers(1, 15)))
