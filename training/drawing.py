"""The part of a model's draws in the answers: none where they add nothing on validation events.

Behind an encoder the draws say again what the guidance says, and cost their denoising steps; behind pooled
vectors they are most of the accuracy (docs/benchmark.md, "What diffusion adds").
"""

from typing import NamedTuple

import numpy as np

from bundle.facts import DrawsFacts
from bundle.manifest import ServingDefaults
from model.dimerec import DimeRec
from training.data.splits import Targets
from training.evaluation.bootstrap import paired_bootstrap
from training.evaluation.dimerec_scorer import DimeRecScorer
from training.evaluation.ranking import evaluate

MAX_TARGETS = 5_000
"""Validation events that it is decided on: NDCG@10 of .05 has a standard error of .002 on them."""
_SHOWN = ("ndcg@10", "hr@50")
"""Metrics that are kept of both ways."""


class Fitted(NamedTuple):
    """The way that a model is asked, and how that was decided."""

    serving: ServingDefaults
    facts: DrawsFacts | None
    """None where nothing was to be decided."""


def fit_draws(model: DimeRec, serving: ServingDefaults, targets: Targets, seed: int = 0) -> Fitted:
    """Ask by guidance alone where the draws beside it add nothing to NDCG@10 of a sample of `targets`.

    They add something where the 95 % interval of their lead is above 0, seen items removed. A model that is
    asked by its draws alone, or by its guidance, is asked so, and one without targets as `serving` says.
    """
    chosen = targets.sample(MAX_TARGETS, np.random.default_rng(0))
    if serving.interest_mode != "both" or not len(chosen):
        return Fitted(serving, None)
    alone = serving.model_copy(update={"interest_mode": "guidance"})
    after, before = (
        evaluate(DimeRecScorer(model, asked, seed), chosen, ks=(10, 50), exclude_seen=True)
        for asked in (serving, alone)
    )
    lead = paired_bootstrap(after, before, "ndcg", 10, generator=np.random.default_rng(0))
    facts = DrawsFacts(
        targets=len(chosen),
        before={name: before.metrics[name] for name in _SHOWN},
        after={name: after.metrics[name] for name in _SHOWN},
        lead=(lead.low, lead.high),
    )
    return Fitted(serving if facts.used else alone, facts)


def with_draws(serving: ServingDefaults) -> ServingDefaults:
    """The way to ask for draws where `serving` has none of them."""
    if serving.interest_mode != "guidance":
        return serving
    return serving.model_copy(update={"interest_mode": "both"})


def said(facts: DrawsFacts) -> str:
    """A line on what draws brought."""
    before, after = (part["ndcg@10"] for part in (facts.before, facts.after))
    low, high = facts.lead
    gain = f"ndcg@10 on validation {before:.4f} → {after:.4f}, a lead of {low:+.4f} to {high:+.4f}"
    if facts.used:
        return f"The draws add to the guidance: {gain}."
    return f"The draws add nothing to the guidance ({gain}): it answers alone."
