"""A bundle ready to answer: one forward pass and one retrieval for a batch of requests.

Rows never leave this package: requests and answers speak the caller's ids.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from bundle.read import Bundle
from engine.changes import Change, ChangedCatalogue, Indexed
from engine.contract import (
    DescribedItem,
    EngineAnswer,
    EngineRequest,
    RecommendedItem,
    ScoredItem,
    fresh_items,
)
from engine.costs import Costs
from engine.counting import Counting
from engine.explain import NEAREST, Explanation, MergedInterests, merge_duplicates
from engine.lists import Part, personal_list, popular_list
from engine.popularity import Trend
from engine.recipes import Derived, Recipe, checked_attributes
from engine.snapshot import Snapshot, take_snapshot, trending_snapshot
from index.attributes import AttributeType, AttributeValue
from index.catalogue import Catalogue
from index.counts import Counted
from index.filters import Filter, check
from index.query import Query, Retrieval
from index.vector_index import Rows
from model.batch import collate
from model.interests import InterestFinder, Interests, InterestSettings


@dataclass(frozen=True, slots=True, eq=False)
class _Resolved:
    """A request in rows of the snapshot's catalogue, every default filled in."""

    request: EngineRequest
    history: Rows
    excluded: Rows
    categories: frozenset[str] | None
    diversity: float
    fresh: int
    settings: InterestSettings
    seed: int


class Engine:
    """Answers requests from one bundle. Stateless: an answer follows from its request, not from its batch.

    `max_steps`: denoising steps that a request may ask for at most; the model's own bound holds as well.
    `max_whole_items`: eligible items up to which all are scored; None: as measured.
    """

    def __init__(self, bundle: Bundle, *, max_steps: int, max_whole_items: int | None = None) -> None:
        self._model = bundle.model.eval()
        self._finder = InterestFinder(self._model)
        self._device = next(bundle.model.parameters()).device
        self.version = bundle.version
        self.manifest = bundle.manifest
        self.defaults = bundle.manifest.serving
        self.max_steps = min(max_steps, bundle.model.config.timesteps)
        self._snapshot = take_snapshot(
            bundle.catalogue, bundle.index, bundle.table, self.defaults.temperature, max_whole_items
        )
        self._changed = ChangedCatalogue(bundle, self._snapshot)
        self._trend = Trend()
        self._counting = None if bundle.counts is None else Counting(bundle.counts)
        facts = bundle.manifest.novelty
        self._novelty_power = 0.0 if facts is None else facts.power

    @property
    def searches_by(self) -> str:
        """Kind of the index that is searched now; `whole`: all items are scored."""
        snapshot = self._snapshot
        return "whole" if snapshot.retriever.scores_whole else snapshot.index.kind

    @property
    def offers_novelty(self) -> bool:
        """True where requests may ask for novelty."""
        return self._novelty_power > 0

    @property
    def costs(self) -> Costs:
        """Costs of requests with the catalogue as it is now."""
        counts = self._counting is not None
        return Costs(self._model.config, self.defaults, self._snapshot.retriever, counts=counts)

    def __len__(self) -> int:
        """Items of the catalogue that may be answered."""
        return self._snapshot.retriever.eligibility.of(None).count

    def change(self, changes: Mapping[str, Change]) -> Mapping[str, str]:
        """Answer from now on with these changes of the catalogue, by item id; one thread at a time.

        A batch that was begun ends with the catalogue that it began with. Returns the items of this and
        earlier changes that cannot be served for want of a vector, each with the reason.
        """
        if changes:
            self._snapshot = trending_snapshot(self._changed.apply(changes), self._trend)
        return self._changed.stale

    @property
    def bundled(self) -> AbstractSet[str]:
        """Changed items that are what the bundle has learned and says of them."""
        return self._changed.bundled

    def index_due(self) -> Callable[[], Indexed] | None:
        """The making of an index of changes that have none, for any thread; None where none is due."""
        return self._changed.index_due()

    def search_by(self, indexed: Indexed) -> None:
        """Search by this index from now on; in the thread that changes the catalogue."""
        snapshot = self._changed.use(indexed)
        if snapshot is not None:
            self._snapshot = trending_snapshot(snapshot, self._trend)

    def follow_trend(self, trend: Trend) -> None:
        """Answer those of whom nothing is known by these recent events, too, from now on.

        In the thread that changes the catalogue.
        """
        if trend != self._trend:
            self._trend = trend
            self._snapshot = trending_snapshot(self._snapshot, trend)

    def derive(self, item_id: str, recipe: Recipe) -> Derived:
        """The vector that follows from a recipe here; raises RecipeError."""
        return self._changed.derivation.derive(item_id, recipe)

    def derive_anyhow(self, item_id: str, recipe: Recipe) -> Derived:
        """The vector by which an item is served; raises RecipeError where it has none and is not served."""
        return self._changed.derivation.derive_anyhow(item_id, recipe)

    def recommend(self, requests: Sequence[EngineRequest]) -> list[EngineAnswer]:
        """Answer every request, in order."""
        snapshot = self._snapshot
        resolved = [self._resolved(request, snapshot.catalogue) for request in requests]
        personal = [one for one in resolved if len(one.history)]
        started = time.perf_counter()
        interests = self._interests(personal, snapshot)
        modelled = time.perf_counter()
        counted = self._counted(personal, snapshot)
        found = snapshot.retriever.retrieve(list(map(self._query, personal, interests, counted)))
        merged = list(map(_merged, interests, found))
        explained = self._explained(personal, interests, counted, merged, found, snapshot)
        answers = map(personal_list, found, merged, explained, [snapshot.descriptions] * len(personal))
        parts = [next(answers) if len(one.history) else self._popular(one, snapshot) for one in resolved]
        model_ms, search_ms = 1000 * (modelled - started), 1000 * (time.perf_counter() - modelled)
        return [
            EngineAnswer(
                *part,
                snapshot.catalogue.unknown_categories(one.request.categories or ()),
                _fresh_missing(one, part[0], snapshot.catalogue),
                model_ms,
                search_ms,
            )
            for one, part in zip(resolved, parts, strict=True)
        ]

    def similar(self, item_id: str, k: int, where: Filter | None = None) -> list[ScoredItem] | None:
        """The `k` items that `where` lets through whose vectors are nearest to the item's, by cosine.

        None for an item that is unknown or removed. Raises FilterError.
        """
        snapshot = self._snapshot
        row = snapshot.catalogue.served_row(item_id)
        if row is None:
            return None
        return [
            ScoredItem(item.item_id, item.title, item.categories, found.score)
            for found in snapshot.retriever.similar(row, k, where)
            for item in [snapshot.descriptions.of(found.row)]
        ]

    def describe(self, item_id: str, *, removed: bool = False) -> DescribedItem | None:
        """The catalogue's description of an item; None for an unknown one, or removed unless `removed`."""
        snapshot = self._snapshot
        row = _row(snapshot.catalogue, item_id, removed)
        return None if row is None else snapshot.descriptions.of(row)

    @property
    def attribute_types(self) -> Mapping[str, AttributeType]:
        """The attributes that items may have, each with its type."""
        return self._snapshot.catalogue.attributes.schema

    def attributes(self, item_id: str, *, removed: bool = False) -> dict[str, AttributeValue]:
        """Those that an item has; none for one that is unknown, or removed unless `removed`."""
        catalogue = self._snapshot.catalogue
        row = _row(catalogue, item_id, removed)
        return {} if row is None else catalogue.attributes_of(row)

    def checked_attributes(self, values: Mapping[str, object]) -> dict[str, AttributeValue]:
        """The values of an item's attributes as they are shown; raises RecipeError for one that is none."""
        return checked_attributes(self.attribute_types, values)

    def check_filter(self, where: Filter) -> None:
        """Raise FilterError unless the attributes here can be filtered so."""
        check(where, self.attribute_types)

    def unknown(self, item_ids: Iterable[str]) -> list[str]:
        """Those that the catalogue does not have, each once, in their order."""
        catalogue = self._snapshot.catalogue
        return [item_id for item_id in dict.fromkeys(item_ids) if catalogue.row(item_id) is None]

    def warm_up(self) -> None:
        """Answer a request with draws, so that the first caller does not pay for lazy initialisation."""
        history = [self._snapshot.catalogue.item_id(1)]
        self.recommend([EngineRequest(history=history, k=1, seed=0, interest_mode="both")])

    def _resolved(self, request: EngineRequest, catalogue: Catalogue) -> _Resolved:
        defaults = self.defaults
        history = catalogue.rows(request.history)
        all_seen = request.excluded == request.history  # as the service asks where nobody says otherwise
        return _Resolved(
            request=request,
            history=history,
            excluded=history if all_seen else catalogue.rows(request.excluded),
            categories=None if request.categories is None else frozenset(request.categories),
            diversity=defaults.diversity if request.diversity is None else request.diversity,
            fresh=fresh_items(request.fresh, request.k, defaults.fresh),
            settings=InterestSettings(
                draws=request.draws or defaults.draws,
                steps=request.steps or defaults.steps,
                mode=request.mode(defaults.interest_mode),
                guidance_weight=defaults.guidance_weight,
            ),
            seed=self._seed(request),
        )

    def _seed(self, request: EngineRequest) -> int:
        """The seed in 0 … 2⁶³ − 1: as given, or from who asks and the model, and from nothing else."""
        if request.seed is not None:
            return request.seed
        identity = ("history", *request.history) if request.user_id is None else ("user", request.user_id)
        digest = blake2b("\0".join((self.version, *identity)).encode(), digest_size=8).digest()
        return int.from_bytes(digest) >> 1

    def _interests(self, requests: Sequence[_Resolved], snapshot: Snapshot) -> list[Interests]:
        if not requests:
            return []
        histories = [request.history.tolist() for request in requests]
        batch = collate(histories, self._model.config.max_length, self._device)
        settings, seeds = [one.settings for one in requests], [one.seed for one in requests]
        return self._finder.find(batch, settings, seeds, snapshot.added)

    def _counted(self, requests: Sequence[_Resolved], snapshot: Snapshot) -> Sequence[Counted | None]:
        if self._counting is None or not requests:
            return [None] * len(requests)
        return self._counting.of([one.history for one in requests], snapshot.catalogue)

    def _query(self, request: _Resolved, interests: Interests, counted: Counted | None) -> Query:
        return Query(
            interests=interests.vectors,
            k=request.request.k,
            excluded=request.excluded,
            categories=request.categories,
            where=request.request.where,
            fresh=request.fresh,
            diversity=request.diversity,
            merge=self.defaults.merge,
            temperature=self.defaults.temperature,
            weights=interests.weights,
            seen=request.history,
            repeat_weight=self.manifest.repeat_weight,
            novelty=request.request.novelty * self._novelty_power,
            counted=counted,
            counted_weight=0.0 if self._counting is None else self._counting.weight,
            nearest=NEAREST if request.request.explain else 0,
        )

    def _popular(self, request: _Resolved, snapshot: Snapshot) -> Part:
        eligible = snapshot.retriever.eligibility.of(request.categories, request.request.where)
        best = snapshot.popularity.best(
            request.request.k, request.excluded, eligible, request.diversity, request.fresh
        )
        return popular_list(best, snapshot.descriptions, explain=request.request.explain)

    def _explained(
        self,
        requests: Sequence[_Resolved],
        interests: Sequence[Interests],
        counted: Sequence[Counted | None],
        merged: Sequence[MergedInterests],
        found: Sequence[Retrieval],
        snapshot: Snapshot,
    ) -> list[list[Explanation] | None]:
        """Each request's interests explained, by what the model read; None where that is not asked for."""
        wanted = [index for index, one in enumerate(requests) if one.request.explain]
        leaders = [merged[index].leaders for index in wanted]
        hits = [found[index].nearest for index in wanted]
        histories = [requests[index].history for index in wanted]
        in_answers = [counted[index] if merged[index].with_counts else None for index in wanted]
        explained = snapshot.explainer.explain(
            [interests[index].vectors[own] for index, own in zip(wanted, leaders, strict=True)],
            [snapshot.catalogue.of_alive(rows[-self._model.config.max_length :]) for rows in histories],
            [known and known.of(own) for known, own in zip(hits, leaders, strict=True)],
            None if self._counting is None else self._counting.explained(histories, in_answers, snapshot),
        )
        by_index = dict(zip(wanted, explained, strict=True))
        return [by_index.get(index) for index in range(len(requests))]


def _merged(interests: Interests, found: Retrieval) -> MergedInterests:
    merged = merge_duplicates(interests.vectors, interests.kinds.count("draw"))
    return merged.and_counts() if len(found.shares) > len(merged.of) else merged


def _row(catalogue: Catalogue, item_id: str, removed: bool) -> int | None:
    return catalogue.row(item_id) if removed else catalogue.served_row(item_id)


def _fresh_missing(request: _Resolved, items: Sequence[RecommendedItem], catalogue: Catalogue) -> int:
    """Added items that a list has fewer than its request asks for."""
    if not request.fresh:
        return 0
    rows = catalogue.rows(item.item_id for item in items)
    return max(0, request.fresh - int(np.count_nonzero(rows > catalogue.base_rows)))
