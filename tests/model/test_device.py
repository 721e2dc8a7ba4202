"""Where a model computes, and in what."""

from pathlib import Path

import pytest
import torch

from model.device import computes_in_bfloat16


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="asks Linux what the processor has")
def test_bfloat16_is_chosen_where_the_processor_multiplies_it() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert computes_in_bfloat16(torch.device("cpu")) is bool(flags & {"avx512_bf16", "amx_bf16"})
