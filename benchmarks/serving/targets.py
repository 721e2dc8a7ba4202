"""The targets: a bound for the ratio of a row, or for its figure where it has no other."""

from pydantic import BaseModel, ConfigDict


class Target(BaseModel):
    """A bound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bound: float
    at_least: bool
    """The bound is the least; else the most."""

    def met_by(self, value: float) -> bool:
        """True where the value keeps to the bound."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


def at_least(bound: float) -> Target:
    """A lower bound."""
    return Target(bound=bound, at_least=True)


def at_most(bound: float) -> Target:
    """An upper bound."""
    return Target(bound=bound, at_least=False)


_PEERS = {"litserve": 2.6, "fastapi": 3.6, "bentoml": 4.0, "ray": 5.0}
_SATURATED = {
    ("saturation" if k == 10 else f"saturation-{k}", name): target
    for k, least in ((10, 0.5), (100, 0.35))
    for name, target in {
        "of the ideal": at_least(0.8),
        "generator's ceiling ÷ ours": at_least(2),
        "batch of 64, of before": at_most(least),
        **{f"ours ÷ {peer}": at_least(factor) for peer, factor in _PEERS.items()},
    }.items()
}
TARGETS: dict[tuple[str, str], Target] = {
    **_SATURATED,
    ("lone", "p50, of floor + batch of one"): at_most(1.15),
    ("lone", "batch of one, of before"): at_most(0.7),
    ("rate", "p99 at 70 % of saturation, of lone p50"): at_most(4),
    **{("rate-peers", f"p99 at 70 % of {peer}'s saturation"): at_most(1) for peer in _PEERS},
    ("overload", "goodput at 2 × saturation, of the peak"): at_least(0.9),
    ("overload", "goodput at 3 × saturation, of the peak"): at_least(0.8),
    ("overload", "p99 of a refusal at 2 × saturation"): at_most(20),
    ("overload", "p99 of a refusal at 3 × saturation"): at_most(20),
    ("costs", "cost ÷ measured, smallest"): at_least(0.5),
    ("costs", "cost ÷ measured, greatest"): at_most(2),
    ("compute", "4 steps ÷ 1 step, 1 draw, batch of 32"): at_most(1.6),
    ("changes", "1,000 items added and 5 % removed, of unchanged"): at_least(0.93),
    ("changes", "20,000 items added and 5 % removed, of unchanged"): at_least(0.85),
    ("changes", "PUT to found here, p99"): at_most(50),
    ("changes-replicas", "PUT to found in another replica, p99"): at_most(300),
    ("million", "category of two fifths ÷ plain, k = 10"): at_most(1.3),
    ("million", "category of two fifths ÷ plain, k = 100"): at_most(2),
    ("search", "queries/s at recall@100 ≥ .95, of the best peer"): at_least(1),
    ("search", "memory at that, of the same peer"): at_most(1),
    ("search", "small kind: recall@100"): at_least(0.93),
    ("search", "small kind: memory, of raw float32"): at_most(1.3),
    ("search", "small kind: queries/s, of the best peer"): at_least(0.5),
    **{
        ("memory", f"{kind}{name}"): target
        for kind in ("", "hnsw: ")
        for name, target in {
            "first process, RSS": at_most(1.2),
            "each further process, private": at_most(0.3),
            "start to ready": at_most(4),
        }.items()
    },
    ("workers", "two workers ÷ one, Redis histories"): at_least(1.5),
}
"""By part and name of the row."""
