"""Bundles with catalogues of any size, for measurements of speed and memory alone.

The recipe: the first items are those of the demo's model, with their learned vectors. Each further item is a
copy of one of them, chosen evenly; its vector is unit(e + .5 g), g a Gaussian of norm about 1, so that its
cosine to the original's e is about .9. It has the title (with a number), the categories and a random part of
the popularity of its original. With `architecture` "default" the network is the default one (contextual,
d = 128), untrained, and the vectors are turned into its space by a random rotation, which keeps all cosines
as they are. All of it follows from one seed.
"""

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import torch

from bundle.manifest import FORMAT_VERSION, ServingDefaults
from bundle.write import publish
from files.atomic import replacing
from index.attribute_columns import from_arrow
from index.attributes import Attributes
from index.building import build_index
from index.catalogue import Catalogue
from index.tuning import IndexChoice
from index.vector_index import Vectors
from model.checkpoint import read_checkpoint
from model.config import ModelConfig
from model.dimerec import DimeRec
from training.data.dataset import read_dataset
from training.run import BEST_FILE, read_run_config

Architecture = Literal["demo", "default"]
NOISE = 0.5
_SEED = 0
"""Chosen: an item near the learned one that it is drawn around, not upon it."""
_BLOCK = 100_000
"""Items made at a time: a bound on memory."""


def synthetic_bundles(
    run: Path,
    data: Path,
    cache: Path,
    items: int,
    *,
    architecture: Architecture = "demo",
    kind: IndexChoice = "auto",
    attributes: bool = False,
) -> Path:
    """A directory of bundles with so many items, made where the cache has none of today's format.

    `attributes`: every item has a `length`, uniform in 0 … 1, and up to three of 20 `tags`.
    """
    name = f"{architecture}-{items}-{kind}{'-attributes' if attributes else ''}-format-{FORMAT_VERSION}"
    root = cache / "synthetic" / name
    marker = root / ".complete"
    if not marker.exists():
        shutil.rmtree(root, ignore_errors=True)
        _publish(root, run, data, items, architecture, kind, attributes=attributes)
        with replacing(marker) as temporary:
            temporary.write_text("")
    return root


def spread_vectors(learned: Vectors, items: int, seed: int = _SEED) -> tuple[Vectors, np.ndarray]:
    """Unit vectors `(items, dim)` around learned ones, and the line of each one's original."""
    generator = np.random.default_rng(seed)
    known, dim = min(len(learned), items), learned.shape[1]
    originals = np.arange(items)
    originals[known:] = generator.integers(len(learned), size=items - known)
    vectors = learned[originals]
    for start in range(known, items, _BLOCK):
        block = vectors[start : start + _BLOCK]
        block += NOISE / np.sqrt(dim) * generator.standard_normal(block.shape, dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors, originals


def _publish(
    root: Path,
    run: Path,
    data: Path,
    items: int,
    architecture: Architecture,
    kind: IndexChoice,
    *,
    attributes: bool,
) -> None:
    trained, serving = read_checkpoint(run / BEST_FILE), read_run_config(run).training.serving
    learned = trained.item_vectors().detach().numpy()
    config = trained.config.model_copy(update={"items": items})
    if architecture == "default":
        config = ModelConfig(items=items)
        rotation = np.linalg.qr(np.random.default_rng(_SEED).standard_normal((config.dim, config.dim)))[0]
        learned = (learned @ rotation[: learned.shape[1]]).astype(np.float32)
    vectors, originals = spread_vectors(learned, items)
    model = _model(config, trained if architecture == "demo" else None, vectors)
    publish(
        root,
        model,
        _catalogue(read_dataset(data).catalogue, originals, _attributes(items) if attributes else None),
        build_index(model.item_vectors().detach().numpy(), kind),
        serving=ServingDefaults.model_validate(serving.model_dump()),
        metrics={},
        data_fingerprint=f"synthetic-{architecture}-{items}",
    )


def _model(config: ModelConfig, trained: DimeRec | None, vectors: Vectors) -> DimeRec:
    """A network with these vectors as its table; its weights are `trained`'s, or random."""
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        model = DimeRec(config).eval()
    state = model.state_dict() if trained is None else trained.state_dict()
    (table,) = [name for name in state if state[name].shape[:1] == ((trained or model).config.items + 1,)]
    state[table] = torch.cat([torch.zeros(1, config.dim), torch.from_numpy(vectors)])
    model.load_state_dict(state)
    return model


def _attributes(items: int) -> Attributes:
    generator = np.random.default_rng(_SEED)
    lengths = pa.array(generator.random(items))
    tags = [
        [f"tag-{one}" for one in generator.choice(20, size, replace=False)]
        for size in generator.integers(0, 4, items)
    ]
    return from_arrow(items, {"length": ("number", lengths), "tags": ("texts", pa.array(tags))})


def _catalogue(known: Catalogue, originals: np.ndarray, attributes: Attributes | None) -> Catalogue:
    generator = np.random.default_rng(_SEED)
    lines = originals.tolist()
    copied = range(len(known), len(lines))
    shares = generator.random(len(lines))
    titles, categories = known.titles, known.categories  # made anew at each call
    return Catalogue(
        item_ids=[*known.item_ids[: len(lines)], *(f"copy-{number}" for number in copied)],
        titles=[
            titles[line] if number < len(known) else f"{titles[line]} #{number}"
            for number, line in enumerate(lines)
        ],
        categories=[categories[line] for line in lines],
        popularity=(known.popularity[originals] * shares).astype(np.int64),
        attributes=attributes,
    )
