"""Bounds on what one request, and one batch of them, may cost (`engine.costs`)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.contract import EngineRequest
from engine.costs import Costs
from index.filters import Filter
from service.errors import FieldFault, TooCostlyError

_LEAST: dict[str, Any] = {"k": 1, "draws": 1, "steps": 1, "diversity": 0.0}
"""Values at which a request costs least, of the fields that it may lower."""
_FEWER = "ask for fewer conditions"


class Budget:
    """The most that a request may cost, and the most that those of a batch may cost together."""

    def __init__(self, max_request: float, max_batch: float) -> None:
        self._max_request = max_request
        self._max_batch = max_batch

    def cost(self, request: EngineRequest, costs: Costs) -> float:
        """The cost of a recommendation; raises TooCostlyError, which names the field that saves most."""
        cost = costs.of(request)
        if cost > self._max_request:
            raise TooCostlyError([_dearest_field(request, costs, cost, self._max_request)])
        return cost

    def similar_cost(self, k: int, where: Filter | None, costs: Costs) -> float:
        """The cost of `k` similar items; raises TooCostlyError."""
        cost = costs.of_similar(k, where)
        if cost > self._max_request:
            field, remedy = ("k", "lower k")
            if where is not None and costs.of_similar(k) <= self._max_request:
                field, remedy = ("where", _FEWER)
            fault = f"the request costs {cost:.3g} and one may cost {self._max_request:g}: {remedy}"
            raise TooCostlyError([FieldFault(field, fault)])
        return cost

    def check_batch(self, costs: Sequence[float]) -> None:
        """Raise TooCostlyError where requests of these costs are too much for one batch."""
        total = sum(costs)
        if total > self._max_batch:
            raise TooCostlyError(
                [
                    FieldFault(
                        "requests",
                        f"the {len(costs)} requests cost {total:.3g} together and a batch may cost"
                        f" {self._max_batch:g}: send fewer of them, or lower their k, draws or steps",
                    )
                ]
            )


def _dearest_field(request: EngineRequest, costs: Costs, cost: float, bound: float) -> FieldFault:
    lowered = {name: costs.of(replace(request, **{name: least})) for name, least in _LEAST.items()}
    name = min(lowered, key=lowered.__getitem__)
    unfiltered = costs.of(replace(request, where=None))
    if unfiltered < lowered[name]:
        fault = (
            f"the request costs {cost:.3g} and one may cost {bound:g}: {_FEWER} ({unfiltered:.3g} without)"
        )
        return FieldFault("where", fault)
    return FieldFault(
        name,
        f"the request costs {cost:.3g} and one may cost {bound:g}: lower it"
        f" (with {name} = {_LEAST[name]:g} it costs {lowered[name]:.3g}), or others of {', '.join(_LEAST)}",
    )
