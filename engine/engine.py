"""A bundle ready to answer: one forward pass and one retrieval for a batch of requests.

Rows never leave this package: requests and answers speak the caller's ids.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from bundle.read import Bundle
from engine.contract import (
    AnsweredInterest,
    DescribedItem,
    EngineAnswer,
    EngineRequest,
    RecommendedItem,
    ScoredItem,
    WatchedItem,
)
from engine.explain import Explanation, MergedInterests, merge_duplicates
from engine.snapshot import Snapshot, take_snapshot
from index.catalogue import Catalogue
from index.query import Query, Retrieval
from index.vector_index import Rows, Vectors
from model.batch import collate
from model.interests import InterestFinder, InterestSettings


@dataclass(frozen=True, slots=True, eq=False)
class _Resolved:
    """A request in rows of the snapshot's catalogue, every default filled in."""

    request: EngineRequest
    history: Rows
    excluded: Rows
    categories: frozenset[str] | None
    diversity: float
    settings: InterestSettings
    seed: int


class _Found(NamedTuple):
    """The interests of one request:
    vectors `(interests, dim)`, weights `(interests,)`, how many are draws.
    """

    vectors: Vectors
    weights: Vectors
    draws: int


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
        self.searches_by = "whole" if self._snapshot.retriever.scores_whole else bundle.index.kind
        """Kind of the index that is searched; `whole`: all items are scored."""

    def __len__(self) -> int:
        """Items of the catalogue."""
        return len(self._snapshot.catalogue)

    def recommend(self, requests: Sequence[EngineRequest]) -> list[EngineAnswer]:
        """Answer every request, in order."""
        snapshot = self._snapshot
        resolved = [self._resolved(request, snapshot.catalogue) for request in requests]
        personal = [one for one in resolved if len(one.history)]
        started = time.perf_counter()
        interests = self._interests(personal)
        modelled = time.perf_counter()
        found = snapshot.retriever.retrieve(list(map(self._query, personal, interests)))
        merged = [merge_duplicates(vectors, draws) for vectors, _, draws in interests]
        explained = self._explained(personal, merged, snapshot)
        answers = map(_personal, found, merged, explained, [snapshot.catalogue] * len(personal))
        parts = [next(answers) if len(one.history) else _popular(one, snapshot) for one in resolved]
        model_ms, search_ms = 1000 * (modelled - started), 1000 * (time.perf_counter() - modelled)
        return [
            EngineAnswer(
                *part,
                snapshot.catalogue.unknown_categories(one.request.categories or ()),
                model_ms,
                search_ms,
            )
            for one, part in zip(resolved, parts, strict=True)
        ]

    def similar(self, item_id: str, k: int) -> list[ScoredItem] | None:
        """The `k` items whose vectors are nearest to the item's, by cosine; None for an unknown item."""
        snapshot = self._snapshot
        row = snapshot.catalogue.row(item_id)
        if row is None:
            return None
        return [
            ScoredItem(*_description(found.row, snapshot.catalogue), found.score)
            for found in snapshot.retriever.similar(row, k)
        ]

    def describe(self, item_id: str) -> DescribedItem | None:
        """The catalogue's description of an item; None for an unknown one."""
        catalogue = self._snapshot.catalogue
        row = catalogue.row(item_id)
        return None if row is None else DescribedItem(*_description(row, catalogue))

    def unknown(self, item_ids: Iterable[str]) -> list[str]:
        """Those that the catalogue does not have, each once, in their order."""
        catalogue = self._snapshot.catalogue
        return [item_id for item_id in dict.fromkeys(item_ids) if catalogue.row(item_id) is None]

    def warm_up(self) -> None:
        """Answer one request, so that the first caller does not pay for lazy initialisation."""
        self.recommend([EngineRequest(history=[self._snapshot.catalogue.item_id(1)], k=1, seed=0)])

    def _resolved(self, request: EngineRequest, catalogue: Catalogue) -> _Resolved:
        defaults = self.defaults
        return _Resolved(
            request=request,
            history=catalogue.rows(request.history),
            excluded=catalogue.rows(request.excluded),
            categories=None if request.categories is None else frozenset(request.categories),
            diversity=defaults.diversity if request.diversity is None else request.diversity,
            settings=InterestSettings(
                draws=request.draws or defaults.draws,
                steps=request.steps or defaults.steps,
                mode=request.interest_mode or defaults.interest_mode,
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

    def _interests(self, requests: Sequence[_Resolved]) -> list[_Found]:
        if not requests:
            return []
        histories = [request.history.tolist() for request in requests]
        batch = collate(histories, self._model.config.max_length, self._device)
        settings, seeds = [one.settings for one in requests], [one.seed for one in requests]
        return [
            _Found(vectors.cpu().numpy(), weights.numpy(), kinds.count("draw"))
            for vectors, weights, kinds in self._finder.find(batch, settings, seeds)
        ]

    def _query(self, request: _Resolved, interests: _Found) -> Query:
        return Query(
            interests=interests.vectors,
            k=request.request.k,
            excluded=request.excluded,
            categories=request.categories,
            diversity=request.diversity,
            merge=self.defaults.merge,
            temperature=self.defaults.temperature,
            weights=interests.weights,
            seen=request.history,
            repeat_weight=self.manifest.repeat_weight,
        )

    def _explained(
        self, requests: Sequence[_Resolved], merged: Sequence[MergedInterests], snapshot: Snapshot
    ) -> list[list[Explanation] | None]:
        """Each request's interests explained, by what the model read; None where that is not asked for."""
        wanted = [one.request.explain for one in requests]
        vectors = [own.vectors for own, explain in zip(merged, wanted, strict=True) if explain]
        read = [one.history[-self._model.config.max_length :] for one in requests if one.request.explain]
        explained = iter(snapshot.explainer.explain(vectors, read))
        return [next(explained) if explain else None for explain in wanted]


_Part = tuple[list[RecommendedItem], list[AnsweredInterest]]


def _personal(
    found: Retrieval,
    merged: MergedInterests,
    explained: list[Explanation] | None,
    catalogue: Catalogue,
) -> _Part:
    """The items found, each by the interest with the greatest part in it."""
    brought = merged.together(found.shares).argmax(axis=0)
    because = [
        None if explained is None else tuple(_watched(row, catalogue) for row in explained[index].because)
        for index in range(len(merged.kinds))
    ]
    items = [
        _recommended(candidate.row, candidate.score, interest, because[interest], catalogue)
        for candidate, interest in zip(found.candidates, brought.tolist(), strict=True)
    ]
    weights = merged.together(found.interest_weights).tolist()
    counts = np.bincount(brought, minlength=len(merged.kinds)).tolist()
    labels = [None] * len(counts) if explained is None else [one.top_categories for one in explained]
    columns = zip(merged.kinds, weights, counts, labels, strict=True)
    return items, [AnsweredInterest(*values) for values in columns]


def _popular(request: _Resolved, snapshot: Snapshot) -> _Part:
    eligible = snapshot.retriever.eligibility.of(request.categories)
    best = snapshot.popularity.best(request.request.k, request.excluded, eligible, request.diversity)
    because = () if request.request.explain else None
    return [_recommended(row, score, None, because, snapshot.catalogue) for row, score in best], []


def _recommended(
    row: int,
    score: float,
    interest: int | None,
    because: tuple[WatchedItem, ...] | None,
    catalogue: Catalogue,
) -> RecommendedItem:
    item_id, title, categories = _description(row, catalogue)
    return RecommendedItem(item_id, score, interest, because, categories, title)


def _description(row: int, catalogue: Catalogue) -> tuple[str, str | None, tuple[str, ...]]:
    return catalogue.item_id(row), catalogue.title(row), catalogue.category(row)


def _watched(row: int, catalogue: Catalogue) -> WatchedItem:
    return WatchedItem(catalogue.item_id(row), catalogue.title(row))
