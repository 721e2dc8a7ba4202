"""Real logs: what is in them is known, and simple recommenders reach what they are known to reach."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from index.eligibility import Eligibility
from index.filters import Combined, Condition
from training.baselines.item_knn import ItemKNN
from training.baselines.popularity import Popularity
from training.data.data_card import DataCard
from training.data.dataset import Dataset, read_dataset
from training.data.movielens import fetch_movielens_100k, pleasant_title
from training.data.prepare import prepare
from training.data.prepare_options import PrepareOptions
from training.data.splits import by_time, by_window, leave_one_out
from training.errors import DownloadError
from training.evaluation.ranking import evaluate


@pytest.fixture(scope="module")
def movielens(
    movielens_100k: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[DataCard, Dataset]:
    out = tmp_path_factory.mktemp("movielens")
    return prepare(*movielens_100k, out), read_dataset(out)


def test_movielens_is_whole(movielens: tuple[DataCard, Dataset]) -> None:
    card, _ = movielens
    assert (card.users, card.items, card.events, card.rows) == (943, 1682, 100_000, 100_000)
    assert (card.dropped, card.repeats, card.timestamp_unit) == ([], 0, "s")
    assert (card.lengths["min"], card.lengths["max"], card.popularity["max"]) == (20, 737, 583)
    assert (card.categories, card.items_without_title, card.items_without_category) == (18, 0, 2)


def test_movielens_reads_well(movielens: tuple[DataCard, Dataset]) -> None:
    _, dataset = movielens
    catalogue = dataset.catalogue
    row = catalogue.row("50")
    assert row == 1
    assert (catalogue.title(row), catalogue.popularity[0]) == ("Star Wars (1977)", 583)
    assert catalogue.category(row) == ("Action", "Adventure", "Romance", "Sci-Fi", "War")
    titles = dict(zip(catalogue.item_ids, catalogue.titles, strict=True))
    assert titles["12"] == "The Usual Suspects (1995)"
    assert titles["1005"] == "La Double vie de Véronique (The Double Life of Veronique) (1991)"
    assert titles["1535"] == "L'Enfer (1994)"
    assert titles["267"] == "Unknown"


def test_movielens_histories_are_those_of_the_file(
    movielens: tuple[DataCard, Dataset], movielens_100k: tuple[Path, Path]
) -> None:
    _, dataset = movielens
    events = pl.read_csv(movielens_100k[0])
    for user_id in ("1", "196", "943"):
        user = dataset.user_ids.index(user_id)
        mine = events.filter(pl.col("user_id") == int(user_id))
        ids = [int(dataset.catalogue.item_id(int(row))) for row in dataset.history(user)]
        times = dataset.timestamps[dataset.offsets[user] : dataset.offsets[user + 1]] // 1000
        assert times.tolist() == sorted(mine["timestamp"])
        assert set(zip(ids, times.tolist(), strict=True)) == set(
            mine.select("item_id", "timestamp").iter_rows()
        )


def test_fetching_again_fetches_nothing(
    movielens_100k: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    assert fetch_movielens_100k(movielens_100k[0].parent) == movielens_100k


def test_no_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    with pytest.raises(
        DownloadError, match=r"^pip could not fetch recbole==1.2.1 \(ERROR: .*\); check"
    ) as caught:
        fetch_movielens_100k(tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_another_wheel_of_that_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\nwhile [ "$1" != --dest ]; do shift; done\necho no > "$2/recbole-1.2.1-py3-none-any.whl"\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    with pytest.raises(DownloadError, match=r"checksum .* not the expected"):
        fetch_movielens_100k(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("title", "year", "pleasant"),
    [
        ("Usual Suspects, The", "1995", "The Usual Suspects (1995)"),
        ("Good, The Bad and The Ugly, The", "1966", "The Good, The Bad and The Ugly (1966)"),
        ("Star Maker, The (Uomo delle stelle, L')", "1995", "The Star Maker (L'Uomo delle stelle) (1995)"),
        ("Bye Bye, Love", "1995", "Bye Bye, Love (1995)"),
        ("Paris, France", "1993", "Paris, France (1993)"),
        ("Land Before Time III (1995)", "V", "Land Before Time III (1995)"),
    ],
)
def test_pleasant_titles(title: str, year: str, pleasant: str) -> None:
    assert pleasant_title(title, year) == pleasant


def test_baselines_on_movielens(movielens: tuple[DataCard, Dataset]) -> None:
    _, dataset = movielens
    split = leave_one_out(dataset)
    assert (len(split.train.items), len(split.validation), len(split.test)) == (98_114, 943, 943)
    items = len(dataset.catalogue)
    popularity = evaluate(Popularity(split.train, items), split.test, exclude_seen=True).metrics
    neighbours = evaluate(ItemKNN.tuned(split, items), split.test, exclude_seen=True).metrics
    assert 0.06 < popularity["hr@10"] < 0.10
    assert 0.15 < neighbours["hr@10"] < 0.22
    assert neighbours["ndcg@10"] > 2 * popularity["ndcg@10"]


def test_movielens_by_time(movielens: tuple[DataCard, Dataset]) -> None:
    _, dataset = movielens
    split = by_time(dataset)
    assert np.count_nonzero(np.diff(split.train.offsets)) == 754
    assert (len(np.unique(split.validation.users)), len(np.unique(split.test.users))) == (94, 95)
    ends = dataset.timestamps[dataset.offsets[1:] - 1]
    trained = np.diff(split.train.offsets) > 0
    assert ends[trained].max() <= ends[split.validation.users].min()
    assert ends[split.validation.users].max() <= ends[split.test.users].min()


def test_amazon_beauty_keeps_its_published_targets(
    public_data: Callable[[str], Path], tmp_path: Path
) -> None:
    path = public_data("amazon-beauty.parquet")
    card = prepare(path, None, tmp_path)
    assert (card.users, card.items, card.events, card.timestamp_unit) == (22_363, 12_101, 198_502, "order")
    dataset = read_dataset(tmp_path)
    last = pl.read_parquet(path).sort("timestamp").group_by("user_id", maintain_order=True).last()
    published = dict(last.select("user_id", "item_id").iter_rows())
    test = leave_one_out(dataset).test
    found = {
        dataset.user_ids[user]: dataset.catalogue.item_id(int(item))
        for user, item in zip(test.users, test.items, strict=True)
    }
    assert found == published


def test_kuairand_has_windows_categories_attributes_and_cold_items(
    public_data: Callable[[str], Path], tmp_path: Path
) -> None:
    events, items = public_data("kuairand-pure.parquet"), public_data("kuairand-pure-items.parquet")
    types = {"author_id": "text", "duration_ms": "number", "upload_date": "date", "music_id": "text"}
    options = PrepareOptions.model_validate({"window_column": "window", "attributes": types})
    card = prepare(events, items, tmp_path, options)
    assert (card.users, card.items, card.events) == (21_081, 6_802, 447_025)
    assert card.items_file is not None
    assert (card.items_file.without_events, card.items_file.unlisted) == (781, 0)
    dataset = read_dataset(tmp_path)
    catalogue = dataset.catalogue
    listed = pl.read_parquet(items).filter(pl.col("item_id").is_in(catalogue.item_ids))
    short = listed.filter(pl.col("duration_ms").is_between(10_000, 60_000, closed="left"))
    new = short.filter(pl.col("upload_date") >= "2022-04-10")
    length = Condition("duration_ms", at_least=10_000, below=60_000)
    where = Combined("all_of", (length, Condition("upload_date", at_least="2022-04-10")))
    eligible = Eligibility(catalogue).of(None, where).rows.tolist()
    assert {catalogue.item_id(row) for row in eligible} == set(new["item_id"])
    split = by_window(dataset)
    frame = pl.read_parquet(events)
    assert len(split.train.items) == frame.filter(pl.col("window") == "train").height
    windows = frame.group_by("user_id").agg(pl.col("window").unique())["window"].to_list()
    assert len(split.test) == sum("test" in of_user and len(of_user) > 1 for of_user in windows)
    assert len(split.validation) == sum({"train", "validation"} <= set(of_user) for of_user in windows)
