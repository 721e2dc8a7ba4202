"""Small seeded catalogues, models and bundles: real ones, only not trained."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from bundle.content_map import ContentMap
from bundle.facts import ContentFacts, CountsFacts, IndexFacts, NoveltyFacts
from bundle.manifest import ServingDefaults
from bundle.write import publish
from index.attribute_columns import from_arrow
from index.attributes import Attributes, AttributeType
from index.building import build_index
from index.catalogue import Catalogue
from index.counts import Counts
from index.faiss_index import FaissIndex
from index.tuning import IndexKind
from index.vector_index import Vectors
from model.config import ModelConfig
from model.dimerec import DimeRec

CATEGORIES = ("Action", "Comedy", "Drama", "Horror", "Music", "News", "Romance", "Sport")


def make_unit_vectors(count: int, dim: int, seed: int = 0) -> Vectors:
    """Random unit vectors `(count, dim)`."""
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


LANGUAGES = ("de", "en", "fr", "ja")
TAGS = ("cat", "dog", "funny", "live", "sad")


def make_attributes(items: int, seed: int = 0) -> Attributes:
    """Attributes of every type, each of which a fifth of the items lack."""
    generator = np.random.default_rng(seed)
    days = generator.integers(0, 20_000, items) * 86_400_000
    values: dict[str, tuple[AttributeType, list[object]]] = {
        "length": ("number", generator.integers(1, 60, items).tolist()),
        "released": ("date", days.tolist()),
        "language": ("text", generator.choice(LANGUAGES, items).tolist()),
        "live": ("boolean", generator.choice([True, False], items).tolist()),
        "tags": (
            "texts",
            [
                generator.choice(TAGS, size, replace=False).tolist()
                for size in generator.integers(0, 4, items)
            ],
        ),
    }
    columns = {
        name: (
            kind,
            pa.array(
                [
                    value if keep else None
                    for value, keep in zip(some, generator.random(items) < 0.8, strict=True)
                ]
            ),
        )
        for name, (kind, some) in values.items()
    }
    return from_arrow(items, columns)


def make_catalogue(items: int, seed: int = 0, *, attributes: bool = False) -> Catalogue:
    """Items `"1001"`, `"1002"`, … in rows 1, 2, …: up to three categories each, some without a title."""
    generator = np.random.default_rng(seed)
    return Catalogue(
        item_ids=[str(1000 + row) for row in range(1, items + 1)],
        titles=[None if row % 10 == 0 else f"Video {row}" for row in range(1, items + 1)],
        categories=[
            generator.choice(CATEGORIES, size=generator.integers(0, 4), replace=False).tolist()
            for _ in range(items)
        ],
        popularity=generator.integers(0, 1000, size=items),
        attributes=make_attributes(items, seed) if attributes else None,
    )


def make_model(items: int, dim: int = 16, *, seed: int = 0, **config: object) -> DimeRec:
    """A DimeRec with random weights, in eval mode; `config` are further fields of ModelConfig."""
    fields = {"items": items, "dim": dim, "max_length": 20, "timesteps": 8, "hidden": 32, **config}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DimeRec(ModelConfig.model_validate(fields)).eval()


def make_index(model: DimeRec, kind: IndexKind = "flat") -> FaissIndex:
    """The index of a model's items."""
    return build_index(model.item_vectors().detach().numpy(), kind)


def make_serving(**fields: object) -> ServingDefaults:
    """Serving defaults that suit `make_model`."""
    defaults = {
        "steps": 2,
        "draws": 4,
        "interest_mode": "draws",
        "temperature": 0.07,
        "guidance_weight": 0.25,
    }
    return ServingDefaults.model_validate(defaults | fields)


def make_content_map(inputs: int, dim: int = 16, seed: int = 0) -> ContentMap:
    """A random map, with a shift for each of `CATEGORIES`."""
    generator = np.random.default_rng(seed)
    bias, weights, shifts = (
        generator.standard_normal(shape).astype(np.float32)
        for shape in [(dim,), (inputs, dim), (len(CATEGORIES), dim)]
    )
    return ContentMap(bias, weights, shifts, CATEGORIES)


def make_content_facts(inputs: int, *, used: bool = True) -> ContentFacts:
    """A measurement of a map."""
    return ContentFacts(
        inputs=inputs,
        items=100,
        ridge=1.5,
        measured=80,
        cosine={"content": 0.5, "categories": 0.4, "random": 0.1},
        lead=(0.05, 0.15),
        watches=500,
        ndcg={"content": 0.05, "categories": 0.03, "random": 0.02},
        ndcg_lead=(0.01, 0.03) if used else (-0.01, 0.03),
    )


def make_counts(items: int, *, followers: int = 6, seed: int = 0, weight: float = 0.3) -> Counts:
    """Random followers of each item, of some fewer than of others, and of some none."""
    generator = np.random.default_rng(seed)
    rows = np.stack([generator.permutation(items)[:followers] + 1 for _ in range(items)]).astype(np.int32)
    rows[generator.random(rows.shape) < 0.3] = 0
    rows[-5:] = 0
    parts = np.where(rows > 0, generator.random(rows.shape), 0).astype(np.float32)
    return Counts(rows, parts, 0.8, weight)


def make_counts_facts(counts: Counts) -> CountsFacts:
    """A measurement of counts."""
    return CountsFacts(
        followers=counts.followers.shape[1],
        decay=counts.decay,
        weight=counts.weight,
        targets=500,
        before={"ndcg@10": 0.1, "hr@50": 0.3},
        after={"ndcg@10": 0.11, "hr@50": 0.31},
        lead=(0.005, 0.015),
    )


def make_novelty_facts(power: float) -> NoveltyFacts:
    """A measurement of novelty."""
    return NoveltyFacts(
        power=power,
        loss=0.1,
        targets=500,
        before={"hr@10": 0.1, "ndcg@10": 0.05, "coverage@20": 0.5, "share@20": 0.004},
        after={"hr@10": 0.091, "ndcg@10": 0.045, "coverage@20": 0.7, "share@20": 0.003},
    )


def publish_tiny_bundle(
    root: Path,
    *,
    items: int = 200,
    dim: int = 16,
    seed: int = 0,
    repeat_weight: float = 1.0,
    index_facts: IndexFacts | None = None,
    make_current: bool = True,
    catalogue_sequence: int = 0,
    refit: bool = False,
    attributes: bool = False,
    content_map: ContentMap | None = None,
    content_used: bool = True,
    counts: Counts | None = None,
    novelty: float | None = None,
    **config: object,
) -> str:
    """Publish a bundle of a catalogue and an untrained model under `root`; return its version."""
    model = make_model(items, dim, seed=seed, **config)
    return publish(
        root,
        model,
        make_catalogue(items, seed, attributes=attributes),
        make_index(model),
        serving=make_serving(),
        metrics={"hit_rate@20": 0.1},
        repeat_weight=repeat_weight,
        index_facts=index_facts,
        content_map=content_map,
        content=None if content_map is None else make_content_facts(content_map.inputs, used=content_used),
        counts=counts,
        counts_facts=None if counts is None else make_counts_facts(counts),
        novelty=None if novelty is None else make_novelty_facts(novelty),
        data_fingerprint=f"tiny-{items}-{seed}",
        make_current=make_current,
        catalogue_sequence=catalogue_sequence,
        refit=refit,
    )
