"""What the commands print: for people, for a pipe, for machines."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.cli.conftest import Run
from tests.factories import publish_tiny_bundle

LONG = "A title of a video that says all there is to say of it, " * 5 + "[draft]"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    for _ in range(2):
        publish_tiny_bundle(root)
    return root


def test_nothing_is_cut_or_wrapped_where_stdout_is_no_terminal(
    dimerec: Run, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # a narrow one, says the environment
    listed = dimerec("bundles", "list", "--bundles", root).out
    versions = [path.name for path in root.iterdir() if path.is_dir()]
    assert len(versions) == 2
    for version in versions:
        assert sum(version in line and "whole" in line for line in listed.splitlines()) == 1
    registry = dimerec("benchmark", "--list").out
    assert "…" not in registry
    summaries = json.loads(dimerec("benchmark", "--list", "--json").out)
    for name, summary in summaries.items():
        assert sum(f"│ {name} " in line and summary in line for line in registry.splitlines()) == 1


def test_a_cell_is_printed_as_it_is_but_for_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    from cli.output import print_table

    print_table(["title", "n"], [[LONG, "1"], ["[red]no markup[/red]", "2"], ["a\nb\x1b[31m\x07", "3"]])
    shown = capsys.readouterr().out
    assert LONG in shown
    assert "[red]no markup[/red]" in shown
    assert "a b [31m" in shown
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 7


@pytest.mark.parametrize(
    "arguments",
    [
        ("bundles", "list"),
        ("bundles", "verify"),
        ("bundles", "prune", "--keep", 9),
        ("bundles", "use", "--previous"),
        ("recommend", "--history", "1050,1181"),
        ("recommend", "--events", "LOG", "--user", "u1"),
        ("recommend", "--events", "LOG", "--out", "OUT"),
        ("benchmark", "--list"),
        ("train", "--show-config"),
        ("prepare", "--events", "LOG", "--out", "DATA"),
    ],
)
def test_json_is_all_there_is_on_stdout(
    dimerec: Run, root: Path, tmp_path: Path, arguments: tuple[object, ...]
) -> None:
    log = tmp_path / "log.csv"
    pl.DataFrame({"user_id": ["u1"] * 5, "item_id": range(1001, 1006), "timestamp": range(5)}).write_csv(log)
    files = {"LOG": log, "OUT": tmp_path / "out.csv", "DATA": tmp_path / "data"}
    given = [files.get(str(argument), argument) for argument in arguments]
    where = {"bundles": ("--bundles", root), "recommend": ("--bundles", root)}.get(str(arguments[0]), ())
    done = dimerec(*given, *where, "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)
    assert done.out.endswith("\n")


def test_the_card_of_prepare_as_json_is_the_one_that_it_keeps(dimerec: Run, tmp_path: Path) -> None:
    log = tmp_path / ("a name that is longer than the card is wide, " * 3 + ".csv")
    log.write_text("user_id,item_id,timestamp\na,x,1\na,y,2\na,z,3\nb,x,1\n")
    asked = ("prepare", "--events", log, "--out", tmp_path / "data")
    assert f"{log.name}: 4 rows\n" in dimerec(*asked).out
    card = json.loads(dimerec(*asked, "--json").out)
    assert card == json.loads((tmp_path / "data" / "card.json").read_text())
    assert card["events"] == 3


def test_json_of_an_answer_has_what_the_table_has(dimerec: Run, root: Path) -> None:
    asked = ("recommend", "--bundles", root, "--history", "1050,1181", "-k", 4)
    answer = json.loads(dimerec(*asked, "--json").out)
    rows = [line.split("│")[1:-1] for line in dimerec(*asked).out.splitlines() if line.startswith("│")]
    assert [row[1].strip() for row in rows] == [item["item_id"] for item in answer["items"]]
    assert answer["source"] == "personal"
    assert all(interest["top_categories"] for interest in answer["interests"])
    assert {watched["item_id"] for item in answer["items"] for watched in item["because"]} <= {"1050", "1181"}


def test_a_damaged_bundle_is_in_the_json_and_fails_the_check(dimerec: Run, tmp_path: Path) -> None:
    for _ in range(2):
        publish_tiny_bundle(tmp_path)
    newest = (tmp_path / "CURRENT").read_text().strip()
    (tmp_path / newest / "items.arrow").write_bytes(b"")
    done = dimerec("bundles", "verify", "--bundles", tmp_path, "--json")
    assert done.code == 1
    assert [bundle["whole"] for bundle in json.loads(done.out)] == [False, True]
    assert done.err.startswith("dimerec: ")
    assert "items.arrow" in done.err


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", [(), ("prepare",), ("bundles",), ("bundles", "use")])
def test_help_has_a_short_name_everywhere(dimerec: Run, command: tuple[str, ...], flag: str) -> None:
    done = dimerec(*command, flag)
    assert done.code == 0
    assert " ".join(("Usage: dimerec", *command)) in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("prepare",), "Missing option '--events' (see `dimerec prepare --help`)"),
        (("evaluate", "--bundel", "x"), "No such option: --bundel (Possible options: --bundles, "),
        (("recommend", "-k", "0"), "Invalid value for '-k'"),
    ],
)
def test_a_usage_error_is_one_line(dimerec: Run, arguments: tuple[str, ...], said: str) -> None:
    done = dimerec(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"dimerec: {said}")
    assert done.err.count("\n") == 1


def test_which_bundle_to_use_is_never_guessed(dimerec: Run, tmp_path: Path) -> None:
    older, newer = publish_tiny_bundle(tmp_path), publish_tiny_bundle(tmp_path)
    asked = dimerec("bundles", "use", "--bundles", tmp_path)
    assert (asked.code, asked.out, asked.err.count("\n")) == (1, "", 1)
    assert f"{newer} (in service), {older}" in asked.err
    assert "--previous" in asked.err
    assert dimerec("bundles", "use", "--previous", older, "--bundles", tmp_path).code == 1
    assert (tmp_path / "CURRENT").read_text().strip() == newer
    assert dimerec("bundles", "use", "--previous", "--bundles", tmp_path).out == f"{older} is CURRENT\n"
    assert "no version older" in dimerec("bundles", "use", "--previous", "--bundles", tmp_path).err


@pytest.mark.parametrize(
    ("typed", "code", "chosen"), [("2", 0, "older"), ("7", 1, "newer"), ("\x03", 130, "newer")]
)
def test_a_person_is_asked_which_bundle_to_use(tmp_path: Path, typed: str, code: int, chosen: str) -> None:
    versions = {"older": publish_tiny_bundle(tmp_path), "newer": publish_tiny_bundle(tmp_path)}
    person, terminal = pty.openpty()
    command = [sys.executable, "-m", "cli.main", "bundles", "use", "--bundles", str(tmp_path)]
    with subprocess.Popen(
        command,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=_controlled,
    ) as process:
        os.close(terminal)
        shown = b""
        while b"to put in service: " not in shown:
            shown += os.read(person, 1024)
        assert shown.index(versions["newer"].encode()) < shown.index(versions["older"].encode())
        os.write(person, typed.encode() + b"\n")
        assert process.wait(60) == code
    os.close(person)
    assert (tmp_path / "CURRENT").read_text().strip() == versions[chosen]


def _controlled() -> None:
    """Make stdin the controlling terminal, so that Ctrl-C reaches the process."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
