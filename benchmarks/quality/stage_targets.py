"""The findings of `retrieval_stage` against the targets that were set before."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from training.evaluation.bootstrap import Compared
from training.evaluation.horizon import LIST_KS
from training.evaluation.stage.fitting import CHANCE, GUIDANCE, OURS, SAMPLES
from training.evaluation.stage.report import StageReport

NEURAL = {"SASRec": ("sasrec", "sasrec-ce"), "ComiRec": ("comirec-sa",)}
"""The baselines that a target names, and their names in the benchmark."""
OWN = (GUIDANCE, CHANCE, SAMPLES)
"""Sides of the same weights that a target names."""
RECALL = "recall@200"
MIN_GAIN, MIN_GAIN_OF_CATEGORIES, MAX_ECE = 0.03, 0.05, 0.03
"""Targets, set beforehand: of recall, of categories at equal recall, of calibration."""
MAX_STEPS, MIN_PART_OF_BEST = 4, 0.99
"""Targets, set beforehand: of denoising steps, and of recall with them."""


class Finding(NamedTuple):
    """One horizon against one target."""

    text: str
    met: bool | None
    """None: there is no target, or nothing to hold against it."""


class Target(NamedTuple):
    """A line of the table."""

    name: str
    wanted: str
    of: Callable[[StageReport], Finding]
    horizons: Sequence[int | None] | None = None
    """Those that it is stated for; None: all."""


_NOTHING = Finding("–", None)
_LONG = (10, None)
"""The horizons of the target of recall."""


def _gain(metric: str, others: Sequence[str], wanted: float) -> Callable[[StageReport], Finding]:
    """The least gain over the others, a part of theirs."""

    def find(stage: StageReport) -> Finding:
        ours = stage.sides[OURS].metrics.get(metric)
        found = {
            name: stage.sides[name].metrics[metric]
            for name in others
            if name in stage.sides and metric in stage.sides[name].metrics
        }
        if ours is None or not found:
            return _NOTHING
        strongest = max(found, key=found.__getitem__)
        gain = ours / found[strongest] - 1
        return Finding(f"{gain:+.1%} ({strongest})", gain >= wanted)

    return find


def _ahead(metric: str, others: Sequence[str]) -> Callable[[StageReport], Finding]:
    """The difference to the one that it is least ahead of, with its interval."""

    def find(stage: StageReport) -> Finding:
        found = [one for one in stage.comparisons if one.metric == metric and one.second in others]
        if not found:
            return _NOTHING
        least = min(found, key=_ends)
        return Finding(
            f"{least.mean:+.4f} [{least.low:+.4f}, {least.high:+.4f}] ({least.second})", _ends(least) > 0
        )

    return find


def _ends(one: Compared) -> float:
    """The end of the interval on the side of the other, as a gain."""
    return -one.high if one.lower_is_better else one.low


def _without_target(find: Callable[[StageReport], Finding]) -> Callable[[StageReport], Finding]:
    """The same without a target."""
    return lambda stage: find(stage)._replace(met=None)


def _ece(stage: StageReport) -> Finding:
    ece = stage.sides[OURS].metrics.get("ece")
    return _NOTHING if ece is None else Finding(f"{ece:.4f}", ece <= MAX_ECE)


def _best_of(stage: StageReport) -> Finding:
    draws = max((int(name.removeprefix("best_of_")) for name in _best(stage)), default=None)
    return _NOTHING if draws is None else _ahead(f"best_of_{draws}", (CHANCE, SAMPLES))(stage)


def _best(stage: StageReport) -> list[str]:
    return [name for name in stage.sides[OURS].metrics if name.startswith("best_of_")]


TARGETS = (
    *(
        Target(f"E1, recall@200 over {title}", f"≥ {MIN_GAIN:+.0%}", _gain(RECALL, names, MIN_GAIN), _LONG)
        for title, names in NEURAL.items()
    ),
    Target(
        "E1, recall@200 less own guidance and both controls", "interval above 0", _ahead(RECALL, OWN), _LONG
    ),
    Target(
        "E2, budget recall@200 less own guidance and both controls",
        "–",
        _without_target(_ahead(f"budget_{RECALL}", OWN)),
    ),
    *(
        Target(
            f"E3, categories at equal recall@{k} over own guidance and both controls",
            f"≥ {MIN_GAIN_OF_CATEGORIES:+.0%}",
            _gain(f"categories_at_equal_recall@{k}", OWN, MIN_GAIN_OF_CATEGORIES),
        )
        for k in LIST_KS
    ),
    Target("E4, ECE", f"≤ {MAX_ECE}", _ece),
    Target("E4, Brier score less own guidance's", "interval below 0", _ahead("brier", [GUIDANCE])),
    Target("E5, nll less own guidance's", "interval below 0", _ahead("nll", [GUIDANCE])),
    Target(
        "E5, nll of the next event less own guidance's", "interval below 0", _ahead("nll-next", [GUIDANCE])
    ),
    Target("E6, best of all draws less both controls", "–", _without_target(_best_of)),
)
"""Of several others that a target names, the one that DimeRec is least ahead of is in the table."""


def target_rows(stages: Sequence[StageReport]) -> Iterator[tuple[str, str, list[str], str]]:
    """Of each target its name, what is wanted, what was measured over each horizon, and whether it is met."""
    for target in TARGETS:
        stated = [stage for stage in stages if target.horizons is None or stage.events in target.horizons]
        found = {stage.events: target.of(stage) for stage in stated}
        cells = [found.get(stage.events, _NOTHING).text for stage in stages]
        yield target.name, target.wanted, cells, verdict([one.met for one in found.values()])


def verdict(met: Sequence[bool | None]) -> str:
    """In a word."""
    known = [one for one in met if one is not None]
    if not known:
        return "–"
    return "yes" if all(known) else "in part" if any(known) else "**no**"


def steps_row(by_steps: StageReport, steps: int) -> tuple[str, str, str, str]:
    """The target of the served number of steps against more and fewer."""
    recalls = {name: side.metrics[RECALL] for name, side in by_steps.sides.items()}
    best = max(recalls, key=recalls.__getitem__)
    part = recalls[OURS] / recalls[best]
    met = steps <= MAX_STEPS and part >= MIN_PART_OF_BEST
    shown = f"{steps} steps, {part:.1%}" + ("" if best == OURS else f" of that of {best}")
    return (
        "steps, and recall@200 with them",
        f"≤ {MAX_STEPS}, ≥ {MIN_PART_OF_BEST:.0%} of the best",
        shown,
        verdict([met]),
    )
