"""`dimerec catalogue export` and `import` of what it wrote: of a running service, and by file."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from service.catalogue.protocol import Contents, Entry
from service.catalogue.sqlite import FILE, SqliteLog
from service.catalogue.view import write_view
from tests.cli.conftest import Run
from tests.factories import publish_tiny_bundle
from tests.service.serving import AUTHORIZED, KEY, Running, running, settings_for

Serve = Callable[[str], Running]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serve the directory of this name, and all others until the end of the test."""
    monkeypatch.setenv("DIMEREC_KEY", KEY)
    with ExitStack() as servers:

        def begin(name: str) -> Running:
            server = servers.enter_context(running(settings_for(root(tmp_path, name))))
            server.client.headers.update(AUTHORIZED)
            return server

        yield begin


def root(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    if not path.exists():
        publish_tiny_bundle(path)
    return path


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def change(server: Running) -> str:
    """Every kind of entry, and 250 more; the version of the bundle."""
    client = server.client
    version: str = client.get("/version").json()["model_version"]
    vector = {"vector": [1 / 3] * 16, "model_version": version}
    client.put("/items/given", json={"title": "Ü/1", "from": vector, "available_until": 4_000_000_000_000})
    client.put("/items/alike", json={"categories": ["Comedy", "New"], "from": {"like": ["1001", "nobody"]}})
    client.put("/items/alike", json={"title": "Renamed", "categories": ["New"]})
    client.put("/items/1002", json={"title": "Changed"})
    client.put("/items/gone", json={"from": {"like": ["1003"]}})
    for item_id in ("gone", "1004", "not yet"):
        assert client.delete(f"/items/{item_id}").status_code == 200
    many = [{"item_id": f"v-{number}", "from": {"like": ["1001"]}} for number in range(250)]
    assert client.post("/items", json={"items": many}).status_code == 200
    return version


def test_an_export_has_every_entry_with_its_recipe(dimerec: Run, serve: Serve, tmp_path: Path) -> None:
    server, path = serve("one"), tmp_path / "changes.jsonl"
    version = change(server)
    done = dimerec("catalogue", "export", "--output", path, "--url", server.url)
    assert done.out.strip() == f"256 items, 3 of them removed, up to change 258 → {path}"
    header, *entries = lines_of(path)
    assert header["passed_ms"] > 0
    assert header | {"passed_ms": 0} == {
        "format": "dimerec-catalogue-1",
        "sequence": 258,
        "passed_ms": 0,
        "entries": 256,
    }
    assert [entry["sequence"] for entry in entries] == sorted(entry["sequence"] for entry in entries)
    by_id = {entry["item_id"]: entry for entry in entries}
    assert by_id["given"]["origin"]["given"] == {
        "type": "vector",
        "values": [1 / 3] * 16,
        "model_version": version,
    }
    assert by_id["given"]["description"] == {
        "title": "Ü/1",
        "categories": [],
        "available_from": None,
        "available_until": 4_000_000_000_000,
        "attributes": {},
    }
    assert by_id["alike"]["origin"]["given"] == {"type": "like", "item_ids": ["1001", "nobody"]}
    assert by_id["alike"]["origin"]["of_categories"] == ["Comedy", "New"]
    assert (by_id["alike"]["sequence"], by_id["alike"]["origin_sequence"]) == (3, 2)
    assert [by_id[name]["removed"] for name in ("gone", "1004", "not yet", "alike")] == [
        True,
        True,
        True,
        False,
    ]


def test_an_import_restores_an_export_by_either_way_however_often(
    dimerec: Run, serve: Serve, tmp_path: Path
) -> None:
    server, path, again = serve("one"), tmp_path / "changes.jsonl", tmp_path / "again.jsonl"
    change(server)
    dimerec("catalogue", "export", "--output", path, "--url", server.url)
    other = serve("two")
    for _ in range(2):
        done = dimerec("catalogue", "import", "--items", path, "--url", other.url)

        assert (done.code, done.out.strip()) == (0, "256 items restored, but for those with a newer change")
        dimerec("catalogue", "export", "--output", again, "--url", other.url)
        assert lines_of(again)[1:] == lines_of(path)[1:]
        assert lines_of(again)[0]["sequence"] == 258
    assert other.client.get("/items/1004").json()["source"] == "removed"
    by_file = root(tmp_path, "three")
    for _ in range(2):
        assert dimerec("catalogue", "import", "--items", path, "--bundles", by_file).code == 0
        dimerec("catalogue", "export", "--output", again, "--bundles", by_file)
        assert lines_of(again)[1:] == lines_of(path)[1:]
    third = serve("three")
    assert third.client.get("/items/gone").json()["source"] == "removed"
    assert third.client.put("/items/new", json={"from": {"like": ["1001"]}}).json()["sequence"] == 259


def test_an_old_export_brings_back_nothing_that_was_changed_since(
    dimerec: Run, serve: Serve, tmp_path: Path
) -> None:
    server, path = serve("one"), tmp_path / "changes.jsonl"
    server.client.put("/items/a", json={"title": "Old", "from": {"like": ["1001"]}})
    server.client.put("/items/b", json={"title": "Old", "from": {"like": ["1001"]}})
    dimerec("catalogue", "export", "--output", path, "--url", server.url)
    server.client.delete("/items/a")
    server.client.put("/items/b", json={"title": "New"})
    assert dimerec("catalogue", "import", "--items", path, "--url", server.url).code == 0
    assert server.client.get("/items/a").json()["source"] == "removed"
    assert server.client.get("/items/b").json()["title"] == "New"


def test_files_that_a_service_holds_are_left_to_it(dimerec: Run, serve: Serve, tmp_path: Path) -> None:
    serve("one")  # it has changed nothing yet
    held, path = root(tmp_path, "one"), tmp_path / "changes.jsonl"
    for done in (
        dimerec("catalogue", "export", "--output", path, "--bundles", held),
        dimerec("catalogue", "remove", "a", "--bundles", held),
    ):
        assert (done.code, "another process keeps the changes" in done.err) == (1, True)
        assert "--url" in done.err
    assert not path.exists()


def test_what_is_removed_by_file_is_removed_in_the_service_that_starts_then(
    dimerec: Run, serve: Serve, tmp_path: Path
) -> None:
    assert dimerec("catalogue", "remove", "1001", "--bundles", root(tmp_path, "one")).code == 0
    assert serve("one").client.get("/items/1001").json()["source"] == "removed"
    done = dimerec("catalogue", "remove", "", "--bundles", root(tmp_path, "two"))
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert not (tmp_path / "two" / FILE).exists()


def test_removing_by_file_reads_no_entry_and_spoils_no_file_of_another_format(
    dimerec: Run, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = root(tmp_path, "one")
    assert dimerec("catalogue", "remove", "1001", "--bundles", bundles).code == 0
    with monkeypatch.context() as meanwhile:
        meanwhile.delattr(SqliteLog, "read")
        assert dimerec("catalogue", "remove", "1002", "1003", "--bundles", bundles).code == 0
    with sqlite3.connect(bundles / FILE) as sql:
        sql.execute("UPDATE facts SET value = 99 WHERE name = 'format'")
    done = dimerec("catalogue", "remove", "1004", "--bundles", bundles)
    assert (done.code, done.err.count("\n"), "its format is 99" in done.err) == (1, 1, True)
    with sqlite3.connect(bundles / FILE) as sql:
        sql.execute("UPDATE facts SET value = 2 WHERE name = 'format'")
    removed = serve("one").client.get("/items", params={"source": "removed"}).json()["items"]
    assert [(one["item_id"], one["sequence"]) for one in removed] == [("1001", 1), ("1002", 2), ("1003", 3)]


def test_what_is_no_export_of_this_format_is_refused_in_a_line(dimerec: Run, tmp_path: Path) -> None:
    path, bundles = tmp_path / "changes.jsonl", root(tmp_path, "one")
    header = '{"format": "dimerec-catalogue-1", "sequence": 3, "passed_ms": 0, "entries": 1}'
    entry = '{"item_id": "a", "sequence": 3, "removed": true}'
    for content, fault in (
        (header.replace("-1", "-9"), "has the format dimerec-catalogue-9"),
        (header, "has 0 of 1 items"),
        (header.replace('"sequence": 3, ', ""), "line 1 cannot be read"),
        (f"{header}\n{entry[:20]}", "line 2 is no entry"),
        (f"{header}\n{entry}\n{entry.replace('3', 'true')}", "line 3 is no entry"),
        (header + "\n" + entry.replace('"a"', '""'), "line 2: item_id: "),
        (header + "\n" + entry.replace("3", str(2**70)), "line 2"),
        (f"{header}\n{entry}\n\xff", "line 3 is no entry"),
        (entry, "is no export"),
    ):
        path.write_text(content, encoding="latin-1")
        done = dimerec("catalogue", "import", "--items", path, "--bundles", bundles)
        assert (done.code, done.err.count("\n")) == (1, 1), content
        assert f"{path} {fault}" in done.err
    assert not (bundles / FILE).exists()


def test_a_log_is_named_once_and_is_there(dimerec: Run, tmp_path: Path) -> None:
    path, bundles = tmp_path / "changes.jsonl", root(tmp_path, "one")
    for options, fault in (
        (("--url", "http://127.0.0.1:1", "--bundles", bundles), "leave out one of them"),
        (("--bundles", tmp_path / "none"), "is no directory of bundles"),
    ):
        done = dimerec("catalogue", "export", "--output", path, *options)
        assert (done.code, fault in done.err) == (1, True)


def test_changes_that_are_kept_in_redis_are_not_looked_for_in_files(dimerec: Run, tmp_path: Path) -> None:
    bundles = root(tmp_path, "one")
    write_view(bundles, Contents([Entry("a", 1, removed=True)]))
    done = dimerec("catalogue", "export", "--output", tmp_path / "out", "--bundles", bundles)
    assert (done.code, "kept in Redis" in done.err) == (1, True)
