"""The means of a computation: the revision of the source and the hardware, but not whose it is."""

import os
import platform
import subprocess
from pathlib import Path

import torch

from training.benchmark.rows import Hardware

_ROOT = Path(__file__).parents[2]


def source_revision() -> str | None:
    """The commit of the checkout that this runs from, `-dirty` if it was changed; None outside of one."""
    if not (_ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def hardware() -> Hardware:
    """The processor, and the card where there is one."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return Hardware(cpu=_processor(), cores=_cores(), torch_threads=torch.get_num_threads(), gpu=gpu)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
