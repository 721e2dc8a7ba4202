"""Where a model computes."""

import re

import torch

_NAME = re.compile(r"cpu|cuda(:\d{1,2})?")


def find_device(name: str) -> torch.device:
    """Return the device called ``cpu``, ``cuda`` or ``cuda:N``; ValueError, one line, where there is none."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"device {name!r:.40} is none: say cpu, cuda or cuda:N")
    device, found = torch.device(name), torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise ValueError(
            f"device {name!r} is not there, torch sees {found} CUDA devices: say cpu, or install"
            " torch for CUDA and the driver of a GPU"
        )
    return device


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether products of bfloat16 matrices are faster there than those of float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
