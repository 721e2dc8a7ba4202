"""Starting from an older model whose catalogue was another one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import nn

from bundle.read import read_bundle
from index.catalogue import Catalogue
from model.dimerec import DimeRec
from training.errors import ConfigError


@dataclass(frozen=True)
class Initial:
    """An older model and what its rows stood for."""

    model: DimeRec
    catalogue: Catalogue
    version: str

    @classmethod
    def in_service(cls, bundles: Path) -> Self:
        """The model of the bundle in service under `bundles`.

        Raises what `read_bundle` raises, ConfigError where it was refitted: it knows what would be held out.
        """
        bundle = read_bundle(bundles)
        if bundle.manifest.refit:
            raise ConfigError(
                f"{bundle.version} was refitted on all events: a run that starts from it would be validated"
                " on what it knows; start from a bundle of `publish --no-refit`, or leave out --init"
            )
        return cls(bundle.model, bundle.catalogue, bundle.version)


def copy_weights(initial: Initial, model: nn.Module, catalogue: Catalogue) -> int:
    """Copy an older model's weights into `model`; returns how many of its items were known before.

    Items keep their vectors by id; new ones keep their random start. Raises ConfigError, naming the key,
    if the two models are not of one architecture.
    """
    if not isinstance(model, DimeRec):
        raise ConfigError(f"a {type(model).__name__} cannot start from a bundle; leave out --init")
    old, new = (one.config.model_dump(exclude={"items"}) for one in (initial.model, model))
    for key in old:
        if old[key] != new[key] and key in _SHAPES:
            raise ConfigError(
                f"model.{key} is {new[key]}, the model to start from has {old[key]};"
                f" set model.{key}={old[key]} or leave out --init"
            )
    table = "items.table.weight"
    weights = initial.model.state_dict()
    before = weights.pop(table)
    model.load_state_dict(weights, strict=False)
    rows = [(row, initial.catalogue.row(item)) for row, item in enumerate(catalogue.item_ids, start=1)]
    known = torch.tensor([(row, old_row) for row, old_row in rows if old_row is not None])
    if len(known):
        with torch.no_grad():
            weight = model.state_dict()[table]
            weight[known[:, 0]] = before[known[:, 1]].to(weight)
    return len(known)


_SHAPES = frozenset(
    (
        "dim",
        "max_length",
        "guidance",
        "guidance_vectors",
        "next_vectors",
        "blocks",
        "heads",
        "timesteps",
        "denoiser",
        "hidden",
        "layers",
    )
)
"""Keys of a model's configuration that its weights cannot do without."""
