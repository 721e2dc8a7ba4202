"""A file of answers for many users: CSV, JSON Lines or Parquet, by its suffix."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from files.atomic import replacing
from training.errors import ConfigError

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("rank", pa.int32()),
        ("item_id", pa.string()),
        ("score", pa.float64()),
        ("interest", pa.int32()),
        ("source", pa.string()),
    ]
)
"""Columns of the file; `rank` counts from 1, `interest` is empty where popularity answered."""

Write = Callable[[pa.Table], None]

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_TEXT = (".csv", ".jsonl", ".ndjson")


def check_out(out: Path, events: Sequence[Path]) -> None:
    """Refuse a file that cannot be written, before the work: raises ConfigError with the remedy."""
    suffix, compression = _format(out)
    if suffix not in _TEXT and (suffix, compression) != (".parquet", None):
        raise ConfigError(
            f"--out {out}: the suffix says the format; give .csv, .jsonl (or .ndjson), both also with .gz or"
            " .zst, or .parquet"
        )
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no directory {out.parent}; make it first")
    if out.is_dir():
        raise ConfigError(f"--out {out} is a directory; name a file")
    if out.exists() and any(log.exists() and out.samefile(log) for log in events):
        raise ConfigError(f"--out {out} is a log of --events; name another file")


@contextmanager
def answers_file(out: Path) -> Iterator[Write]:
    """A function that appends rows of `SCHEMA` to `out`, which appears whole when the block ends well."""
    suffix, compression = _format(out)
    with replacing(out) as temporary:
        if suffix == ".parquet":
            with pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
                yield writer.write_table
        else:
            with pa.output_stream(temporary, compression=compression) as stream:
                yield _csv(stream) if suffix == ".csv" else _json_lines(stream)


def _format(out: Path) -> tuple[str, str | None]:
    """The suffix that says the format, in lower case, and the compression of a text file."""
    suffix = out.suffix.lower()
    if suffix in _COMPRESSIONS:
        return out.with_suffix("").suffix.lower(), _COMPRESSIONS[suffix]
    return suffix, None


def _csv(stream: pa.NativeFile) -> Write:
    stream.write(",".join(SCHEMA.names).encode() + b"\n")
    return lambda table: stream.write(pl.DataFrame(table).write_csv(include_header=False).encode())


def _json_lines(stream: pa.NativeFile) -> Write:
    return lambda table: stream.write(pl.DataFrame(table).write_ndjson().encode())
