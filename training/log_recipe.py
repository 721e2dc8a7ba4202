"""What a configuration of DimeRec leaves unset follows from the size of the log: one rule.

A small log is learned by pooling item vectors that start from co-occurrence, a large one by an encoder.
Measured on MovieLens-1M (988,000 training events), KuaiRand-Pure (405,000), Amazon Beauty (154,000),
MovieLens-100K (98,000) and samples of users of the last three (from 8,000 events up): docs/experiments.md,
"Small logs" and "The temperature by log".
"""

import math
from types import MappingProxyType
from typing import Any, Literal

Recipe = Literal["small", "large"]
"""The size of log that a recipe is for."""

SMALL_LOG = 125_000
"""A log is large from this many training events: a guess between 98,000 and 154,000, which were measured."""
POOLED = "recency_attentive"
"""The guidance of small logs: on MovieLens-100K ahead of an encoder, on larger logs behind one."""

OF_SMALL_LOGS = MappingProxyType(
    {
        "model.dim": 64,
        "model.guidance": POOLED,
        "model.interests": 4,
        "model.denoiser": "mlp",
        "model.first_cosine": 0.2,
        "serving.draws": 8,
        "serving.guidance_weight": 0.33,
    }
)
"""Where these are unset, a large log has the defaults of their fields."""


def recipe_for(events: int) -> Recipe:
    """The recipe of a log of so many training events."""
    return "small" if events < SMALL_LOG else "large"


def suited(recipe: Recipe, events: int, items: int) -> dict[str, Any]:
    """Each key that follows the log, as `section.key`, with its value for a log of this size."""
    density = events / items
    found = {
        "model.dropout": pooled_dropout(density) if recipe == "small" else typical_dropout(density),
        "model.blocks": typical_blocks(density),
        "model.temperature": typical_temperature(events),
    }
    return found | OF_SMALL_LOGS if recipe == "small" else found


def typical_dropout(events_per_item: float) -> float:
    """What suits a log: .5 up to 12 training events per item, .1 less for each threefold, .2 at the least.

    From three logs (Amazon Beauty has 13, KuaiRand-Pure 60, MovieLens-1M 267).
    """
    threefolds = math.log(max(events_per_item, 12) / 12, 3)
    return round(max(0.5 - 0.1 * threefolds, 0.2), 2)


def pooled_dropout(events_per_item: float) -> float:
    """What suits a small log: .5 up to 12 training events per item, falling to .2 at 50.

    From MovieLens-100K (58) and the samples (3 to 9).
    """
    risen = math.log(max(events_per_item, 12) / 12, 50 / 12)
    return round(max(0.5 - 0.3 * risen, 0.2), 2)


def typical_blocks(events_per_item: float) -> int:
    """How many transformer blocks suit a log: 4 from 30 training events per item, 2 below.

    From the same logs.
    """
    return 4 if events_per_item >= 30 else 2


def typical_temperature(events: int) -> float:
    """Which τ suits a log: .1 for a small one, .05 for a large one; parts of these logs were measured too."""
    return 0.1 if events < SMALL_LOG else 0.05


FOLLOWING = frozenset({*suited("small", 1, 1), "serving.temperature"})
"""Every key that follows the log where it is unset."""
