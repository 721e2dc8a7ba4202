"""Cost of a request: known from what it asks for, before anything is done for it.

    a + b · k + c · draws · steps + d · interests · candidates

and e · k · candidates where lists are diversified; in ms of one core, HTTP and JSON included, on the machine
and with the models that the coefficients were fitted on. Elsewhere a request may take several times as long,
and so does every other: costs are to be compared.
"""

from collections.abc import Mapping

from bundle.manifest import ServingDefaults
from engine.contract import EngineRequest
from index.pooling import candidates_per_interest
from model.config import ModelConfig

COEFFICIENTS: Mapping[str, float] = {
    "guidance recency_attentive": 0.22,
    "guidance contextual": 0.37,
    "searched": 0.23,
    "k": 0.0012,
    "step mlp": 0.0037,
    "step posterior": 0.0011,
    "scored": 8.3e-6,
    "found": 4.3e-4,
    "diversified": 9.2e-6,
    "similar": 0.64,
    "similar k": 0.0031,
}
"""Fitted by `python -m benchmarks.serving --parts costs`, by the name of what they are for.

The model's guidance (a); what a search takes besides its candidates; an item of the answer (b); a step of a
draw by the kind of denoiser (c); an item that is scored for an interest because all are, and a candidate that
an index finds for one (d); a candidate that an item of a diversified list is compared with (e); a request for
similar items, and an item of its answer.
"""


class Costs:
    """Costs of requests to one bundle with so many `items`; `whole`: all of them are scored for each."""

    def __init__(self, config: ModelConfig, defaults: ServingDefaults, items: int, *, whole: bool) -> None:
        self._config = config
        self._defaults = defaults
        self._items = items
        self._whole = whole

    def quantities(self, request: EngineRequest) -> dict[str, float]:
        """The times that a recommendation counts each coefficient."""
        config, defaults = self._config, self._defaults
        mode = request.interest_mode or defaults.interest_mode
        draws = 0 if mode == "guidance" else request.draws or defaults.draws
        interests = draws + (0 if mode == "draws" else config.guidance_count)
        diversity = defaults.diversity if request.diversity is None else request.diversity
        return {
            f"guidance {config.guidance}": 1,
            f"step {config.denoiser}": draws * (request.steps or defaults.steps),
            "k": request.k,
            "diversified": request.k * candidates_per_interest(request.k) if diversity else 0,
            **self._search(interests, request.k),
        }

    def similar_quantities(self, k: int) -> dict[str, float]:
        """The times that a request for `k` similar items counts each coefficient."""
        return {"similar": 1, "similar k": k, **self._search(1, k)}

    def of(self, request: EngineRequest) -> float:
        """The cost of a recommendation."""
        return _sum(self.quantities(request))

    def of_similar(self, k: int) -> float:
        """The cost of `k` similar items."""
        return _sum(self.similar_quantities(k))

    def _search(self, interests: int, k: int) -> dict[str, float]:
        if self._whole:
            return {"scored": interests * self._items}
        return {"searched": 1, "found": interests * candidates_per_interest(k)}


def _sum(quantities: Mapping[str, float]) -> float:
    return sum(COEFFICIENTS.get(name, _DEAREST) * count for name, count in quantities.items())


_DEAREST = max(COEFFICIENTS.values())
"""For guidance of a kind that was not measured."""
