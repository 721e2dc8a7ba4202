"""The network that answers requests, computed by ONNX Runtime on a CPU where that is installed, or by torch.

On a few rows at a time torch's operators are mostly calls: a request by itself takes ONNX Runtime less
than a third of the time (docs/performance.md). Both are tested against `DimeRec`, asked plainly.
"""

from importlib.util import find_spec
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.batch import HistoryBatch
from model.dimerec import DimeRec
from model.frozen import freeze
from model.linear import rounded_up

Vectors = NDArray[np.float32]

MAX_COMPILED_BYTES = 2**30
"""Weights beside the item table up to which a graph is made: a serialised one ends at 2 GiB."""


class Network(Protocol):
    """A model with the weights that it had when this was made."""

    @property
    def computes_by(self) -> str:
        """The library that computes: onnxruntime or torch."""
        ...

    def guide(self, history: HistoryBatch, added: Vectors | None = None) -> Vectors:
        """As `DimeRec.guide`."""
        ...

    def draw(self, guidance: Vectors, owners: NDArray[np.int64], start: Vectors, steps: int) -> Vectors:
        """A draw `(rows, dim)` from each `start` `(rows, dim)`, led by the `guidance` that `owners` name.

        `owners` `(rows,)`: ascending.
        """
        ...


class TorchNetwork:
    """The model's own modules, and its denoiser frozen."""

    computes_by = "torch"

    def __init__(self, model: DimeRec) -> None:
        self._model = model
        self._denoiser = freeze(model)
        self._weight = model.items.table.weight

    def guide(self, history: HistoryBatch, added: Vectors | None = None) -> Vectors:
        """As `DimeRec.guide`."""
        more = None if added is None else self._here(added)
        return _at_home(self._model.guide(history, more))

    def draw(self, guidance: Vectors, owners: NDArray[np.int64], start: Vectors, steps: int) -> Vectors:
        """A draw `(rows, dim)` from each `start` `(rows, dim)`, led by the `guidance` that `owners` name."""
        rows = len(owners)
        filled = rounded_up(rows) - rows
        of = torch.from_numpy(np.pad(owners, (0, filled))).to(self._weight.device)
        padded = self._here(np.pad(start, ((0, filled), (0, 0))))
        denoise = self._denoiser.given(self._here(guidance), of)
        return _at_home(self._model.reverse(denoise, padded, steps))[:rows]

    def _here(self, vectors: Vectors) -> Tensor:
        """As a tensor of the model's kind, on its device."""
        return torch.from_numpy(vectors).to(self._weight)


def _at_home(vectors: Tensor) -> Vectors:
    """As float32 in the memory of this process."""
    found: Vectors = vectors.float().cpu().numpy()
    return found


def network_of(model: DimeRec) -> Network:
    """The network of a model in evaluation mode."""
    compiled = _compiled(model) if _can_be_compiled(model) else None
    return TorchNetwork(model) if compiled is None else compiled


def _compiled(model: DimeRec) -> Network | None:
    from model.compiled.network import CompiledNetwork  # takes .2 s, where it is needed

    return CompiledNetwork.of(model)


def _can_be_compiled(model: DimeRec) -> bool:
    weights = [*model.guidance.parameters(), *model.denoiser.parameters(), model.items.table.weight]
    return (
        find_spec("onnxruntime") is not None
        and find_spec("onnx") is not None
        and all(part.device.type == "cpu" and part.dtype == torch.float32 for part in weights)
        and sum(part.nbytes for part in weights[:-1]) <= MAX_COMPILED_BYTES
    )
