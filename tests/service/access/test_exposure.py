"""To whom a start opens the service: what is refused, what the banner says, what the log tells of callers."""

import json
from pathlib import Path

import httpx
import pytest

from service.access.exposure import exposure
from service.access.keys import create_key
from service.access.roles import Role
from service.access.settings import AccessSettings
from service.errors import StartupError
from tests.cli.conftest import Run, dimerec  # noqa: F401 - a fixture
from tests.service.access.conftest import bearer
from tests.service.processes import process

PUBLIC = ["0.0.0.0", "::", "10.0.0.7", "::ffff:10.0.0.7"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("anonymous", [None, False])
def test_no_start_lets_others_in_without_a_key(path: Path, address: str, anonymous: bool | None) -> None:
    settings = AccessSettings(keys_file=path, allow_anonymous=anonymous)
    with pytest.raises(StartupError, match=r"keys\.json has no key: make a key with `dimerec keys create`"):
        exposure(settings, address)
    create_key(path, "backend", [Role.READ])
    assert "1 key in" in exposure(settings, address)


@pytest.mark.parametrize("address", [*PUBLIC, "127.0.0.1"])
def test_whoever_says_so_is_open_to_all_and_told(path: Path, address: str) -> None:
    settings = AccessSettings(keys_file=path, allow_anonymous=True)
    assert exposure(settings, address).startswith("OPEN WITHOUT A KEY to all who reach it")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "127.0.0.53"])
def test_this_machine_needs_no_key(path: Path, address: str) -> None:
    assert exposure(AccessSettings(keys_file=path), address).startswith("open to this machine without a key")
    closed = AccessSettings(keys_file=path, allow_anonymous=False)
    assert exposure(closed, address).startswith("open to nobody without a key")


@pytest.mark.parametrize("command", [("serve",), ("serve", "--workers", 2), ("demo",)])
def test_it_is_refused_before_anything_is_loaded(
    dimerec: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    redis_url: str,
    command: tuple[object, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIMEREC_REDIS_URL", redis_url)
    refused = dimerec(*command, "--host", "0.0.0.0", "--port", 0)
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert "0.0.0.0 lets others in, and keys.json has no key" in refused.err


def test_the_log_names_keys_and_never_shows_one(bundle_root: Path, tmp_path: Path, path: Path) -> None:
    key = create_key(path, "backend", [Role.READ])
    with process(tmp_path, "--bundles", bundle_root, DIMEREC_KEYS_FILE=str(path)) as served:
        for headers in (bearer(key), {}, bearer(f"{key}x")):
            httpx.get(f"{served.url}/version", headers=headers)
        lines = served.stop()
    entries = [json.loads(line) for line in lines]
    assert [entry["key"] for entry in entries if entry["event"] == "request"] == [
        *("backend", "anonymous", "wrong")
    ]
    (wrong,) = [entry for entry in entries if entry["event"] == "wrong key"]
    assert (wrong["level"], wrong["address"]) == ("warning", "127.0.0.1")
    assert key not in "".join(lines)
