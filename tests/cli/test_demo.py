"""`dimerec demo` before it starts its minutes of work."""

import socket
from pathlib import Path

import pytest

from cli.demo import service_settings
from service.settings import Settings
from tests.cli.conftest import Run
from tests.factories import publish_tiny_bundle


def test_a_taken_port_is_told_before_anything_is_fetched(dimerec: Run, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = dimerec("demo", "--directory", tmp_path / "demo", "--port", port)
    assert done.code == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "demo").exists()


def test_an_unknown_host_is_told_in_one_line(dimerec: Run, tmp_path: Path) -> None:
    done = dimerec("demo", "--directory", tmp_path / "demo", "--host", "nowhere.invalid")
    assert done.code == 1
    assert "no such host" in done.err
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(("variable", "writes"), [(None, True), ("false", False), ("true", True)])
def test_the_console_may_write_in_the_demo_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None, writes: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIMEREC_CONSOLE_WRITES", raising=False)
    if variable is not None:
        monkeypatch.setenv("DIMEREC_CONSOLE_WRITES", variable)
    assert service_settings(tmp_path, None, "127.0.0.1", 8000).console_writes is writes
    assert Settings(_env_file=None).console_writes is (variable == "true")


def test_a_first_start_does_nothing_where_a_bundle_is_published(dimerec: Run, tmp_path: Path) -> None:
    version = publish_tiny_bundle(tmp_path / "bundles")
    done = dimerec(
        "demo", "--directory", tmp_path, "--prepare-only", "--redis", "redis://nowhere.invalid:1/0"
    )
    assert (done.code, done.out) == (
        0,
        f"{version} is published under {tmp_path / 'bundles'}; there is nothing to do.\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["bundles"]


def test_a_first_start_refuses_a_damaged_bundle(dimerec: Run, tmp_path: Path) -> None:
    version = publish_tiny_bundle(tmp_path / "bundles")
    (tmp_path / "bundles" / version / "index.faiss").write_bytes(b"")
    done = dimerec("demo", "--directory", tmp_path, "--prepare-only")
    assert done.code == 1
    assert f"{version}/index.faiss has 0 bytes" in done.err


def test_a_first_start_gives_no_films_to_the_users_of_another_log(
    dimerec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,timestamp\nanna,v1,1700000000\n")
    monkeypatch.setenv("DIMEREC_REDIS_URL", redis_url)
    assert dimerec("import-history", "--events", log).code == 0
    done = dimerec("demo", "--directory", tmp_path / "demo", "--prepare-only")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "Redis has histories, but no bundle is published" in done.err
    assert not (tmp_path / "demo").exists()
