"""Arrays that grow while others read what was there before."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Growing:
    """An array that grows at its end; what is filled is never moved under a reader."""

    def __init__(self, start: NDArray[Any]) -> None:
        self._data = start
        self._count = len(start)

    @property
    def filled(self) -> NDArray[Any]:
        """The part that was put there so far."""
        return self._data[: self._count]

    def extend(self, values: NDArray[Any]) -> None:
        """Put `values` (n, …) after it."""
        needed = self._count + len(values)
        if needed > len(self._data):
            grown = np.empty((max(64, 2 * needed), *self._data.shape[1:]), dtype=self._data.dtype)
            grown[: self._count] = self.filled
            self._data = grown
        self._data[self._count : needed] = values
        self._count = needed
