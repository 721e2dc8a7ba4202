"""The network of a model in ONNX Runtime."""

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model.batch import HistoryBatch
from model.compiled.denoising import Schedule, denoising
from model.compiled.guiding import guiding, packed
from model.dimerec import DimeRec
from model.frozen import freeze

Vectors = NDArray[np.float32]

MAX_ROWS = 256
"""Rows that are denoised at once, for what lies between two maps is to stay in a core's cache.

The demo's model, four steps, µs a row: 64 rows 12.7, 128 12.5, 256 12.4, 512 13.3, 1,024 14.2.
"""


class CompiledNetwork:
    """`model.network.Network` on the CPU, in float32."""

    computes_by = "onnxruntime"

    def __init__(self, model: DimeRec, guiding_session: onnxruntime.InferenceSession) -> None:
        self._table: Vectors = model.items.table.weight.detach().numpy()
        self._guiding = guiding_session
        self._denoising = denoising(freeze(model), model.config)
        self._schedule = Schedule(model.config, model.cosines)

    @classmethod
    def of(cls, model: DimeRec) -> "CompiledNetwork | None":
        """The network of `model` as it is now; None where its guidance has no graph."""
        session = guiding(model.guidance, model.config)
        return None if session is None else cls(model, session)

    def guide(self, history: HistoryBatch, added: Vectors | None = None) -> Vectors:
        """As `DimeRec.guide`."""
        items, mask = history.items.numpy(), history.mask.numpy()
        inputs = packed(self._vectors(items[mask], added), mask)
        guidance: Vectors = self._guiding.run(None, inputs)[0]
        return guidance

    def _vectors(self, rows: NDArray[np.int64], added: Vectors | None) -> Vectors:
        """The vectors `(rows, dim)` of rows of the item table and after it."""
        if added is None:
            return self._table[rows]
        new = rows >= len(self._table)
        vectors = self._table[np.where(new, 0, rows)]
        vectors[new] = added[rows[new] - len(self._table)]
        return vectors

    def draw(self, guidance: Vectors, owners: NDArray[np.int64], start: Vectors, steps: int) -> Vectors:
        """A draw `(rows, dim)` from each `start` `(rows, dim)`, led by the `guidance` that `owners` name."""
        blocks = range(0, len(owners), MAX_ROWS)
        made = [self._block(guidance, owners, start, slice(at, at + MAX_ROWS), steps) for at in blocks]
        return made[0] if len(made) == 1 else np.concatenate(made)

    def _block(
        self, guidance: Vectors, owners: NDArray[np.int64], start: Vectors, rows: slice, steps: int
    ) -> Vectors:
        own = owners[rows]  # ascending
        inputs = {
            "guidance": guidance[own[0] : own[-1] + 1],
            "owners": own - own[0],
            "start": start[rows],
            **self._schedule.of(steps),
        }
        draws: Vectors = self._denoising.run(None, inputs)[0]
        return draws
