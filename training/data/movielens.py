"""Fetching MovieLens-100K for the demo and the tests.

The data of GroupLens (research use, no redistribution) lies in a wheel on the package index: pip downloads
the wheel, its checksum is verified, two tables are read out of it. The package is neither installed nor
imported, and the data never enters this repository.
"""

import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import polars as pl

from files.atomic import replacing
from training.errors import DownloadError

EVENTS_FILE = "movielens-100k-events.csv"
ITEMS_FILE = "movielens-100k-items.csv"

_REQUIREMENT = "recbole==1.2.1"
_WHEEL = "recbole-1.2.1-py3-none-any.whl"
_WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
_FOLDER_IN_WHEEL = "recbole/dataset_example/ml-100k"
_TIMEOUT_S = 300
"""Of 2 MB from a package index; then the network is at fault, and pip says so."""

_ARTICLE_LAST = re.compile(r"([^()]+), (The|An|A|L'|La|Les|Le|Il|Das|Der|Die|Det|O)(?= \(|\)|$)")


def fetch_movielens_100k(cache: Path) -> tuple[Path, Path]:
    """An event log and an items file of MovieLens-100K as CSV, fetching them into `cache` if need be.

    Events: `user_id, item_id, timestamp` (seconds), `weight` (the rating, 1 … 5). Items: `item_id, title`
    (with the year), `category` (genres separated by `|`), `year`. Raises DownloadError where the wheel cannot
    be had or is not the one expected.
    """
    events, items = cache / EVENTS_FILE, cache / ITEMS_FILE
    if events.exists() and items.exists():
        return events, items
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as directory:
        wheel = _download(Path(directory))
        with zipfile.ZipFile(wheel) as archive:
            event_rows = _read(archive, f"{_FOLDER_IN_WHEEL}/ml-100k.inter")
            item_rows = _read(archive, f"{_FOLDER_IN_WHEEL}/ml-100k.item")
    for path, table in ((items, _items(item_rows)), (events, _events(event_rows))):
        with replacing(path) as temporary:
            table.write_csv(temporary)
    return events, items


def _download(directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(directory), _REQUIREMENT]
    remedy = "check the network and pip's index settings, then run this again"
    try:
        pip = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise DownloadError(f"pip did not fetch {_REQUIREMENT} within {_TIMEOUT_S} s; {remedy}") from error
    wheel = directory / _WHEEL
    if pip.returncode != 0 or not wheel.exists():
        lines = pip.stderr.strip().splitlines() or [f"exit code {pip.returncode}"]
        reason = next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1])
        raise DownloadError(f"pip could not fetch {_REQUIREMENT} ({reason}); {remedy}")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != _WHEEL_SHA256:
        raise DownloadError(
            f"{_WHEEL} has the checksum {found} and not the expected {_WHEEL_SHA256}; "
            "do not use it, and check where pip fetches packages from"
        )
    return wheel


def _read(archive: zipfile.ZipFile, name: str) -> pl.DataFrame:
    """A tab-separated table whose header says `name:type`, all columns as strings."""
    table = pl.read_csv(io.BytesIO(archive.read(name)), separator="\t", quote_char=None, infer_schema=False)
    return table.rename(lambda column: column.partition(":")[0])


def _events(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("user_id", "item_id", "timestamp", pl.col("rating").alias("weight"))


def _items(rows: pl.DataFrame) -> pl.DataFrame:
    titled = zip(rows["movie_title"], rows["release_year"], strict=True)
    return pl.DataFrame(
        {
            "item_id": rows["item_id"],
            "title": [pleasant_title(title, year) for title, year in titled],
            "category": rows["class"].str.replace("unknown", "").str.replace_all(" ", "|"),
            "year": rows["release_year"].str.extract(r"^(\d{4})$"),
        }
    )


def pleasant_title(title: str, year: str) -> str:
    """`Usual Suspects, The` and `1995` as `The Usual Suspects (1995)`; a year that is none is left out."""
    if title == "unkonwn":
        return "Unknown"
    natural = _ARTICLE_LAST.sub(_article_first, title)
    return f"{natural} ({year})" if re.fullmatch(r"\d{4}", year) else natural


def _article_first(match: re.Match[str]) -> str:
    name, article = match.groups()
    return f"{article}{name}" if article.endswith("'") else f"{article} {name}"
