"""The content map of a bundle: from what an item is like, as its caller describes it, to the item's vector.

A linear map, in a file of its own that a bundle may have: safetensors with the names of the categories in
its header.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bundle.errors import BundleIncompatibleError
from files.atomic import replacing

_FORMAT = "dimerec-content-1"
_PARTS = ("bias", "weights", "shifts")


@dataclass(frozen=True, slots=True, eq=False)
class ContentMap:
    """`bias` (dim,) + content · `weights` (inputs, dim) + the `shifts` (categories, dim) of its categories.

    All float32. Immutable; safe to share between threads.
    """

    bias: NDArray[np.float32]
    weights: NDArray[np.float32]
    shifts: NDArray[np.float32]
    categories: tuple[str, ...]
    """Those that have a shift; others change nothing."""

    @property
    def inputs(self) -> int:
        """Numbers of a content vector."""
        return len(self.weights)

    def vector(self, content: NDArray[np.floating], categories: Iterable[str]) -> NDArray[np.float64]:
        """The vector (dim,), of any length, of a unit content vector (inputs,) and an item's categories."""
        names = frozenset(categories)
        codes = [code for code, name in enumerate(self.categories) if name in names]
        shift = self.shifts[codes].sum(axis=0, dtype=np.float64)
        vector: NDArray[np.float64] = self.bias + content.astype(np.float64) @ self.weights + shift
        return vector

    def write(self, path: Path) -> None:
        """Write the map to `path`, atomically; raises OSError where there is no room for it."""
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in _PARTS}
        metadata = {"format": _FORMAT, "categories": json.dumps(self.categories)}
        with replacing(path) as temporary:
            try:
                save_file(tensors, temporary, metadata=metadata)
            except SafetensorError as error:
                raise OSError(f"cannot write {path.name}: {error}") from error


def read_content_map(path: Path, descriptor: int, inputs: int, dim: int) -> ContentMap:
    """The map in a file whose open `descriptor` was verified; BundleIncompatibleError where it does not fit.

    `inputs`, `dim`: what the bundle needs.
    """
    name = f"{path.parent.name}/{path.name}"
    try:
        with safe_open(f"/dev/fd/{descriptor}", framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {part: file.get_tensor(part) for part in _PARTS}
        categories = tuple(json.loads(metadata.get("categories", "")))
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise BundleIncompatibleError(f"{name} cannot be read ({error}): publish the bundle again") from error
    shapes = {"bias": (dim,), "weights": (inputs, dim), "shifts": (len(categories), dim)}
    fits = all(tensors[part].shape == shapes[part] for part in _PARTS)
    if metadata.get("format") != _FORMAT or not fits:
        raise BundleIncompatibleError(f"{name} is not the content map of its manifest: publish it again")
    if not all(tensors[part].dtype == np.float32 and np.isfinite(tensors[part]).all() for part in _PARTS):
        raise BundleIncompatibleError(f"{name} holds numbers that are not finite: publish it again")
    return ContentMap(**tensors, categories=categories)
