"""`dimerec import-history`: real logs into a real Redis."""

import asyncio
import csv
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import polars as pl
import pytest
import redis

from cli.main import main
from service.history.meanings import DEFAULT_MEANINGS, Meanings
from service.history.protocol import Event
from service.history.redis import RedisHistory
from tests.redis_server import RedisServer
from training.data.prepare import prepare
from training.data.prepare_options import PrepareOptions

Row = tuple[str, str, int]
START_MS = 1_700_000_000_000


def make_rows(users: int, events: int, seed: int = 0) -> list[Row]:
    """Shuffled rows; no user has two events at the same instant."""
    chance = random.Random(seed)
    rows = [
        (f"user {user}", f"item {chance.randrange(99)}", START_MS + 1000 * instant)
        for user in range(users)
        for instant in chance.sample(range(10 * events), events)
    ]
    chance.shuffle(rows)
    return rows


def write_csv(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("user_id", "item_id", "timestamp"), *rows])
    return path


def expected(rows: list[Row], newest: int) -> dict[str, list[Event]]:
    histories: dict[str, list[Event]] = defaultdict(list)
    for user_id, item_id, timestamp in sorted(rows, key=lambda row: row[2]):
        histories[user_id].append(Event(item_id, timestamp))
    return {user_id: history[-newest:] for user_id, history in histories.items()}


def stored(url: str) -> dict[str, list[Event]]:
    async def read() -> dict[str, list[Event]]:
        store = RedisHistory.from_url(url, timeout_s=30.0)
        histories = {user_id: await store.read(user_id, 10_000) for user_id in await store.users(10_000)}
        await store.close()
        return histories

    return asyncio.run(read())


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["import-history", *arguments])
    output = capsys.readouterr()
    return int(ended.value.code or 0), output.out, output.err


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_everybodys_history_is_imported(
    suffix: str, tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_rows(users=40, events=25)
    path = write_csv(tmp_path / "log.csv", rows)
    if suffix == "parquet":
        path = tmp_path / "log.parquet"
        pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").write_parquet(path)
    code, out, _ = run(capsys, "--events", str(path), "--redis", redis_url)
    assert code == 0
    assert out.startswith("Imported 40 users: 1,000 events added, 0 known already, 0 too old to keep (")
    assert stored(redis_url) == expected(rows, 1_000)
    with redis.Redis.from_url(redis_url) as raw:
        assert all(raw.ttl(key) > 0 for key in raw.keys("dimerec:history:*"))
        assert raw.keys("dimerec:import:*") == []


def test_importing_again_changes_nothing(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_rows(users=5, events=20)
    path = write_csv(tmp_path / "log.csv", rows)
    run(capsys, "--events", str(path), "--redis", redis_url)
    _, out, _ = run(capsys, "--events", str(path), "--redis", redis_url)
    assert out.startswith("Imported 5 users: 0 events added, 100 known already")
    assert stored(redis_url) == expected(rows, 1_000)


def test_what_users_did_not_like_is_imported_as_such(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        ("u", "liked", START_MS, "watch"),
        ("u", "hated", START_MS, "watch"),
        ("u", "hated", START_MS + 1, "hide"),
    ]
    path = tmp_path / "log.parquet"
    columns = ["user_id", "item_id", "timestamp", "event_type"]
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(path)
    log = "--events", str(path), "--redis", redis_url
    run(capsys, *log, "--event-type", "watch")
    code, out, _ = run(capsys, *log, "--event-type", "hide", "--as", "skip")
    assert (code, out.split(":")[0]) == (0, "Imported 1 users")
    kept = stored(redis_url)["u"]
    assert kept[-1] == Event("hated", START_MS + 1, event_type="skip")
    assert Meanings.parse(DEFAULT_MEANINGS).judge(kept) == (["liked"], ["hated"])
    _, out, _ = run(capsys, *log, "--event-type", "hide", "--as", "skip")
    assert "0 events added, 1 known already" in out
    code, _, error = run(capsys, *log, "--as", "skipped")
    assert code == 1
    assert "DIMEREC_EVENT_TYPES names watch, like, skip" in error


def test_an_import_adds_to_what_is_there(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newer = (
        make_rows(users=3, events=10),
        [("user 1", "late", START_MS - 5), ("new", "first", START_MS)],
    )
    for name, rows in (("older", older), ("newer", newer)):
        run(capsys, "--events", str(write_csv(tmp_path / name, rows)), "--redis", redis_url)
    assert stored(redis_url) == expected([*older, *newer], 1_000)


def test_only_the_newest_are_kept(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIMEREC_HISTORY_MAX_EVENTS", "7")
    monkeypatch.setenv("DIMEREC_REDIS_URL", redis_url)
    rows = make_rows(users=4, events=30)
    _, out, _ = run(capsys, "--events", str(write_csv(tmp_path / "log.csv", rows)))
    assert out.startswith("Imported 4 users: 28 events added")
    assert stored(redis_url) == expected(rows, 7)


def test_other_columns_and_seconds(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("who,what,when\n7,50,1700000001\n7,51,1700000000\n,52,1700000000\n7,50,1700000001\n")
    columns = ("--user-column", "who", "--item-column", "what", "--timestamp-column", "when")
    code, _, err = run(capsys, "--events", str(path), "--redis", redis_url, *columns)
    assert code == 0
    assert "left out 1 events: who is missing" in err
    assert stored(redis_url) == {"7": [Event("51", 1_700_000_000_000), Event("50", 1_700_000_001_000)]}


def test_a_log_is_read_as_prepare_read_it(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "who,what,when,kind,part\n"
        + "".join(f"7,{item},{1_700_000_000 + item},watch,train\n" for item in range(50, 54))
        + "7,60,1700000060,skip,train\n7,61,1700000061,watch,later\n-,62,1700000062,watch,train\n"
    )
    options = PrepareOptions(
        user_column="who",
        item_column="what",
        timestamp_column="when",
        event_type_column="kind",
        event_types=("watch",),
        window_column="part",
        missing=("-",),
    )
    prepare(path, None, tmp_path / "data", options)
    arguments = ("--events", str(path), "--redis", redis_url, "--data", str(tmp_path / "data"))
    assert run(capsys, *arguments)[0] == 0
    kept = [*range(50, 54), 61]
    assert stored(redis_url) == {"7": [Event(str(item), (1_700_000_000 + item) * 1000) for item in kept]}
    _, out, err = run(capsys, *arguments, "--event-type", "skip", "--missing", "nobody")
    assert out.startswith("Imported 1 users: 1 events added")
    assert "kind is not skip" in err
    code, _, err = run(capsys, *arguments[:-1], str(tmp_path))
    assert code == 1
    assert "card.json: no such file; name a directory that `dimerec prepare` wrote" in err


def test_other_clocks_are_refused(tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\nu,50,20231114221320\nu,51,20231114221321\n")
    code, _, err = run(capsys, "--events", str(path), "--redis", redis_url)
    assert code == 1
    assert "looks like YYYYMMDDhhmmss" in err
    assert stored(redis_url) == {}


def test_an_import_that_was_killed_goes_on_where_it_was(
    tmp_path: Path, redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_rows(users=100, events=800)
    path = write_csv(tmp_path / "log.csv", rows)
    arguments = ["--events", str(path), "--redis", redis_server.url]
    command = [sys.executable, "-m", "cli.main", "import-history", *arguments]
    with redis.Redis.from_url(redis_server.url) as raw:
        importing = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not raw.keys("dimerec:import:*"):
            assert importing.poll() is None
            time.sleep(0.001)
        redis_server.pause()  # so that the import can't end before it's killed
        importing.kill()
        importing.wait()
        redis_server.resume()
        (marker,) = raw.keys("dimerec:import:*")
        done = int(raw.get(marker) or 0)
        assert 0 < done < 100
        assert raw.ttl(marker) > 0
        code, out, _ = run(capsys, *arguments)
        assert code == 0
        assert out.startswith(f"Imported {100 - done} users, after {done} done earlier: ")
        assert raw.keys("dimerec:import:*") == []
    assert stored(redis_server.url) == expected(rows, 1_000)


def test_ctrl_c_says_how_far_an_import_came(
    tmp_path: Path, redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_rows(users=100, events=800)
    arguments = ["--events", str(write_csv(tmp_path / "log.csv", rows)), "--redis", redis_server.url]
    command = [sys.executable, "-m", "cli.main", "import-history", *arguments]
    with redis.Redis.from_url(redis_server.url) as raw:
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as importing:
            while not raw.keys("dimerec:import:*"):
                assert importing.poll() is None
                time.sleep(0.001)
            redis_server.pause()  # so that the import can't end before it's stopped
            importing.send_signal(signal.SIGINT)
            _, told = importing.communicate(timeout=60)
        redis_server.resume()
        (marker,) = raw.keys("dimerec:import:*")
        done = int(raw.get(marker) or 0)
    assert importing.returncode == 130, told
    said = re.fullmatch(r"dimerec: interrupted; (\d+) of 100 users are imported; give .* from there\n", told)
    assert said is not None, told
    assert int(said[1]) <= done < 100
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    assert json.loads(out).items() >= {"users": 100 - done, "users_done_earlier": done}.items()
    assert stored(redis_server.url) == expected(rows, 1_000)


def test_trouble_is_one_line_with_a_remedy(
    tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = str(write_csv(tmp_path / "log.csv", make_rows(1, 3)))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "nul.csv").write_text("user_id,item_id,timestamp\nu,a\0b,1700000000\n")
    for arguments, message in {
        ("--events", log): "needs a Redis: give --redis URL",
        (
            "--events",
            log,
            "--redis",
            "redis://127.0.0.1:1/0",
        ): "once that is mended, the same command goes on",
        ("--events", log, "--redis", "ftp://u:secret@h"): "must begin with redis://",
        ("--events", log, "--redis", "redis://:s/secret@h"): "percent-encode",
        ("--events", log, "--redis", "redis://h?timeout=5"): "DIMEREC_HISTORY_TIMEOUT_S",
        ("--events", str(tmp_path / "none.csv"), "--redis", redis_url): "no such file",
        ("--events", str(tmp_path / "other.csv"), "--redis", redis_url): "has no column 'user_id'",
        ("--events", str(tmp_path / "nul.csv"), "--redis", redis_url): "item_id has control characters",
    }.items():
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (1, "")
        assert message in err
        assert "secret" not in err
        assert err.count("\n") == 1
