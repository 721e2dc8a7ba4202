"""Keeping the records that `prepare` left out, so that somebody can look at them or mend them."""

from collections.abc import Callable, Iterable
from pathlib import Path

import polars as pl

from files.atomic import replacing
from training.data.reading.table import Table
from training.errors import ConfigError

_WRITERS: dict[str, Callable[[pl.DataFrame, Path], None]] = {
    ".csv": lambda frame, path: frame.write_csv(path, quote_style="non_numeric"),
    ".jsonl": lambda frame, path: frame.write_ndjson(path),
    ".ndjson": lambda frame, path: frame.write_ndjson(path),
    ".parquet": lambda frame, path: frame.write_parquet(path),
}


def check_rejects(path: Path) -> None:
    """Raise ConfigError where `path` cannot be written, before the work."""
    if path.suffix not in _WRITERS:
        raise ConfigError(
            f"--rejects {path}: the suffix names the format, so end it in {', '.join(_WRITERS)}"
        )
    if not path.parent.is_dir():
        raise ConfigError(f"--rejects {path}: there is no directory {path.parent}; make it first")
    if path.is_dir():
        raise ConfigError(f"--rejects {path} is a directory; name a file")


def refuse_sources(path: Path, tables: Iterable[Table]) -> None:
    """Raise ConfigError where `path` is one of the files that are read."""
    if any(table.reads(path) for table in tables):
        raise ConfigError(f"--rejects {path} is one of the files to read; name another")


def write_rejects(path: Path, left_out: Iterable[tuple[Table, pl.DataFrame]]) -> None:
    """Write each record that was left out, atomically: `file`, `line`, `reason` and `record`.

    `left_out` has for each table the `origin` and `reason` of records; `line` and `record` are those of
    `Table.texts`.
    """
    parts = [
        table.texts(reasons["origin"].to_numpy())
        .join(reasons, on="origin")
        .sort("origin")
        .select("file", "line", "reason", "record")
        for table, reasons in left_out
    ]
    with replacing(path) as temporary:
        _WRITERS[path.suffix](pl.concat(parts), temporary)
