"""Small synthetic logs with a pattern that a model can learn."""

import numpy as np
import numpy.typing as npt

from index.catalogue import Catalogue
from training.data.dataset import Dataset


def cyclic_dataset(users: int = 50, items: int = 40, length: int = 12, seed: int = 0) -> Dataset:
    """Each user walks the catalogue in order, one item after the other, from a random start."""
    starts = np.random.default_rng(seed).integers(items, size=users)
    return _walks(starts[:, None] + np.arange(length), items)


def forking_dataset(users: int = 300, items: int = 60, length: int = 12, seed: int = 0) -> Dataset:
    """As `cyclic_dataset`, but each step is one of 1, 2, 5 and 9 items wide, each as likely."""
    generator = np.random.default_rng(seed)
    steps = generator.choice([1, 2, 5, 9], size=(users, length))
    return _walks(generator.integers(items, size=(users, 1)) + steps.cumsum(1), items)


def _walks(places: npt.NDArray[np.int64], items: int) -> Dataset:
    """Users who were at `places` `(users, length)` of a catalogue that is a circle."""
    users, length = places.shape
    rows = (places % items + 1).astype(np.int32).ravel()
    catalogue = Catalogue(
        item_ids=[f"item-{row}" for row in range(1, items + 1)],
        titles=[f"Item {row}" for row in range(1, items + 1)],
        categories=[[f"group {row % 5}"] for row in range(1, items + 1)],
        popularity=np.bincount(rows, minlength=items + 1)[1:],
    )
    return Dataset(
        user_ids=[f"user-{user:03}" for user in range(users)],
        items=rows,
        timestamps=np.tile(np.arange(length, dtype=np.int64), users),
        offsets=np.arange(users + 1, dtype=np.int64) * length,
        catalogue=catalogue,
        timestamp_unit="order",
    )
