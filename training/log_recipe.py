"""The recipe: one rule by which unset keys of a configuration follow from the size of the log.

A small log is learned by pooling item vectors that start from co-occurrence, in smaller steps the fewer users
it has; a large one by an encoder.
Measured on MovieLens-1M (988,000 training events), KuaiRand-Pure (405,000), Amazon Beauty (154,000),
MovieLens-100K (98,000) and samples of users of the last three (from 8,000 events up): docs/experiments.md,
"Small logs" and "The temperature by log".
"""

import math
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self

from training.data.splits import Sequences


class LogSize(NamedTuple):
    """The size of a log."""

    users: int
    events: int
    """Training events."""
    items: int

    @classmethod
    def of(cls, train: Sequences, items: int) -> Self:
        """The size of training sequences over a catalogue of `items`."""
        return cls(len(train), len(train.items), items)

    @property
    def density(self) -> float:
        """Training events per item."""
        return self.events / self.items


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
        "model.guidance_vectors": 4,
        "model.denoiser": "mlp",
        "model.first_cosine": 0.2,
        "serving.draws": 8,
        "serving.guidance_weight": 0.33,
    }
)
"""Keys for which a large log has the defaults of their fields."""


def recipe_for(log: LogSize) -> Recipe:
    """The recipe of a log of this size."""
    return "small" if log.events < SMALL_LOG else "large"


def suited(recipe: Recipe, log: LogSize) -> dict[str, Any]:
    """Each key that follows the log, as `section.key` or `key`, with its value for a log of this size."""
    shared = {
        "model.blocks": typical_blocks(log.density),
        "model.temperature": typical_temperature(log.events),
    }
    if recipe == "large":
        return shared | {"model.dropout": typical_dropout(log.density)}
    own = {
        "learning_rate": pooled_learning_rate(log.users),
        "model.dropout": pooled_dropout(log.density),
    }
    return shared | own | OF_SMALL_LOGS


def typical_dropout(events_per_item: float) -> float:
    """The dropout that suits a log: .5 up to 12 training events per item, .1 less per threefold, at least .2.

    From three logs (Amazon Beauty has 13, KuaiRand-Pure 60, MovieLens-1M 267).
    """
    threefolds = math.log(max(events_per_item, 12) / 12, 3)
    return round(max(0.5 - 0.1 * threefolds, 0.2), 2)


def pooled_dropout(events_per_item: float) -> float:
    """The dropout that suits a small log: .5 up to 12 training events per item, falling to .2 at 50.

    From MovieLens-100K (58) and the samples (3 to 9).
    """
    risen = math.log(max(events_per_item, 12) / 12, 50 / 12)
    return round(max(0.5 - 0.3 * risen, 0.2), 2)


def pooled_learning_rate(users: int) -> float:
    """The learning rate that suits a small log: .001 from 900 users, with the root of their number below.

    With .001 a log of 100 users loses what co-occurrence says of its items; one of 400 needs more than .0003.
    """
    return round(1e-3 * min(1.0, math.sqrt(users / 900)), 5)


def typical_blocks(events_per_item: float) -> int:
    """The number of transformer blocks that suits a log: 4 from 30 training events per item, 2 below.

    From the same logs.
    """
    return 4 if events_per_item >= 30 else 2


def typical_temperature(events: int) -> float:
    """The τ that suits a log: .1 for a small one, .05 for a large one (measured on parts of these too)."""
    return 0.1 if events < SMALL_LOG else 0.05


def described(key: str, default: Any) -> str:
    """The value of a key where it is unset, in words; empty where it does not differ by recipe."""
    if key not in OF_SMALL_LOGS:
        return ""
    otherwise = "" if default is None else f", else {default}"
    return f"{OF_SMALL_LOGS[key]} on a small log{otherwise}"


FOLLOWING = frozenset({*suited("small", LogSize(1, 1, 1)), "serving.temperature"})
"""Every key that follows the log where it is unset."""
