"""From a finished run to a bundle in service, unless that would make the service worse."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from bundle.errors import BundleError
from bundle.facts import IndexFacts, Standing
from bundle.manifest import ServingDefaults
from bundle.read import current_version, verify
from bundle.write import publish
from index.building import build_index
from index.catalogue import Catalogue
from index.counts import Counts
from index.faiss_index import FaissIndex
from index.faiss_library import require_faiss
from index.measuring import MAX_MEASURED, tuned_index
from index.tuning import IndexChoice
from index.vector_index import Vectors
from model.checkpoint import read_checkpoint
from model.dimerec import DimeRec
from model.interests import InterestMode
from training.config import TrainingConfig
from training.content_map import Fitted, fit_content_map
from training.content_ranks import Watches
from training.counts import count_followers, fit_followers
from training.data.content_file import ItemContent, read_content
from training.data.dataset import Dataset
from training.data.splits import SPLITS, Sequences, Split, Targets
from training.drawing import Fitted as FittedDraws
from training.drawing import fit_draws, with_draws
from training.errors import ConfigError, QualityError
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.ranking import evaluate
from training.evaluation.repeat_weight import learned_repeat_weight
from training.evaluation.report import baselines
from training.novelty import LOSS, fit_novelty
from training.refit import refitted
from training.run import BEST_FILE, EpochRecord, best_of, read_run_config

_MAX_COMPARED = 10_000
"""Test events on which a model is compared with simple recommenders when it is published: HR@10 of .1 has a
standard error of .003 on them.
"""

DEFAULT_RECALL = 0.95
"""Part of the nearest items found: with .95 of them, HR and NDCG of the demo are within two hundredths of
those of an exact index (docs/method.md)."""

VALIDATION = "validation/"
"""Prefix of the metrics that a bundle's manifest takes over from its run's best epoch."""


def publish_run(
    run: Path,
    dataset: Dataset,
    root: Path,
    *,
    index_kind: IndexChoice = "auto",
    recall: float = DEFAULT_RECALL,
    repeat_weight: float | None = None,
    interest_mode: InterestMode | None = None,
    counts: bool | None = None,
    content: Path | None = None,
    novelty_loss: float = LOSS,
    margin: float = 0.05,
    force: bool = False,
    refit: bool = True,
    source_revision: str | None = None,
    on_stage: Callable[[str], object] = lambda _: None,
) -> str:
    """Publish a run's model with the index of its items and put it in service; returns the version.

    That is its refit, where it has one and `refit` does not forbid it, else its best model. All that is said
    of how it ranks is measured on the best model, which has not seen what is held out.

    The manifest keeps how it ranks test events beside ItemKNN and Popularity; being behind is no refusal.

    `recall` (0 … 1) is the part of the nearest items that the index should find for interests of held-out
    users: no more effort goes into a search than that takes. `repeat_weight` is what an item of the history
    counts where a request does not exclude such items; None: fitted on validation. `interest_mode`: the
    interests that search where a request does not say; None: as the run says, but guidance alone where that
    is both and draws add nothing on validation. `counts`: count what followed each item, too, and have that
    in the bundle where it adds something on validation; None: unless interests are merged by max.
    `content`: Parquet file of content vectors, of which a content map is fitted and measured; it is in the
    bundle where it is nearer than the mean of an item's categories.
    `novelty_loss` is the part of HR@10 (0 … 1) on validation that a request's greatest novelty may cost.
    `margin` is the relative fall (0 … 1) of the run's monitored metric, against the
    bundle in service, up to which a model may replace it; `force` publishes whatever its metric.
    `on_stage` hears what is done next: on a large catalogue it may take minutes. Raises
    QualityError beyond the margin, DataError for content that cannot be used,
    ConfigError if the run was trained on other data, TrainingError if its refit is unfinished, BundleError as
    `bundle.write.publish` does, FaissMissingError.
    """
    require_faiss()
    config = read_run_config(run)
    if config.data_fingerprint != dataset.fingerprint:
        raise ConfigError(f"{run} was trained on other data; name the prepared data it was trained on")
    if repeat_weight not in (None, 1) and config.training.serving.merge == "max":
        raise ConfigError("a repeat weight needs serving.merge mean, the run has max: leave it out")
    if counts and config.training.serving.merge == "max":
        raise ConfigError("counts need serving.merge mean, the run has max: leave --counts out")
    best = best_of(run)
    whole = refitted(run) if refit else None
    if not force:
        _check_quality(root, config.training, best, margin)
    given = None if content is None else read_content(content, dataset.catalogue)
    training = config.training
    split = SPLITS[training.split](dataset)
    on_stage("Reading the model, and weighing its draws on validation events")
    model = read_checkpoint(run / BEST_FILE)
    serving, draws = _asked(model, training.serving, interest_mode, split.validation)
    measured = _Candidate.of(model, serving, split.validation)
    served = measured if whole is None else _Candidate.of(read_checkpoint(whole), serving, split.validation)
    counted = None
    if counts or (counts is None and serving.merge == "mean"):
        on_stage("Counting what followed what, and weighing it on validation events")
        counted = fit_followers(measured.scorer, split, len(dataset.catalogue))
    chosen = counted and counted.used
    on_stage("Fitting the repeat weight, the content map and novelty on validation events")
    if repeat_weight is None:
        repeat_weight = learned_repeat_weight(model, serving, training.seed, split.validation, chosen)
    fitted = None if given is None else _content_map(given, dataset.catalogue, measured, served)
    scorer = DimeRecScorer(model, serving, counts=chosen)
    novelty = None
    if serving.merge == "mean":
        events = split.train.events_per_item(len(dataset.catalogue))
        novelty = fit_novelty(scorer, events, split.validation, novelty_loss)
    on_stage("Building the index, and measuring its recall")
    index, facts = _index(served.vectors, served.watches, index_kind, recall)
    on_stage("Comparing with ItemKNN and Popularity on test events")
    standing = _standing(scorer, split)
    on_stage("Writing the bundle")
    return publish(
        root,
        served.model,
        dataset.catalogue,
        index,
        serving=serving,
        repeat_weight=repeat_weight,
        metrics={f"{VALIDATION}{name}": value for name, value in best.validation.items()},
        index_facts=facts,
        content_map=None if fitted is None else fitted.content_map,
        content=None if fitted is None else fitted.facts,
        draws=draws,
        counts=chosen if whole is None or chosen is None else _recounted(chosen, dataset),
        counts_facts=None if counted is None else counted.facts,
        novelty=novelty,
        standing=standing,
        data_fingerprint=config.data_fingerprint,
        split=training.split,
        catalogue_sequence=dataset.catalogue_sequence,
        refit=whole is not None,
        source_revision=source_revision,
    )


def _asked(
    model: DimeRec, serving: ServingDefaults, mode: InterestMode | None, validation: Targets
) -> FittedDraws:
    """The model's settings of serving: in `mode`, or fitted where that is None."""
    if mode is not None:
        return FittedDraws(serving.model_copy(update={"interest_mode": mode}), None)
    return fit_draws(model, serving, validation)


class _Candidate(NamedTuple):
    """A model, and its interests for held-out users."""

    model: DimeRec
    scorer: DimeRecScorer
    vectors: Vectors
    watches: Watches

    @classmethod
    def of(cls, model: DimeRec, serving: ServingDefaults, held_out: Targets) -> Self:
        """A model as `serving` asks it; its interests have draws, for which some ask in any case."""
        scorer = DimeRecScorer(model, serving)
        vectors = model.item_vectors().detach().numpy()
        watches = _watches(DimeRecScorer(model, with_draws(serving)), held_out, model.config.dim)
        return cls(model, scorer, vectors, watches)


def _recounted(counts: Counts, dataset: Dataset) -> Counts:
    """The same decay and weight, for what followed each item in all events."""
    everything = Sequences(dataset.items, dataset.offsets)
    counted = count_followers(everything, len(dataset.catalogue))
    return replace(counted, decay=counts.decay, weight=counts.weight)


def _content_map(
    content: ItemContent, catalogue: Catalogue, measured: _Candidate, served: _Candidate
) -> Fitted:
    """The map to the vectors that are served, with the facts of the one that was measured."""
    found = fit_content_map(content, catalogue, measured.vectors, measured.watches)
    if served is measured:
        return found
    to_served = fit_content_map(content, catalogue, served.vectors, served.watches)
    facts = found.facts.model_copy(update={"ridge": to_served.facts.ridge})
    return Fitted(to_served.content_map, facts)


def _index(
    vectors: Vectors, watches: Watches, kind: IndexChoice, recall: float
) -> tuple[FaissIndex, IndexFacts | None]:
    """The index of the model's items, tuned on interests of held-out users, and how it was measured."""
    if not len(watches.rows):
        return build_index(vectors, kind), None
    interests = watches.interests.reshape(-1, vectors.shape[1])
    queries = np.random.default_rng(0).permutation(interests)[:MAX_MEASURED]
    index, found = tuned_index(vectors, kind, queries, recall)
    return index, IndexFacts(
        kind=index.kind,
        effort=index.effort,
        target=recall,
        recall=round(found.recall, 4),
        queries=len(queries),
        ms=round(found.ms, 4),
    )


def _watches(scorer: DimeRecScorer, held_out: Targets, dim: int) -> Watches:
    """Held-out events that the index and the content map are measured on."""
    if not len(held_out):
        return Watches(np.empty(0, np.int64), np.empty((0, 1, dim), np.float32))
    sample = held_out.sample(MAX_MEASURED, np.random.default_rng(0))
    return Watches(sample.items.astype(np.int64), scorer.interests(sample.histories).float().numpy())


def _standing(model: DimeRecScorer, split: Split) -> Standing | None:
    """The model beside simple recommenders on test events or a sample, as `dimerec evaluate` measures it."""
    if not len(split.test):
        return None
    validation, test = (
        part.sample(_MAX_COMPARED, np.random.default_rng(0)) for part in (split.validation, split.test)
    )
    simple = baselines(replace(split, validation=validation), model.items)
    scorers = {"DimeRec": model, **{name: contestant.scorer for name, contestant in simple.items()}}
    metrics = {
        name: evaluate(scorer, test, ks=(10,), exclude_seen=True).metrics for name, scorer in scorers.items()
    }
    return Standing(targets=len(test), metrics=metrics)


def _check_quality(root: Path, config: TrainingConfig, best: EpochRecord, margin: float) -> None:
    monitor, split = config.monitor, config.split
    try:
        version = current_version(root)
        if version is None:
            return
        manifest = verify(root, version)
    except BundleError as error:
        raise QualityError(f"{error}; it cannot be compared with, so publish with --force") from error
    metrics, name = manifest.metrics, f"{VALIDATION}{monitor}"
    if manifest.split != split or name not in metrics:
        raise QualityError(
            f"{version}, in service, does not tell its {name} on the split {split}; publish with --force"
        )
    before, after = metrics[name], best.validation[monitor]
    if after < before * (1 - margin):
        raise QualityError(
            f"{monitor} on validation is {after:.4f}, {version} in service has {before:.4f}: "
            f"it fell by more than {margin:.0%}; train further, or publish with --force"
        )
