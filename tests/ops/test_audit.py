"""`make audit`: a known fault fails it, and missing data are said."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]


def package(name: str, *faults: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": faults}


def echo(*packages: dict[str, Any]) -> str:
    return f"echo '{json.dumps({'dependencies': packages, 'fixes': []})}'"


SKIPPED = {"name": "torch", "skip_reason": "not found"}
FAULT = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": ""}


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        (echo(package("a"), package("b")), 0, "2 packages looked up, 0 known faults"),
        (f"{echo(package('a'), package('b', FAULT))}; exit 1", 1, "b 1.0: PYSEC-1, mended by 1.1"),
        (echo(package("a"), SKIPPED), 0, "nothing is known of them: torch"),
        (echo(SKIPPED), 0, "skipped, their data cannot be had"),
        ("echo ConnectionError >&2; exit 1", 0, "skipped, their data cannot be had"),
    ],
)
def test_what_is_known_decides(tmp_path: Path, script: str, code: int, says: str) -> None:
    tool = tmp_path / "pip-audit"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    command = [sys.executable, "docker/audit.py", str(tmp_path)]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran.stderr
    assert says in ran.stdout
