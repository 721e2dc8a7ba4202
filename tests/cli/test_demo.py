"""`dimerec demo` before it starts its minutes of work."""

import socket
from pathlib import Path

import pytest

from cli.demo import service_settings
from service.settings import Settings
from tests.cli.conftest import Run


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
    assert Settings(_env_file=None).console_writes is (variable == "true")  # type: ignore[call-arg]
