"""Whichever command reads a log, it reads the same histories."""

import random
from collections.abc import Iterable
from pathlib import Path

import httpx
import polars as pl
import pytest

from tests.cli.conftest import Run
from tests.factories import publish_tiny_bundle
from tests.service.processes import process
from tests.service.serving import running, settings_for
from training.data.dataset import read_dataset

USERS = [f"u{user}" for user in (3, 20, 100, 7, 11, 1)]
INSTANTS, EVENTS_AN_INSTANT = 3, 12

Answers = dict[str, tuple[list[str], list[str]]]
"""What a user has seen, oldest first, and what is recommended to them."""


@pytest.fixture
def tied_log(tmp_path: Path) -> Path:
    """Every user watched a dozen items in each of a few seconds."""
    chance = random.Random(4)
    rows = [
        (user, str(1001 + item), 1_700_000_000 + instant)
        for user in USERS
        for instant in range(INSTANTS)
        for item in chance.sample(range(200), EVENTS_AN_INSTANT)
    ]
    chance.shuffle(rows)
    path = tmp_path / "log.csv"
    pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row").write_csv(path)
    return path


def answers_of(client: httpx.Client) -> Answers:
    return {
        user: (
            ids(client.get(f"/users/{user}/history").json()["events"]),
            ids(client.post("/recommend", json={"user_id": user, "k": 12}).json()["items"]),
        )
        for user in USERS
    }


def ids(items: Iterable[dict[str, str]]) -> list[str]:
    return [item["item_id"] for item in items]


@pytest.mark.parametrize("max_events", [1000, 15])
def test_the_log_prepared_data_and_redis_give_the_same_answers(
    max_events: int,
    dimerec: Run,
    tied_log: Path,
    tmp_path: Path,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIMEREC_HISTORY_MAX_EVENTS", str(max_events))
    root, data, out = tmp_path / "bundles", tmp_path / "data", tmp_path / "recommendations.parquet"
    publish_tiny_bundle(root)
    assert dimerec("prepare", "--events", tied_log, "--out", data).code == 0
    assert dimerec("import-history", "--events", tied_log, "--redis", redis_url).code == 0
    done = dimerec("recommend", "--bundles", root, "--events", tied_log, "-k", 12, "--out", out)
    assert done.code == 0, done.err

    with (
        process(
            tmp_path, "--bundles", root, "--history", data, DIMEREC_HISTORY_MAX_EVENTS=str(max_events)
        ) as served,
        httpx.Client(base_url=served.url) as client,
    ):
        prepared = answers_of(client)
    with running(settings_for(root, redis_url=redis_url)) as service:
        imported = answers_of(service.client)
    assert {len(seen) for seen, _ in prepared.values()} == {min(max_events, INSTANTS * EVENTS_AN_INSTANT)}
    assert imported == prepared
    table = pl.read_parquet(out).sort("rank")
    offline = {user: table.filter(user_id=user)["item_id"].to_list() for user in USERS}
    assert offline == {user: recommended for user, (_, recommended) in prepared.items()}


def test_every_command_that_reads_a_log_takes_the_same_options(
    dimerec: Run, tied_log: Path, tmp_path: Path, redis_url: str
) -> None:
    root, plain, dirty = tmp_path / "bundles", tmp_path / "plain.parquet", tmp_path / "dirty.parquet"
    publish_tiny_bundle(root)
    wanted = pl.read_csv(tied_log).select(
        pl.lit("watch").alias("kind"),
        pl.lit(4).alias("stars"),
        pl.col("user_id").alias("who"),
        pl.col("item_id").alias("what"),
        pl.col("timestamp").alias("when"),
    )
    unwanted = [wanted.with_columns(kind=pl.lit("skip")), wanted.with_columns(stars=pl.lit(3))]
    other = tmp_path / "other.csv"
    pl.concat([*(frame.with_columns(when=pl.col("when") + 1) for frame in unwanted), wanted]).write_csv(other)
    options = (
        *("--user-column", "who", "--item-column", "what", "--timestamp-column", "when"),
        *("--timestamp-unit", "s", "--event-type-column", "kind", "--event-type", "watch"),
        *("--event-type", "like", "--weight-column", "stars", "--min-weight", 4),
    )
    for log, given, out in ((tied_log, (), plain), (other, options, dirty)):
        done = dimerec("recommend", "--bundles", root, "--events", log, *given, "--out", out)
        assert done.code == 0, done.err
        imported = dimerec("import-history", "--events", log, *given, "--redis", redis_url)
        assert imported.code == 0, imported.err
        assert dimerec("prepare", "--events", log, *given, "--out", log.with_suffix("")).code == 0
    assert pl.read_parquet(dirty).equals(pl.read_parquet(plain))
    events = len(USERS) * INSTANTS * EVENTS_AN_INSTANT
    assert f"0 events added, {events} known already" in imported.out
    found, expected = (read_dataset(log.with_suffix("")) for log in (other, tied_log))
    assert found.fingerprint == expected.fingerprint
    alone = ("recommend", "--bundles", root, "--user", "u7")
    assert dimerec(*alone, "--events", other, *options).out == dimerec(*alone, "--events", tied_log).out
