"""The counts of a bundle: what followed each item in the log, in a safetensors file of its own."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bundle.errors import BundleIncompatibleError
from bundle.facts import CountsFacts
from files.atomic import replacing
from index.counts import Counts

_FORMAT = "dimerec-counts-1"


def write_counts(path: Path, counts: Counts) -> None:
    """Write the followers to `path`, atomically; raises OSError where there is no room for them."""
    with replacing(path) as temporary:
        try:
            save_file(
                {"followers": counts.followers, "parts": counts.parts},
                temporary,
                metadata={"format": _FORMAT},
            )
        except SafetensorError as error:
            raise OSError(f"cannot write {path.name}: {error}") from error


def read_counts(path: Path, descriptor: int, facts: CountsFacts, items: int) -> Counts:
    """The counts in a file whose open `descriptor` was verified; BundleIncompatibleError unless they fit.

    They are mapped, so that the processes of a machine share them, and read-only.
    """
    name = f"{path.parent.name}/{path.name}"
    try:
        with safe_open(f"/dev/fd/{descriptor}", framework="pt") as file:
            metadata = file.metadata() or {}
            followers, parts = (file.get_tensor(name).numpy() for name in ("followers", "parts"))
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise BundleIncompatibleError(f"{name} cannot be read ({error}): publish the bundle again") from error
    shape = (items, facts.followers)
    kinds = (followers.dtype, parts.dtype)
    if metadata.get("format") != _FORMAT or not followers.shape == parts.shape == shape:
        raise BundleIncompatibleError(f"{name} is not the counts of its manifest: publish it again")
    if kinds != (np.int32, np.float32) or not (0 <= followers.min() <= followers.max() <= items):
        raise BundleIncompatibleError(f"{name} holds rows that are no items: publish it again")
    if not (np.isfinite(parts).all() and (parts >= 0).all()):
        raise BundleIncompatibleError(f"{name} holds parts that are no numbers above 0: publish it again")
    if parts[followers == 0].any():
        raise BundleIncompatibleError(f"{name} holds parts of no item: publish it again")
    for array in (followers, parts):
        array.setflags(write=False)
    return Counts(followers, parts, facts.decay, facts.weight)
