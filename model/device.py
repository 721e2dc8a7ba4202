"""The device that a model computes on."""

import re

import torch

_NAME = re.compile(r"cpu|cuda(:\d{1,2})?")


def find_device(name: str) -> torch.device:
    """The device called `cpu`, `cuda` or `cuda:N`; ValueError, one line, where there is none."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"device {name!r:.40} is none: say cpu, cuda or cuda:N")
    device, found = torch.device(name), torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise ValueError(
            f"device {name!r} is not there, torch sees {found} CUDA devices: say cpu, or install"
            " torch for CUDA and the driver of a GPU"
        )
    return device
