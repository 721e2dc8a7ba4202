"""Numbers that say what an item is like: of the words of its title, or of the columns of a file."""

import re
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

from index.catalogue import Catalogue

INPUTS = 256
"""Numbers of a title: the words of MovieLens-100K's titles are 2,500, most of them in one title."""
MIN_ITEMS = 2
"""Items that have a value, from which it has a number: what one item has says nothing of another."""


def title_content(catalogue: Catalogue, *, years: bool) -> dict[str, list[float]]:
    """The words of each title, without the digits unless `years`, each counted in one of `INPUTS` numbers."""
    pattern = re.compile(r"\w+" if years else r"[^\W\d]+")

    def counts(title: str | None) -> list[float]:
        codes = [zlib.crc32(word.encode()) % INPUTS for word in pattern.findall((title or "").lower())]
        return np.bincount(codes, minlength=INPUTS).astype(np.float64).tolist()  # type: ignore[no-any-return]

    return {item: counts(title) for item, title in zip(catalogue.item_ids, catalogue.titles, strict=True)}


def column_content(path: Path) -> dict[str, list[float]]:
    """The columns of a Parquet file but `item_id` and `category`: 1 for each value that an item has, else 0.

    Fractional numbers count by powers of two. The categories are no content: they are known without.
    """
    table = pl.read_parquet(path)
    columns = [name for name in table.columns if name not in ("item_id", "category")]
    powers = [
        pl.col(name).log(2).floor() if table.schema[name].is_float() else pl.col(name) for name in columns
    ]
    values = [
        [(name, value) for name, value in zip(columns, row, strict=True) if value is not None]
        for row in table.select(powers).iter_rows()
    ]
    items = Counter(value for row in values for value in row)
    column = {value: index for index, value in enumerate(v for v, n in items.items() if n >= MIN_ITEMS)}
    content = {}
    for item, row in zip(table["item_id"].to_list(), values, strict=True):
        numbers = [0.0] * len(column)
        for value in row:
            if value in column:
                numbers[column[value]] = 1.0
        content[item] = numbers
    return content
