"""`dimerec serve` where it does not come to serving: its help, and starts that are refused."""

import os
import socket
from pathlib import Path

import pytest

from service.settings import Settings
from tests.cli.conftest import Finished, Run


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but a test's own, from the environment or from a `.env`."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("DIMEREC_")]:
        monkeypatch.delenv(name)


def line(refused: Finished) -> str:
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    return refused.err


def test_help_teaches(dimerec: Run) -> None:
    shown = dimerec("serve", "--help").out
    assert all(
        f"--{option}" in shown for option in ("bundles", "redis", "history", "host", "port", "workers")
    )
    assert all(part in shown for part in ("curl", "/recommend", "DIMEREC_", "reload"))


@pytest.mark.parametrize("option", ["", "?decode_responses=true"])
def test_a_bad_redis_address_is_refused_without_being_shown(
    dimerec: Run, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("DIMEREC_REDIS_URL", f"redis://:hunter2@cache/zero{option}")
    said = line(dimerec("serve"))
    assert "DIMEREC_REDIS_URL" in said
    assert "hunter2" not in said
    assert "cache" not in said


def test_a_taken_port_is_one_line_with_the_remedy(dimerec: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = line(dimerec("serve", "--port", port))
    assert f"127.0.0.1 port {port}: Address already in use" in said
    assert "--port" in said


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        (["--history", ".", "--redis", "redis://localhost"], {}, "import-history"),
        (["--host", "no.such.host.invalid"], {}, "--host"),
        (["--port", "99999"], {}, "DIMEREC_PORT"),
        ([], {"DIMEREC_ALLOW_ANONYMOUS": "hunter2"}, "DIMEREC_ALLOW_ANONYMOUS"),
        ([], {"DIMEREC_MAX_BATCH": "many"}, "DIMEREC_MAX_BATCH"),
        (["--workers", "2"], {}, "--redis"),
        (["--workers", "0"], {}, "DIMEREC_WORKERS"),
        ([], {"DIMEREC_WORKERS": "2"}, "DIMEREC_REDIS_URL"),
        ([], {"DIMEREC_WATCH_S": "0"}, "DIMEREC_WATCH_S"),
    ],
)
def test_bad_settings_are_one_line_that_names_them(
    dimerec: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    variables: dict[str, str],
    says: str,
) -> None:
    assert set(variables) <= {f"DIMEREC_{name.upper()}" for name in Settings.model_fields}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said = line(dimerec("serve", *arguments))
    assert says in said
    assert "hunter2" not in said
