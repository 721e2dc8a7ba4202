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


class CompiledNetwork:
    """`model.network.Network` on the CPU, in float32."""

    computes_by = "onnxruntime"

    def __init__(self, model: DimeRec, guiding_session: onnxruntime.InferenceSession) -> None:
        self._table: Vectors = model.items.table.weight.detach().numpy()
        self._guiding = guiding_session
        self._denoising = denoising(freeze(model.denoiser, model.config.timesteps), model.config)
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
        inputs = {"guidance": guidance, "owners": owners, "start": start}
        draws: Vectors = self._denoising.run(None, inputs | self._schedule.of(steps))[0]
        return draws
