"""Cost of a request: known from what it asks for, before anything is done for it.

    a + b · k + c · draws · steps + d · interests · candidates

and e · k · candidates where lists are diversified, and what a filter takes that is not kept; in ms of one
core, HTTP and JSON included, on the machine and with the models that the coefficients were fitted on.
Elsewhere a request may take several times as long, and so does every other: costs are to be compared.
"""

from collections.abc import Mapping

from bundle.manifest import ServingDefaults
from engine.contract import EngineRequest, fresh_items
from index.attributes import Words
from index.filters import Filter, conditions
from index.pooling import candidates_per_interest
from index.retrieval import Retriever
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
    "condition": 0.011,
    "mask": 0.07,
    "masked": 1e-6,
    "compared": 1.2e-7,
    "looked up": 7e-7,
    "gathered": 1.5e-6,
}
"""Fitted by `python -m benchmarks.serving --parts costs`, of filters by eye; the name says what for.

The model's guidance (a); what a search takes besides its candidates; an item of the answer (b); a step of a
draw by the kind of denoiser (c); an item that is scored for an interest because all are, and a candidate that
an index finds for one (d); a candidate that an item of a diversified list is compared with (e); a request for
similar items, and an item of its answer; a condition of a filter. Where it is not kept which items categories
and a filter let through: finding it out, an item that may be one of them, an item whose number is compared
with a bound or a value, a word of a column that is looked up for a condition, and an item of a column where
some have none or several: of a million texts, one an item, a new condition took .1 to .8 ms, where some lack
one 1.3 to 1.8, and of three an item 4.0 to 5.5.
"""

_UNKNOWN_SHARE = 5
"""Of the most items that are scored without an index one in so many is counted, where it is not known how
many are let through. Chosen: of 100,000 items it is half of what a filter takes that lets two fifths through,
and twice what one does that lets hardly any.
"""


class Costs:
    """Costs of requests to one bundle whose items are found by this `retriever`.

    `counts`: what it counted is one more interest.
    """

    def __init__(
        self, config: ModelConfig, defaults: ServingDefaults, retriever: Retriever, *, counts: bool = False
    ) -> None:
        self._counts = counts
        self._config = config
        self._defaults = defaults
        self._retriever = retriever
        self._items = retriever.eligibility.of(None).count
        self._attributes = retriever.eligibility.attributes

    def quantities(self, request: EngineRequest) -> dict[str, float]:
        """The times that a recommendation counts each coefficient."""
        config, defaults = self._config, self._defaults
        mode = request.mode(defaults.interest_mode)
        draws = 0 if mode == "guidance" else request.draws or defaults.draws
        interests = draws + (0 if mode == "draws" else config.guidance_count) + self._counts
        diversity = defaults.diversity if request.diversity is None else request.diversity
        return {
            f"guidance {config.guidance}": 1,
            f"step {config.denoiser}": draws * (request.steps or defaults.steps),
            "k": request.k,
            "diversified": request.k * candidates_per_interest(request.k) if diversity else 0,
            **self._search(
                interests,
                request.k,
                None if request.categories is None else frozenset(request.categories),
                request.where,
                fresh_items(request.fresh, request.k, defaults.fresh),
            ),
        }

    def similar_quantities(self, k: int, where: Filter | None = None) -> dict[str, float]:
        """The times that a request for `k` similar items counts each coefficient."""
        return {"similar": 1, "similar k": k, **self._search(1, k, None, where)}

    def of(self, request: EngineRequest) -> float:
        """The cost of a recommendation."""
        return _sum(self.quantities(request))

    def of_similar(self, k: int, where: Filter | None = None) -> float:
        """The cost of `k` similar items."""
        return _sum(self.similar_quantities(k, where))

    def _search(
        self,
        interests: int,
        k: int,
        categories: frozenset[str] | None,
        where: Filter | None,
        fresh: int = 0,
    ) -> dict[str, float]:
        count = self._retriever.eligibility.kept_count(categories, where)
        filtering: dict[str, float] = {}
        if where is not None:
            filtering["condition"] = len(list(conditions(where)))
        if count is None:
            filtering |= self._passes(where)
        if self._retriever.scores_whole:
            return {"scored": interests * self._items, **filtering}
        most = self._retriever.max_whole_items
        if count is not None and count > most:
            scored = self._retriever.added_rows if fresh else 0
            filtering["found"] = interests * candidates_per_interest(k)
        else:
            scored = most // _UNKNOWN_SHARE if count is None else count
        return {"searched": 1, "scored": interests * scored, **filtering}

    def _passes(self, where: Filter | None) -> dict[str, float]:
        """The passes over all items that it takes to know which are eligible."""
        words: list[Words] = []
        compared = 0
        for condition in () if where is None else conditions(where):
            column = self._attributes.columns.get(condition.attribute)
            if isinstance(column, Words):
                words.append(column)
            elif condition.among is None:
                compared += sum(bound is not None for bound in condition.bounds)
            else:
                compared += len(condition.among)
        return {
            "mask": 1,
            "masked": self._items,
            "compared": compared * self._items,
            "looked up": sum(len(column.codes) for column in words),
            "gathered": sum(not column.one_each for column in words) * self._items,
        }


def _sum(quantities: Mapping[str, float]) -> float:
    return sum(COEFFICIENTS.get(name, _DEAREST) * count for name, count in quantities.items())


_DEAREST = max(COEFFICIENTS.values())
"""For guidance of a kind that was not measured."""
