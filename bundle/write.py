"""Publishing bundles so that whatever happens, and whenever, CURRENT names one that loads.

A bundle is written under a name that no reader looks at, brought to disk, and renamed. CURRENT is replaced in
one rename, after the bundle it names was verified. A lock on the root is held while CURRENT changes and while
something is removed, never while files are written: publishers do not wait for each other.
"""

import fcntl
import hashlib
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bundle import read
from bundle.content_map import ContentMap
from bundle.counts import write_counts
from bundle.errors import BundleIncompatibleError, BundleRequestError
from bundle.facts import ContentFacts, CountsFacts, DrawsFacts, IndexFacts, NoveltyFacts, Standing
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
    ServingDefaults,
    files_of,
    new_manifest,
)
from files.atomic import replacing, sync_directory, sync_file
from index.catalogue import Catalogue
from index.counts import Counts
from index.faiss_index import FaissIndex
from index.vector_index import UNIT_TOLERANCE
from model.checkpoint import write_checkpoint
from model.dimerec import DimeRec

LOCK_FILE = ".lock"
STAGING_PREFIX = ".publishing-"
REMOVING_PREFIX = ".removing-"

STALE_AFTER_S = 3_600.0
"""A staging directory untouched for this long is of a killed publisher: the longest step between two writes,
to build an hnsw of a million items, takes 100 s.
"""


def publish(
    root: Path,
    model: DimeRec,
    catalogue: Catalogue,
    index: FaissIndex,
    *,
    serving: ServingDefaults,
    metrics: dict[str, float],
    standing: Standing | None = None,
    index_facts: IndexFacts | None = None,
    content_map: ContentMap | None = None,
    content: ContentFacts | None = None,
    draws: DrawsFacts | None = None,
    counts: Counts | None = None,
    counts_facts: CountsFacts | None = None,
    novelty: NoveltyFacts | None = None,
    data_fingerprint: str,
    repeat_weight: float = 1.0,
    split: str | None = None,
    catalogue_sequence: int = 0,
    refit: bool = False,
    source_revision: str | None = None,
    make_current: bool = True,
) -> str:
    """Write a bundle under `root`, put it in service unless `make_current` is False, return its version.

    `content` says how `content_map` was measured, which is left out where it is not used; `counts_facts` how
    `counts` were, left out where their weight is 0.
    Raises BundleIncompatibleError when model, catalogue, index and serving defaults do not belong together,
    OSError when the root cannot be written. Until the last instant readers see what was there before.
    """
    _check_same_items(model, catalogue, index)
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root):
        _remove_leftovers(root)
    staging = root / f"{STAGING_PREFIX}{secrets.token_hex(8)}"
    staging.mkdir()
    try:
        write_checkpoint(staging / MODEL_FILE, model)
        catalogue.write(staging / ITEMS_FILE)
        index.table.write(staging / VECTORS_FILE)
        index.write(staging / INDEX_FILE)
        names = files_of(content, counts_facts)
        if CONTENT_MAP_FILE in names and content_map is not None:
            content_map.write(staging / CONTENT_MAP_FILE)
        if COUNTS_FILE in names and counts is not None:
            write_counts(staging / COUNTS_FILE, counts)
        facts = {
            "model": model.config,
            "serving": serving,
            "metrics": metrics,
            "standing": standing,
            "index": index_facts,
            "content": content,
            "draws": draws,
            "counts": counts_facts,
            "novelty": novelty,
            "repeat_weight": repeat_weight,
            "data_fingerprint": data_fingerprint,
            "split": split,
            "catalogue_sequence": catalogue_sequence,
            "refit": refit,
            "source_revision": source_revision,
            "files": {name: _entry(staging / name) for name in names},
        }
        manifest = new_manifest(facts)
        _seal(staging, manifest)
        with _locked(root):  # or a pruner could take it for an old version that is not in service
            while (root / manifest.version).exists():  # an equal bundle of the same microsecond
                manifest = new_manifest(facts)
                _seal(staging, manifest)
            staging.rename(root / manifest.version)
            sync_directory(root)
            if make_current:
                _point_at(root, manifest.version)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)  # the reason for coming here is what the caller must see
        raise
    return manifest.version


def set_current(root: Path, version: str) -> None:
    """Put `version` in service, once it was verified; raises BundleError when it is not whole."""
    with _locked(root):
        _point_at(root, version)


def prune(root: Path, keep: int) -> list[str]:
    """Remove all but the `keep` (at least 1) newest versions and the one in service; return what went."""
    if keep < 1:
        raise BundleRequestError(f"keep must be at least 1, not {keep}")
    if not root.is_dir():
        return []
    with _locked(root):
        _remove_leftovers(root)
        current = read.current_version(root)
        removed = [version for version in read.versions(root)[keep:] if version != current]
        for version in removed:
            # Out of the readers' sight in one step: a half-removed bundle is never listed.
            doomed = (root / version).rename(root / f"{REMOVING_PREFIX}{version}")
            shutil.rmtree(doomed)
    return removed


def _point_at(root: Path, version: str) -> None:
    """Make CURRENT name `version`, once it was verified; the caller holds the lock."""
    read.verify(root, version)
    with replacing(root / CURRENT_FILE) as temporary:
        temporary.write_text(f"{version}\n", encoding="ascii")


def _check_same_items(model: DimeRec, catalogue: Catalogue, index: FaissIndex) -> None:
    config = model.config
    counts = {"catalogue": len(catalogue), "index": len(index)}
    for name, count in counts.items():
        if count != config.items:
            raise BundleIncompatibleError(
                f"the {name} has {count} items, the model {config.items}: build it anew"
            )
    expected = model.item_vectors().detach().float().cpu().numpy()
    found = index.table.all
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=UNIT_TOLERANCE):
        raise BundleIncompatibleError("the index does not hold this model's item vectors: build it from them")


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)


def _seal(staging: Path, manifest: Manifest) -> None:
    """Write the manifest and bring the whole directory to disk."""
    (staging / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    mode = (staging / MANIFEST_FILE).stat().st_mode
    for name in (*manifest.files, MANIFEST_FILE):
        (staging / name).chmod(mode)  # safetensors writes for the owner alone, a service may be another user
        sync_file(staging / name)
    sync_directory(staging)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the root's lock; the kernel lets go of it when this process dies, however it dies."""
    with (root / LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_leftovers(root: Path) -> None:
    """Remove what killed processes left behind; the caller holds the lock.

    Only a lock holder makes the temporary names of CURRENT and of removals, so those are all stale now.
    """
    for path in root.glob(f".{CURRENT_FILE}.*.tmp"):
        path.unlink()
    for path in root.glob(f"{REMOVING_PREFIX}*"):
        shutil.rmtree(path)
    for path in root.glob(f"{STAGING_PREFIX}*"):
        if _is_stale(path):
            shutil.rmtree(path)


def _is_stale(staging: Path) -> bool:
    """True where neither the directory nor a file in it changed for `STALE_AFTER_S`."""
    try:
        last_change = max(path.stat().st_mtime for path in (staging, *staging.iterdir()))
    except FileNotFoundError:
        return False  # its publisher is alive: it renamed something just now
    return time.time() - last_change > STALE_AFTER_S
