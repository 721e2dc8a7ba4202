"""The recommenders that the benchmark knows, by name."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from training.benchmark.data import Data
from training.benchmark.dimerec import DimeRecRecipe
from training.benchmark.execute import Job
from training.benchmark.networks import NETWORKS, NetworkRecipe
from training.benchmark.recipe import Recipe
from training.benchmark.simple import ItemKNNRecipe, PopularityRecipe
from training.config import override, read_config
from training.errors import BenchmarkError, ConfigError

_OF_THE_BENCHMARK = {"seed": "--seeds", "minutes": "--minutes", "split": "--split"}
"""Keys of a configuration that are the same for all, and the options that set them."""


class Entry(NamedTuple):
    """One recommender of the registry."""

    summary: str
    """One line."""
    recipe: Callable[[Sequence[str]], Recipe]
    """Makes it from overrides `KEY=VALUE` of its training configuration."""
    seeded: bool = True
    """True where anything of it is random; one seed is enough for the rest."""


_NETWORKS = {
    "sasrec": "SASRec (Kang and McAuley, ICDM 2018), sampled softmax",
    "sasrec-ce": "SASRec with the softmax over all items",
    "sasrec-ce-deep": "the same with four blocks and d = 128",
    "comirec-sa": "ComiRec (Cen et al., KDD 2020), self-attention",
    "comirec-dr": "ComiRec, dynamic routing",
    "mind": "MIND (Li et al., CIKM 2019)",
    "dreamrec": "DreamRec (Yang et al., NeurIPS 2023), diffusion",
    "diffurec": "DiffuRec (Li et al., TOIS 2023), diffusion",
}
"""Parts that the neural baselines have in common."""

_LARGE = "recipe=large"
_VARIANTS = {
    "dimerec-recency-attentive": (
        "guidance: self-attention with learned forgetting",
        ["model.guidance=recency_attentive", "model.guidance_vectors=4"],
    ),
    "dimerec-self-attentive": (
        "guidance: self-attention of ComiRec-SA",
        ["model.guidance=self_attentive", "model.guidance_vectors=4"],
    ),
    "dimerec-dynamic-routing": (
        "guidance: capsules of ComiRec-DR",
        ["model.guidance=dynamic_routing", "model.guidance_vectors=4"],
    ),
    "dimerec-sasrec": ("guidance: the last state of a transformer", ["model.guidance=sasrec"]),
    "dimerec-mlp": ("guidance: a perceptron", ["model.guidance=mlp", "model.guidance_vectors=4"]),
    "dimerec-recent": (
        "guidance: the newest items themselves",
        ["model.guidance=recent", "model.guidance_vectors=4"],
    ),
    "dimerec-perceptron": ("denoiser: the paper's perceptron", ["model.denoiser=mlp"]),
    "dimerec-k1": ("one guidance vector", ["model.guidance_vectors=1"]),
    "dimerec-no-noise": (
        "no noise: the same network as a point predictor",
        ["model.process=none", "serving.steps=1", "serving.draws=1"],
    ),
    "dimerec-no-later": ("guidance learns from the next item alone", ["model.later_weight=0"]),
    "dimerec-random-start": ("item vectors start at random", ["item_start=random"]),
    "dimerec-gaussian": ("noise: Gaussian, projected onto the sphere", ["model.process=gaussian"]),
    "dimerec-euclidean": ("noise: Gaussian, off the sphere", ["model.process=euclidean"]),
    "dimerec-projected": (
        "reconstruction of the projected prediction",
        ["model.project_reconstruction=true"],
    ),
    "dimerec-attached": ("gradient into the target's vector", ["model.detach_target=false"]),
    "dimerec-no-reconstruction": ("without L_recon", ["model.reconstruction_weight=0"]),
    "dimerec-no-softmax": ("without L_ssm", ["model.softmax_weight=0"]),
}
"""The recipe of large logs, whatever the log, with a thing or two changed: name → (what, overrides)."""


def _dimerec(
    changes: Sequence[str], *, file: Path | None = None, sweep: bool = False, as_published: bool = True
) -> Callable[[Sequence[str]], Recipe]:
    def make(overrides: Sequence[str]) -> Recipe:
        return DimeRecRecipe(read_config(file, [*overrides, *changes]), sweep, as_published)

    return make


def _network(make: Callable[[], Recipe]) -> Callable[[Sequence[str]], Recipe]:
    def overridden(overrides: Sequence[str]) -> Recipe:
        recipe = make()
        if not isinstance(recipe, NetworkRecipe):
            return recipe
        return replace(recipe, config=override(recipe.config, overrides))

    return overridden


def _fixed(make: Callable[[], Recipe]) -> Callable[[Sequence[str]], Recipe]:
    def without_overrides(_: Sequence[str]) -> Recipe:
        return make()

    return without_overrides


REGISTRY: dict[str, Entry] = {
    "popularity": Entry("what most people watched", _fixed(PopularityRecipe), seeded=False),
    "itemknn": Entry("item-based neighbours, decay tuned", _fixed(ItemKNNRecipe), seeded=False),
    "dimerec": Entry("DimeRec, its defaults: the recipe follows the size of the log", _dimerec([])),
    "dimerec-large": Entry("DimeRec by the recipe of large logs, whatever the log", _dimerec([_LARGE])),
    "dimerec-steps": Entry(
        "dimerec-large over steps × draws", _dimerec([_LARGE], sweep=True, as_published=False)
    ),
    **{name: Entry(_NETWORKS[name], _network(make)) for name, make in NETWORKS.items()},
    **{
        name: Entry(f"dimerec-large, {what}", _dimerec([_LARGE, *changes], as_published=False))
        for name, (what, changes) in _VARIANTS.items()
    },
}
"""Every recommender by the name that `--models` takes."""


def plan(
    data: Data,
    entries: Mapping[str, Entry],
    *,
    seeds: int,
    minutes: float | None = None,
    overrides: Sequence[str] = (),
) -> list[Job]:
    """The jobs of recommenders on one data set: each with its first seed, then each with the next.

    `overrides` change the configuration of all that have one. Raises ConfigError for a file or an override
    that a recommender does not know, or that is the benchmark's own to set.
    """
    for change in overrides:
        if (key := change.partition("=")[0]) in _OF_THE_BENCHMARK:
            raise ConfigError(f"--set {key}: the benchmark sets it; say {_OF_THE_BENCHMARK[key]}")
    recipes = {name: entry.recipe(overrides) for name, entry in entries.items()}
    return [
        Job(data, name, recipes[name], seed, minutes)
        for seed in range(seeds)
        for name, entry in entries.items()
        if entry.seeded or seed == 0
    ]


def find(
    names: Sequence[str], configs: Sequence[str] = (), registry: Mapping[str, Entry] = REGISTRY
) -> dict[str, Entry]:
    """The named entries, then a DimeRec for each `NAME=FILE` of a training configuration.

    Raises BenchmarkError where a name is unknown, listing those there are, or given twice.
    """
    for name in names:
        if name not in registry:
            raise BenchmarkError(
                f"--models: {name!r} is not in the registry, which has {', '.join(registry)}"
            )
    found = {name: registry[name] for name in names}
    for text in configs:
        name, separator, file = text.partition("=")
        if not (re.fullmatch(r"[\w.-]+", name) and separator and file):
            raise BenchmarkError(
                f"--config: {text!r} is not NAME=FILE, as in wide=wide.toml; a name: letters, digits, . _ -"
            )
        if name in registry or name in found:
            raise BenchmarkError(f"--config: {name!r} is taken; choose a name that is not in the registry")
        found[name] = Entry(f"DimeRec of {file}", _dimerec([], file=Path(file)))
    return found
