"""`dimerec catalogue`: changes of a running service."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from cli import service_calls
from tests.cli.conftest import Run
from tests.factories import publish_tiny_bundle
from tests.service.serving import KEY, Running, running, settings_for


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    publish_tiny_bundle(tmp_path / "bundles")
    monkeypatch.setenv("DIMEREC_KEY", KEY)
    with running(settings_for(tmp_path / "bundles")) as server:
        yield server


def test_what_is_imported_is_listed_until_it_is_removed(
    dimerec: Run, server: Running, tmp_path: Path
) -> None:
    path = tmp_path / "new.jsonl"
    lines = [{"item_id": f"v/{number}", "title": "New", "from": {"like": ["1001"]}} for number in range(1001)]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    done = dimerec("catalogue", "import", "--items", path, "--url", server.url)
    assert done.out.strip() == "1001 put, 0 refused"
    assert dimerec("catalogue", "remove", "v/0", "1005", "--url", f"{server.url}/").code == 0
    listed = dimerec("catalogue", "list", "--source", "overlay", "--json", "--url", server.url)
    assert len(json.loads(listed.out)) == 1000
    shown = dimerec("catalogue", "list", "--source", "removed", "--url", server.url).out
    assert "1005" in shown
    assert "v/0" in shown


def test_a_line_that_is_refused_is_named_and_spoils_no_other(
    dimerec: Run, server: Running, tmp_path: Path
) -> None:
    path = tmp_path / "new.jsonl"
    path.write_text(
        '{"item_id": "a", "from": {"like": ["unknown"]}}\n{"item_id": "b", "from": {"like": ["1001"]}}'
    )
    done = dimerec("catalogue", "import", "--items", path, "--url", server.url)
    assert (done.code, done.out.strip()) == (1, "1 put, 1 refused")
    assert f"{path} line 1: from.like" in done.err
    path.write_text("{")
    done = dimerec("catalogue", "import", "--items", path, "--url", server.url)
    assert done.code == 1
    assert "line 1 is no JSON" in done.err


def test_a_file_of_long_lines_is_sent_in_bodies_that_the_service_reads(
    dimerec: Run, server: Running, tmp_path: Path
) -> None:
    path = tmp_path / "long.jsonl"
    lines = [
        {"item_id": f"v{number}", "title": "é" * 1000, "from": {"like": ["1001"]}} for number in range(400)
    ]
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    done = dimerec("catalogue", "import", "--items", path, "--url", server.url)
    assert (done.code, done.out.strip()) == (0, "400 put, 0 refused")


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (b"\xff\xfe", "is not UTF-8"),
        ('{"item_id": "ü"}'.encode("latin-1"), "is not UTF-8"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_in_one_line(
    dimerec: Run, server: Running, tmp_path: Path, bad: bytes, fault: str
) -> None:
    path = tmp_path / "new.jsonl"
    good = [b'{"item_id": "v%d", "from": {"like": ["1001"]}}' % number for number in range(1001)]
    path.write_bytes(b"\n".join([*good, b"", bad]))
    done = dimerec("catalogue", "import", "--items", path, "--url", server.url)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert f"{path} line 1003 {fault}" in done.err
    assert "1000 put, 0 refused" in done.err


def test_an_import_that_is_interrupted_says_what_was_put(
    dimerec: Run, server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new.jsonl"
    lines = [{"item_id": f"v{number}", "from": {"like": ["1001"]}} for number in range(1001)]
    path.write_text("\n".join(map(json.dumps, lines)))
    calls = 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return urlopen(*arguments, **options)

    monkeypatch.setattr(service_calls, "urlopen", interrupted)
    done = dimerec("catalogue", "import", "--items", path, "--url", server.url)
    assert (done.code, done.err.count("\n")) == (130, 1)
    assert "interrupted; 1000 put, 0 refused" in done.err


def test_a_service_that_refuses_or_is_none_is_told(
    dimerec: Run, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIMEREC_KEY", "dimerec_wrong")
    done = dimerec("catalogue", "remove", "a", "--url", server.url)
    assert (done.code, "answers 401" in done.err, done.err.count("\n")) == (1, True, 1)
    for url in ("http://127.0.0.1:1", "file:///etc", "nothing", "http://"):
        done = dimerec("catalogue", "remove", "a", "--url", url)
        assert (done.code, done.err.count("\n")) == (1, 1), done.err
