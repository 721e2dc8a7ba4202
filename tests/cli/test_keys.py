"""`dimerec keys`: made once, shown once, kept as a digest."""

import hashlib
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.keys import create_key, digest, read_keys
from service.access.roles import Role
from service.errors import KeysError
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def _in_a_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_key_is_shown_once_and_kept_as_its_digest(dimerec: Run) -> None:
    made = dimerec("keys", "create", "backend", "--role", "write", "--role", "read")
    key = made.out.strip()
    assert made.code == 0
    assert key not in made.err
    kept = Path("keys.json").read_text()
    assert key not in kept
    assert hashlib.sha256(key.encode()).hexdigest() in kept
    assert stat.S_IMODE(Path("keys.json").stat().st_mode) == 0o600
    listed = dimerec("keys", "list")
    assert key not in listed.out
    assert "backend" in listed.out
    assert "read write" in listed.out


def test_no_two_keys_are_alike(dimerec: Run) -> None:
    made = {dimerec("keys", "create", f"k{number}", "--role", "read").out for number in range(5)}
    assert len(made) == 5
    assert all(len(key.strip()) >= 50 for key in made)


def test_machines_get_json(dimerec: Run) -> None:
    made = json.loads(dimerec("keys", "create", "backend", "--role", "admin", "--json").out)
    assert (made["name"], made["roles"]) == ("backend", ["admin"])
    (kept,) = json.loads(dimerec("keys", "list", "--json").out)
    assert (kept["name"], kept["roles"]) == ("backend", ["admin"])
    assert read_keys(Path("keys.json"))[0].sha256 == digest(made["key"])


def test_a_revoked_key_is_gone(dimerec: Run) -> None:
    dimerec("keys", "create", "one", "--role", "read")
    dimerec("keys", "create", "two", "--role", "read")
    assert dimerec("keys", "revoke", "one").code == 0
    assert [key.name for key in read_keys(Path("keys.json"))] == ["two"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("create", "taken", "--role", "read"), "has a key taken already"),
        (("create", "anonymous", "--role", "read"), "another name"),
        (("create", "Loud", "--role", "read"), "'Loud' is no name"),
        (("create", "10.0.0.1", "--role", "read"), "is no name"),
        (("create", "a\nb", "--role", "read"), "is no name"),
        (("revoke", "nobody"), "has no key nobody"),
    ],
)
def test_what_cannot_be_done_is_one_line(dimerec: Run, arguments: tuple[str, ...], says: str) -> None:
    dimerec("keys", "create", "taken", "--role", "read")
    before = Path("keys.json").read_bytes()
    refused = dimerec("keys", *arguments)
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert says in refused.err
    assert Path("keys.json").read_bytes() == before


def test_a_key_saved_to_a_file_is_made_once_and_again_where_the_file_is_lost(dimerec: Run) -> None:
    command = (
        "keys",
        "create",
        "compose",
        "--role",
        "admin",
        "--keys-file",
        "d/keys.json",
        "--save",
        "d/key",
    )
    assert dimerec(*command).out == ""
    first = Path("d/key").read_text()
    assert stat.S_IMODE(Path("d/key").stat().st_mode) == 0o600
    assert dimerec(*command).code == 0
    assert Path("d/key").read_text() == first
    assert digest(first.strip()) == read_keys(Path("d/keys.json"))[0].sha256
    Path("d/keys.json").unlink()  # as after a crash between the two files
    assert dimerec(*command).code == 0
    second = Path("d/key").read_text()
    assert second != first
    assert digest(second.strip()) == read_keys(Path("d/keys.json"))[0].sha256


def test_the_mode_that_an_operator_gave_the_file_stays() -> None:
    path = Path("keys.json")
    create_key(path, "one", [Role.READ])
    path.chmod(0o640)
    create_key(path, "two", [Role.READ])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_keys_made_at_once_are_all_there() -> None:
    with ThreadPoolExecutor(8) as makers:
        list(makers.map(lambda number: create_key(Path("keys.json"), f"k{number}", [Role.READ]), range(24)))
    assert len(read_keys(Path("keys.json"))) == 24


@given(st.binary(max_size=200))
def test_any_other_file_is_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "odd-keys.json"
    path.write_bytes(content)
    with pytest.raises(KeysError, match=r"odd-keys\.json is no file of keys: [^\n]+$"):
        read_keys(path)


def test_two_keys_of_one_name_are_refused() -> None:
    create_key(Path("keys.json"), "one", [Role.READ])
    document = json.loads(Path("keys.json").read_text())
    document["keys"] *= 2
    Path("keys.json").write_text(json.dumps(document))
    with pytest.raises(KeysError, match="the same name"):
        read_keys(Path("keys.json"))
