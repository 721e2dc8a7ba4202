"""A run and a bundle say all of what they are: none of it hangs on defaults, which change with time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bundle.manifest import Manifest, ServingDefaults
from bundle.read import read_bundle
from model.checkpoint import read_checkpoint
from model.config import Architecture, ModelConfig
from tests.training.logs import cyclic_dataset
from tests.training.test_trainer import Watcher
from training.config import TrainingConfig, read_config
from training.publishing import publish_run
from training.run import BEST_FILE, RunConfig, read_run_config
from training.trainer import train

OTHER_DEFAULTS: dict[type[BaseModel], dict[str, Any]] = {
    Architecture: {
        "dim": 256,
        "guidance": "mlp",
        "guidance_vectors": 7,
        "blocks": 3,
        "dropout": 0.7,
        "first_cosine": 0.123,
        "denoiser": "posterior",
        "temperature": 3.0,
        "negatives": 2,
    },
    ServingDefaults: {"steps": 1, "draws": 7, "guidance_weight": 0.9, "temperature": 3.0, "merge": "max"},
    TrainingConfig: {"recipe": "large", "learning_rate": 0.7, "batch_size": 3, "patience": 2},
}
"""As a later version might have them."""
CONTAINERS: tuple[type[BaseModel], ...] = (
    Architecture,
    ModelConfig,
    ServingDefaults,
    TrainingConfig,
    RunConfig[TrainingConfig],
    Manifest,
)


@contextmanager
def other_defaults() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for kind, defaults in OTHER_DEFAULTS.items():
            for of in (kind, *kind.__subclasses__()):
                for name, value in defaults.items():
                    patch.setattr(of.model_fields[name], "default", value)
                    patch.setattr(of.model_fields[name], "default_factory", None)
        _rebuild()
        yield
    _rebuild()


def _rebuild() -> None:
    for kind in CONTAINERS:
        kind.model_rebuild(force=True)


@pytest.mark.parametrize("recipe", ["small", "large"])
def test_a_run_and_its_bundle_are_the_same_after_the_defaults_have_changed(
    recipe: str, tmp_path: Path
) -> None:
    dataset, run, root = cyclic_dataset(), tmp_path / "run", tmp_path / "bundles"
    tiny = ["epochs=1", "model.dim=16", "model.timesteps=4", "model.hidden=16"]
    train(dataset, read_config(None, [*tiny, f"recipe={recipe}"]), run, Watcher())
    publish_run(run, dataset, root, force=True)

    def found() -> list[str]:
        bundle = read_bundle(root)
        of_run = [read_run_config(run), read_checkpoint(run / BEST_FILE).config]
        return [found.model_dump_json() for found in (*of_run, bundle.manifest, bundle.model.config)]

    before = found()
    with other_defaults():
        assert ModelConfig(items=5).guidance_vectors == 7, "the defaults are other ones"
        assert TrainingConfig().serving.draws == 4  # of the section as a whole, which was made before
        assert ServingDefaults().draws == 7
        assert found() == before


def test_a_run_says_every_value_that_it_was_trained_with(tmp_path: Path) -> None:
    train(cyclic_dataset(), read_config(None, ["epochs=1", "recipe=large"]), tmp_path, Watcher())
    said = json.loads((tmp_path / "config.json").read_text())["training"]
    assert set(said) == set(TrainingConfig.model_fields)
    assert set(said["model"]) == set(Architecture.model_fields)
    assert set(said["serving"]) == set(ServingDefaults.model_fields)
    assert None not in {**said, "minutes": 0}.values()
    assert None not in (*said["model"].values(), *said["serving"].values())
    assert "auto" not in said["recipe"]
