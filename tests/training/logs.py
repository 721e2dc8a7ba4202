"""Small synthetic logs with a pattern that a model can learn."""

import numpy as np

from index.catalogue import Catalogue
from training.dataset import Dataset


def cyclic_dataset(users: int = 50, items: int = 40, length: int = 12, seed: int = 0) -> Dataset:
    """Each user walks the catalogue in order, one item after the other, from a random start."""
    generator = np.random.default_rng(seed)
    starts = generator.integers(items, size=users)
    walks = (starts[:, None] + np.arange(length)) % items + 1
    rows = walks.astype(np.int32).ravel()
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
