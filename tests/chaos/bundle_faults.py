"""Faults of bundles: swaps without end, files that are not as they were published, no room to publish."""

import time
from collections.abc import Callable
from pathlib import Path

from bundle.read import current_version
from bundle.write import set_current
from files.atomic import replacing
from files.errors import DimeRecError
from tests.bundle.room import file_size
from tests.chaos.fault import BOTH, Fault
from tests.chaos.stage import Stage

RELOADS, RELOAD_EVERY_S = 60, 2.0
SMALL = (2500, 4, 16)
"""Items, dim and hidden of a bundle whose model, written first, is of 47 kB and whose catalogue of 149 kB."""
ROOM = (100, 60_000, 100_000)
"""Bytes that a file may have: fewer than that model's; enough for it, fewer than the catalogue's, twice."""


def _reload_often(stage: Stage) -> None:
    """Every two seconds the other bundle, of another catalogue and dimension."""
    for turn in range(RELOADS):
        began = time.monotonic()
        set_current(stage.root, stage.versions[(turn + 1) % 2])
        answer = stage.admin("reload")
        if answer.status_code != 200:
            stage.findings.append(f"reload {turn}: {answer.status_code}")
        time.sleep(max(0.0, RELOAD_EVERY_S - (time.monotonic() - began)))


def _roll_back(stage: Stage) -> None:
    """The bundle before, for good."""
    answer = stage.admin("rollback")
    if answer.status_code != 200:
        stage.findings.append(f"rollback: {answer.status_code}")
    elif answer.json()["model_version"] != stage.versions[1]:
        stage.findings.append("rollback: another version than the one before")


def _cut(path: Path, whole: bytes) -> None:
    with path.open("r+b") as file:
        file.truncate(len(whole) // 2)


def _flip(path: Path, whole: bytes) -> None:
    middle = len(whole) // 2
    with path.open("r+b") as file:
        file.seek(middle)
        file.write(bytes([whole[middle] ^ 1]))


def _remove(path: Path, _: bytes) -> None:
    path.unlink()


_DAMAGES: tuple[Callable[[Path, bytes], None], ...] = (_cut, _flip, _remove)


def _damage_new(stage: Stage) -> None:
    """Each file of a new bundle cut, with a bit flipped, missing: none of them may come into service."""
    version = stage.publish(500, 16)
    taken = []
    files = _files(stage, version)
    for path in files:
        whole = path.read_bytes()
        for damage in _DAMAGES:
            damage(path, whole)
            status = stage.admin("reload").status_code
            if status != 409:
                taken.append(f"{path.name} {damage.__name__}: {status}")
            path.write_bytes(whole)
    tried = len(files) * len(_DAMAGES)
    stage.remarks.append(f"{tried - len(taken)} of {tried} refused")
    stage.findings += taken


def _remove_served(stage: Stage) -> None:
    """Each file of the bundle in service missing, and there again.

    None is cut or written in its place: whoever maps a file reads there what it has become, and beyond its
    end nothing (SIGBUS).
    """
    for path in _files(stage, stage.versions[0]):
        whole = path.read_bytes()
        path.unlink()
        time.sleep(0.5)
        if not stage.ready():
            stage.findings.append(f"without {path.name}: not ready")
        with replacing(path) as temporary:
            temporary.write_bytes(whole)


def _files(stage: Stage, version: str) -> list[Path]:
    return sorted(path for path in (stage.root / version).iterdir() if path.is_file())


def _publish_without_room(stage: Stage) -> None:
    """Publishing fails at the model or the catalogue, says so in a line, leaves nothing, can be done after.

    Never at the files after them: the model has the vectors, too, and so is larger.
    """
    before = _names(stage.root)
    for limit in ROOM:
        fault = ""
        try:
            with file_size(limit):
                stage.publish(*SMALL)
        except (OSError, DimeRecError) as error:
            fault = str(error)
        if not fault or "\n" in fault:
            stage.findings.append(f"{limit} bytes of room: {fault or 'published'}")
        if (current_version(stage.root), _names(stage.root)) != (stage.versions[0], before):
            stage.findings.append(f"{limit} bytes of room: something was left behind")
        if stage.admin("reload").json().get("model_version") != stage.versions[0]:
            stage.findings.append(f"{limit} bytes of room: another version in service")
    stage.publish(*SMALL)


def _names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


BUNDLE_FAULTS = (
    Fault(
        "reload-often",
        _reload_often,
        Stage.first_bundle,
        seconds=RELOADS * RELOAD_EVERY_S,
        workers=BOTH,
        before=Stage.serve_both,
        after=Stage.restart,
    ),
    Fault(
        "rollback",
        _roll_back,
        Stage.first_bundle,
        workers=BOTH,
        before=Stage.serve_both,
        after=Stage.restart,
    ),
    Fault("bundle-damaged", _damage_new, Stage.first_bundle),
    Fault("bundle-removed", _remove_served),
    Fault("disk-full", _publish_without_room, Stage.first_bundle),
)
