"""Looks for known faults of the pinned dependencies: `audit.py BIN`, the directory that has pip-audit.

Exits with 1 where there is one. Where the data about faults cannot be had, of all packages or of some, it
says so by name and goes on: no network is no fault.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
_TIMEOUT_S = 600
_NAMED = 5


def audited(bin_directory: Path) -> list[dict[str, Any]] | None:
    """The packages of constraints.txt with what is known of each, None where nothing can be known."""
    command = [str(bin_directory / "pip-audit"), "--requirement", str(CONSTRAINTS), "--no-deps"]
    options = ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return packages


def report(packages: list[dict[str, Any]] | None) -> int:
    """Print what is known, and return the exit code."""
    known = [package for package in packages or () if "skip_reason" not in package]
    skipped = [package["name"] for package in packages or () if "skip_reason" in package]
    faults = [(package, fault) for package in known for fault in package["vulns"]]
    for package, fault in faults:
        fixed = ", ".join(fault["fix_versions"]) or "no version yet"
        print(f"audit: {package['name']} {package['version']}: {fault['id']}, mended by {fixed}")
    if not known:
        print("audit: known faults of dependencies: skipped, their data cannot be had here")
    elif skipped:
        others = f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        print(f"audit: skipped, nothing is known of them: {', '.join(skipped[:_NAMED])}{others}")
    print(f"audit: {len(known)} packages looked up, {len(faults)} known faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(report(audited(Path(sys.argv[1]))))
