"""A trained model to be measured: of a run or of a bundle, and asked as it says or otherwise."""

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from bundle.facts import DrawsFacts
from bundle.manifest import Manifest, ServingDefaults
from bundle.read import Bundle, read_bundle
from files.errors import first_fault
from index.counts import Counts
from model.checkpoint import read_checkpoint
from model.dimerec import DimeRec
from training.counts import fit_followers
from training.data.dataset import Dataset
from training.data.splits import Split, SplitName
from training.drawing import fit_draws
from training.errors import ConfigError
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.repeat_weight import learned_repeat_weight
from training.refit import REFIT_DIRECTORY
from training.run import BEST_FILE, read_run_config
from training.trainer import choose_device

_REFITTED = "Measured is the run before its refit: the refit has learned from the events that are held out."


_OF_DRAWS = {"steps", "draws", "guidance_weight"}
"""Settings that mean nothing where guidance alone searches."""


class Trained(NamedTuple):
    """A model and what is known of how it was trained."""

    model: DimeRec
    serving: ServingDefaults
    split: str | None
    data_fingerprint: str
    repeat_weight: float | None
    """Factor on the score of an item of the history; None: to be fitted, as `dimerec publish` does."""
    bundle: Bundle | None = None
    """All of it, where it is a bundle's."""
    note: str | None = None
    """A line on what is measured, where that is not what would be served."""


def trained_model(run: Path | None, bundles: Path | None, version: str | None, device: str) -> Trained | None:
    """The best model of a run, or that of a bundle, by default the one in service; None without either.

    A run's refit is never measured. Raises ConfigError where both are, or the bundle is of a refit, and what
    reading them raises.
    """
    if run is not None and bundles is not None:
        raise ConfigError("--run and --bundles name two models; give one of them")
    chosen = choose_device(device)
    if run is not None:
        config = read_run_config(run)
        model = read_checkpoint(run / BEST_FILE, chosen)
        serving, split = config.training.serving, config.training.split
        note = _REFITTED if (run / REFIT_DIRECTORY).exists() else None
        return Trained(model, serving, split, config.data_fingerprint, None, note=note)
    if bundles is not None:
        loaded = read_bundle(bundles, version, str(chosen))
        manifest = loaded.manifest
        refuse_refitted(manifest)
        return Trained(
            loaded.model,
            manifest.serving,
            manifest.split,
            manifest.data_fingerprint,
            manifest.repeat_weight,
            loaded,
        )
    return None


def refuse_refitted(manifest: Manifest) -> None:
    """Raise ConfigError for a bundle of a refit, which has learned from the events that it would predict."""
    if manifest.refit:
        raise ConfigError(
            f"{manifest.version} was refitted on all events and knows those that are held out;"
            " measure the run before that with `dimerec evaluate --run`"
        )


def check_fit(trained: Trained, dataset: Dataset, split: SplitName | None) -> None:
    """Refuse a model that was trained on other data, or on what it would have to predict."""
    if trained.data_fingerprint != dataset.fingerprint:
        raise ConfigError(
            f"the model was trained on other data ({trained.data_fingerprint[:16]}) than --data holds"
            f" ({dataset.fingerprint[:16]}); name the directory that it was trained on"
        )
    if split is not None and trained.split is not None and split != trained.split:
        raise ConfigError(
            f"the model was trained on the split {trained.split} and may know what {split} holds out;"
            f" leave out --split, or train with --set split={split}"
        )


def asked_otherwise(trained: Trained, asked: dict[str, Any]) -> ServingDefaults:
    """Settings of asking the model: its own, but for those that the caller named.

    Who names something of the draws has draws, as who asks the service has.
    """
    given = {key: value for key, value in asked.items() if value is not None}
    if trained.serving.interest_mode == "guidance" and given.keys() & _OF_DRAWS:
        given = {"interest_mode": "both"} | given
    try:
        serving = ServingDefaults.model_validate({**trained.serving.model_dump(), **given})
    except ValidationError as error:
        field, _, message = first_fault(error.errors(), "serving").partition(": ")
        raise ConfigError(f"--{field.replace('_', '-')}: {message}") from error
    if serving.steps > trained.model.config.timesteps:
        raise ConfigError(f"--steps is {serving.steps}, the model has {trained.model.config.timesteps}")
    return serving


def settled(
    trained: Trained, asked: dict[str, Any], split: Split
) -> tuple[ServingDefaults, DrawsFacts | None]:
    """Settings of asking the model, and how its mode was decided; None where it was not.

    A run's draws have the part that `dimerec publish` would give them, unless the caller named the mode or
    something of the draws.
    """
    serving = asked_otherwise(trained, asked)
    named = {key for key, value in asked.items() if value is not None}
    if trained.bundle is not None or named & {"interest_mode", *_OF_DRAWS}:
        return serving, None
    return fit_draws(trained.model, serving, split.validation)


def measurable(
    trained: Trained, serving: ServingDefaults, split: Split, seed: int, *, counts: bool
) -> tuple[DimeRecScorer, dict[str, Any]]:
    """The model as `serving` asks it, and how it is set, with what its bundle has or `publish` would fit.

    `counts`: let counts have their part.
    """
    own = _counts(trained, serving, split) if counts and serving.merge == "mean" else None
    weight = _repeat_weight(trained, serving, split, seed, own)
    settings = {**serving.model_dump(exclude={"diversity"}), "repeat_weight": weight, "seed": seed}
    if own is not None:
        settings["counts"] = own.weight
    return DimeRecScorer(trained.model, serving, seed, weight, own), settings


def _counts(trained: Trained, serving: ServingDefaults, split: Split) -> Counts | None:
    """The counts of a bundle, or of a run as `dimerec publish` fits them; None where there are none."""
    if trained.bundle is not None:
        return trained.bundle.counts
    scorer = DimeRecScorer(trained.model, serving)
    return fit_followers(scorer, split, trained.model.config.items).used


def _repeat_weight(
    trained: Trained, serving: ServingDefaults, split: Split, seed: int, counts: Counts | None
) -> float:
    """The factor of an item of the history:
    the bundle's, or fitted on validation for another way of asking.
    """
    if trained.bundle is not None and serving == trained.serving and counts is trained.bundle.counts:
        return trained.bundle.manifest.repeat_weight
    if trained.repeat_weight == 1:  # chosen, or of a bundle from before there was any other
        return 1.0
    return learned_repeat_weight(trained.model, serving, seed, split.validation, counts)
