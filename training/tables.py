"""Opening the caller's tables (Parquet or delimited text) lazily, and telling what is wrong with them."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from training.errors import DataError

_TEXT = (pl.String, pl.Categorical, pl.Enum, pl.Null)
_LISTED_COLUMNS = 12
"""Most columns that an error message names."""
_HEADER_BYTES = 65_536
_PARQUET_MAGIC = b"PAR1"
_GZIP_MAGIC = b"\x1f\x8b"


def scan_table(path: Path) -> pl.LazyFrame:
    """Open a Parquet file, or comma-, semicolon- or tab-separated text (gzip allowed), not reading its rows.

    The content decides, not the name. Every column of a text file is a string, so that the id `007` keeps its
    zeros whatever stands in the other rows. Raises DataError if there is no such file or it is neither.
    """
    if path.is_dir():
        raise DataError(f"{path} is a directory; name one file (Parquet, CSV or TSV, gzip allowed)")
    with explaining(path):
        with path.open("rb") as file:
            magic = file.read(4)
        if not magic:
            raise DataError(f"{path} is empty; it needs a header line and rows")
        if magic == _PARQUET_MAGIC:
            return pl.scan_parquet(path)
        if path.suffix == ".parquet":
            raise DataError(f"{path} is not a Parquet file; write it as Parquet or name a CSV file")
        separator = _separator(_header(path, compressed=magic.startswith(_GZIP_MAGIC)))
        return pl.scan_csv(path, separator=separator, infer_schema=False)


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn what a reader of `path` raises into a DataError: one line with a remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; convert it, e.g. iconv -f latin1 -t utf-8") from error
    except (PolarsError, PanicException) as error:
        raise DataError(f"{path}: {_remedy(str(error))}") from error
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file; fetch or compress it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def require_columns(path: Path, schema: pl.Schema, columns: dict[str, str]) -> None:
    """Raise DataError unless every wanted column is in `schema`; `columns` maps each to its option's name."""
    for column, option in columns.items():
        if column not in schema:
            there = ", ".join(repr(name) for name in schema.names()[:_LISTED_COLUMNS])
            raise DataError(
                f"{path} has no column {column!r}, only {there}; name the right one with {option}"
            )


def text_expression(path: Path, schema: pl.Schema, column: str) -> pl.Expr:
    """Ids and names as strings, the empty one as null; raises DataError unless text or integers."""
    dtype = schema[column]
    if not (dtype.is_integer() or isinstance(dtype, _TEXT)):
        raise DataError(f"{path}: column {column!r} is {dtype}; it must hold strings or integers, cast it")
    text = pl.col(column).cast(pl.String)
    return pl.when(text != "").then(text)


def number_expression(path: Path, schema: pl.Schema, column: str) -> pl.Expr:
    """Numbers as float64, null where it is none; raises DataError for other types than numbers and text."""
    dtype = schema[column]
    if isinstance(dtype, _TEXT):
        return pl.col(column).cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    if not dtype.is_numeric():
        raise DataError(f"{path}: column {column!r} is {dtype}; it must hold numbers, cast it")
    return pl.col(column).cast(pl.Float64)


def time_expression(path: Path, schema: pl.Schema, column: str) -> pl.Expr:
    """Timestamps as float64 in the column's own unit; dates in milliseconds since the epoch."""
    if isinstance(schema[column], pl.Date | pl.Datetime):
        return pl.col(column).cast(pl.Datetime("ms")).dt.epoch("ms").cast(pl.Float64)
    return number_expression(path, schema, column)


def _header(path: Path, *, compressed: bool) -> str:
    with gzip.open(path) if compressed else path.open("rb") as file:
        return file.read(_HEADER_BYTES).partition(b"\n")[0].decode("utf-8-sig")


def _separator(header: str) -> str:
    return next((separator for separator in "\t,;" if separator in header), ",")


def _remedy(message: str) -> str:
    """What to do about an error of Polars, whose own messages speak of its parameters."""
    if "utf-8" in message.lower() or "utf8" in message.lower():
        return "not UTF-8 text; convert it, e.g. iconv -f latin1 -t utf-8"
    if "more fields than" in message:
        return "a row has more fields than the header; quote fields that hold the separator"
    if "could not parse" in message:
        return "a quote is opened and never closed; double the quotes inside of fields"
    if "empty CSV" in message:
        return "the file is empty; it needs a header line and rows"
    if "parquet" in message.lower():
        return f"damaged Parquet file ({' '.join(message.split())}); write it again"
    return " ".join(message.split())
