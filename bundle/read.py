"""Reading bundles: which there are, whether one is whole, and its parts, verified before they are used."""

import hashlib
import math
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np

from bundle.content_map import ContentMap, read_content_map
from bundle.counts import read_counts
from bundle.errors import (
    BundleDamagedError,
    BundleError,
    BundleIncompatibleError,
    BundleMissingError,
    BundleRequestError,
)
from bundle.manifest import (
    CONTENT_MAP_FILE,
    COUNTS_FILE,
    CURRENT_FILE,
    INDEX_FILE,
    ITEMS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    VECTORS_FILE,
    FileEntry,
    Manifest,
    checked_version,
    is_version,
    read_manifest,
)
from index.catalogue import Catalogue
from index.counts import Counts
from index.errors import IndexingError, VectorError
from index.faiss_index import FaissIndex, gpu_available
from index.faiss_library import require_faiss
from index.vector_index import VectorIndex, checked_unit_vectors
from index.vector_table import VectorTable
from model.checkpoint import CheckpointError, read_checkpoint
from model.device import find_device
from model.dimerec import DimeRec

_MAX_MANIFEST_BYTES = 1 << 20
"""A manifest has some 3 kB; a longer file is none, and is not read into memory."""
_MAX_CURRENT_BYTES = 256
"""A version and a newline are 33."""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle in memory: everything that answers a request."""

    version: str
    manifest: Manifest
    model: DimeRec
    catalogue: Catalogue
    index: VectorIndex
    table: VectorTable
    content_map: ContentMap | None = None
    counts: Counts | None = None


def current_version(root: Path) -> str | None:
    """The version in service, None when nothing was published under `root`.

    Raises BundleRequestError when CURRENT, perhaps written by hand, names no version.
    """
    try:
        content = _read_small(root / CURRENT_FILE, _MAX_CURRENT_BYTES)
    except FileNotFoundError:
        return None
    try:
        return checked_version(content.decode("utf-8-sig", errors="replace").strip())
    except BundleRequestError as error:
        raise BundleRequestError(
            f"{CURRENT_FILE} is wrong: {error}, `dimerec bundles use VERSION` writes {CURRENT_FILE} anew"
        ) from error


def versions(root: Path) -> list[str]:
    """Every version published under `root`, newest first."""
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(filter(is_version, names), reverse=True)


def previous_version(root: Path) -> str | None:
    """The newest version that is older than the one in service, None when there is none."""
    current = current_version(root)
    older = [version for version in versions(root) if current is not None and version < current]
    return older[0] if older else None


def verify(root: Path, version: str) -> Manifest:
    """The manifest of a bundle once every file was found to be whole and its own.

    Raises BundleMissingError, BundleDamagedError or BundleIncompatibleError, naming the file and the remedy.
    """
    manifest = _manifest(root, version)
    for name, entry in manifest.files.items():
        with _verified(root / version / name, entry):
            pass
    return manifest


def read_catalogue(root: Path, version: str) -> tuple[Manifest, Catalogue]:
    """The manifest of a bundle and its items, verified; raises what `verify` does."""
    manifest = _manifest(root, version)
    items = _mapped(root / version / ITEMS_FILE, manifest.files[ITEMS_FILE])
    try:
        return manifest, Catalogue.parse(items, ITEMS_FILE)
    except IndexingError as error:
        raise BundleIncompatibleError(f"{version}: {error}") from error


def read_bundle(root: Path, version: str | None = None, device: str = "cpu") -> Bundle:
    """The bundle `version` (by default the one in service), verified, its model on `device`.

    On a CUDA device the index goes there too, where FAISS was built for it and the index is no graph (hnsw).
    Raises BundleRequestError for a device that is not there; BundleMissingError, BundleDamagedError or
    BundleIncompatibleError, naming the file and the remedy; FaissMissingError.
    """
    require_faiss()
    try:
        find_device(device)
    except ValueError as error:
        raise BundleRequestError(str(error)) from error
    if version is not None:
        return _read(root, version, device)
    while True:
        current = current_version(root)
        if current is None:
            raise BundleMissingError(f"nothing is published under {root}: run `dimerec publish` first")
        try:
            return _read(root, current, device)
        except BundleError:
            if current_version(root) == current:
                raise
            # It was replaced in the meantime, and perhaps removed: the new one is as good.


def _read(root: Path, version: str, device: str) -> Bundle:
    manifest = _manifest(root, version)
    directory = root / version
    config = manifest.model
    try:
        with _verified(directory / MODEL_FILE, manifest.files[MODEL_FILE]) as file:
            model = read_checkpoint(directory / MODEL_FILE, device, file.fileno())
        items, vectors, structure = (
            _mapped(directory / name, manifest.files[name]) for name in (ITEMS_FILE, VECTORS_FILE, INDEX_FILE)
        )
        catalogue = Catalogue.parse(items, ITEMS_FILE)
        table = VectorTable.parse(vectors, VECTORS_FILE)
        index = FaissIndex.parse(structure, INDEX_FILE, table)
        placed = next(model.parameters()).device
        if placed.type == "cuda" and index.kind != "hnsw" and gpu_available():
            index = index.on_gpu(placed.index or 0)
    except (CheckpointError, IndexingError) as error:
        raise BundleIncompatibleError(f"{version}: {error}") from error
    if model.config != config:
        raise BundleIncompatibleError(
            f"{version}/{MODEL_FILE} is not the model of its manifest: publish it again"
        )
    for name, count in ((ITEMS_FILE, len(catalogue)), (VECTORS_FILE, len(table))):
        if count != config.items:
            raise BundleIncompatibleError(
                f"{version}/{name} has {count} items, the model {config.items}: publish it again"
            )
    if table.dim != config.dim:
        raise BundleIncompatibleError(
            f"{version}/{VECTORS_FILE} has {table.dim} dimensions, the model {config.dim}: publish it again"
        )
    _check_finite(version, model, table)
    for content in (items, vectors):
        _forget(content)
    extras = _content_map(directory, manifest), _counts(directory, manifest)
    return Bundle(version, manifest, model, catalogue, index, table, *extras)


def _content_map(directory: Path, manifest: Manifest) -> ContentMap | None:
    facts, path = manifest.content, directory / CONTENT_MAP_FILE
    if facts is None or not facts.used:
        return None
    with _verified(path, manifest.files[CONTENT_MAP_FILE]) as file:
        return read_content_map(path, file.fileno(), facts.inputs, manifest.model.dim)


def _counts(directory: Path, manifest: Manifest) -> Counts | None:
    facts, path = manifest.counts, directory / COUNTS_FILE
    if facts is None or not facts.used:
        return None
    with _verified(path, manifest.files[COUNTS_FILE]) as file:
        return read_counts(path, file.fileno(), facts, manifest.model.items)


def _check_finite(version: str, model: DimeRec, table: VectorTable) -> None:
    """Refuse weights that are no numbers, which make their sum none, and vectors not of length 1."""
    if not math.isfinite(sum(float(part.sum()) for part in model.state_dict().values())):
        raise BundleIncompatibleError(
            f"{version}/{MODEL_FILE} holds numbers that are not finite: train and publish it again"
        )
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            checked_unit_vectors(table.all, "vectors")
    except VectorError as error:
        raise BundleIncompatibleError(
            f"{version}/{VECTORS_FILE} holds vectors that are not of length 1: train and publish it again"
        ) from error


def _manifest(root: Path, version: str) -> Manifest:
    directory = root / checked_version(version)
    if not directory.is_dir():
        raise BundleMissingError(
            f"{version} is not published under {root}: `dimerec bundles list` shows what is"
        )
    if directory.is_symlink():
        raise BundleDamagedError(f"{version} is a symbolic link: copy the bundle itself there")
    try:
        text = _read_small(directory / MANIFEST_FILE, _MAX_MANIFEST_BYTES)
    except FileNotFoundError as error:
        raise BundleDamagedError(f"{version}/{MANIFEST_FILE} is missing: publish the bundle again") from error
    return read_manifest(text, version)


def _mapped(path: Path, entry: FileEntry) -> mmap.mmap:
    """A file as memory that all processes share, of the very descriptor that was verified.

    Published files are never written again, and one that is removed stays until nobody maps it.
    """
    with _verified(path, entry) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _forget(content: mmap.mmap) -> None:
    """Give back the pages that the checks have read; those that requests need come back from the cache."""
    if hasattr(mmap, "MADV_DONTNEED"):
        content.madvise(mmap.MADV_DONTNEED)


@contextmanager
def _verified(path: Path, entry: FileEntry) -> Iterator[BufferedReader]:
    """The open file, once its size and checksum were compared."""
    with _of_size(path, entry) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
            name = f"{path.parent.name}/{path.name}"
            raise BundleDamagedError(f"{name} was altered (its checksum differs): publish it again")
        yield file


@contextmanager
def _of_size(path: Path, entry: FileEntry) -> Iterator[BufferedReader]:
    name = f"{path.parent.name}/{path.name}"
    try:
        with _opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size != entry.size:
                raise BundleDamagedError(f"{name} has {size} bytes instead of {entry.size}: publish it again")
            yield file
    except FileNotFoundError as error:
        raise BundleDamagedError(f"{name} is missing: publish the bundle again") from error


def _read_small(path: Path, most_bytes: int) -> bytes:
    with _opened(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise BundleDamagedError(f"{path.name} is larger than {most_bytes} bytes: publish the bundle again")
    return content


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file; a link is refused, and a pipe cannot keep the reader waiting."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = "is a symbolic link" if path.is_symlink() else f"cannot be read ({error.strerror})"
        raise BundleDamagedError(
            f"{path.parent.name}/{path.name} {reason}: a bundle holds its own files"
        ) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleDamagedError(f"{path.parent.name}/{path.name} is no regular file: publish it again")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)
