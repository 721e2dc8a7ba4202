"""`dimerec demo` before it starts its minutes of work."""

import socket
from pathlib import Path

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
