"""Pure computation: resolved requests in, answers out. One forward pass and one index search for a batch."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from bundle.manifest import InterestMode
from bundle.read import Bundle
from index.catalogue import Catalogue
from index.merging import votes
from index.query import Query, Retrieval
from index.retrieval import Retriever
from index.vector_index import Rows, Vectors
from model.batch import collate
from model.sampler import starting_noise
from service.popularity import Popularity
from service.schemas import MOST_STEPS

MOST_TOP_CATEGORIES = 3


@dataclass(frozen=True, slots=True, eq=False)
class EngineRequest:
    """One request in terms of the engine's own catalogue, every default filled in."""

    history: Rows
    """Known items, oldest first; empty: answered by popularity."""
    k: int
    excluded: Rows
    categories: frozenset[str] | None
    diversity: float
    draws: int
    interest_mode: InterestMode
    steps: int
    seed: int


@dataclass(frozen=True, slots=True)
class Recommended:
    """An item's row, its score, and the place of the interest that brought it (None: popularity)."""

    row: int
    score: float
    interest: int | None


@dataclass(frozen=True, slots=True)
class FoundInterest:
    """One interest: its part in the answer (all sum to 1) and the categories nearest to it, best first."""

    weight: float
    top_categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """The answer to one request; the times are those of its whole batch."""

    items: list[Recommended]
    interests: list[FoundInterest]
    """Empty: answered by popularity."""
    model_ms: float
    search_ms: float


class Engine:
    """A bundle ready to answer. Stateless: an answer follows from its request alone, not from its batch."""

    def __init__(self, bundle: Bundle) -> None:
        self._model = bundle.model.eval()
        self._device = next(bundle.model.parameters()).device
        self.version = bundle.version
        self.manifest = bundle.manifest
        self.catalogue: Catalogue = bundle.catalogue
        self.defaults = bundle.manifest.serving
        self.retriever = Retriever(bundle.index, bundle.table, bundle.catalogue)
        self._table = bundle.table
        self._popularity = Popularity(bundle.catalogue)
        of_category = Counter(chain.from_iterable(bundle.catalogue.categories))
        self._rarity = {name: count**-0.5 for name, count in of_category.items()}

    @property
    def most_steps(self) -> int:
        """The largest number of denoising steps that a request may ask for."""
        return min(MOST_STEPS, self._model.config.timesteps)

    def seed_for(self, *identity: str) -> int:
        """A seed in 0 … 2⁶³ − 1 that follows from who asks and from the model, and from nothing else."""
        digest = blake2b("\0".join((self.version, *identity)).encode(), digest_size=8).digest()
        return int.from_bytes(digest) >> 1

    def recommend(self, requests: Sequence[EngineRequest]) -> list[EngineAnswer]:
        """Answer every request, in order."""
        personal = [request for request in requests if len(request.history)]
        started = time.perf_counter()
        interests = self._interests(personal) if personal else []
        modelled = time.perf_counter()
        found = zip(interests, self._search(personal, interests), strict=True)
        lists = [
            self._personal(*next(found)) if len(request.history) else self._popular(request)
            for request in requests
        ]
        model_ms, search_ms = 1000 * (modelled - started), 1000 * (time.perf_counter() - modelled)
        return [EngineAnswer(items, interests, model_ms, search_ms) for items, interests in lists]

    def warm_up(self) -> None:
        """Answer one request, so that the first caller does not pay for lazy initialisation."""
        serving = self.defaults
        nothing = np.empty(0, dtype=np.int64)
        request = EngineRequest(
            history=np.ones(1, dtype=np.int64),
            k=1,
            excluded=nothing,
            categories=None,
            diversity=0.0,
            draws=serving.draws,
            interest_mode=serving.interest_mode,
            steps=serving.steps,
            seed=0,
        )
        self.recommend([request])

    @torch.inference_mode()
    def _interests(self, requests: Sequence[EngineRequest]) -> list[Vectors]:
        """Each request's interest embeddings `(interests, dim)`, of unit norm."""
        config = self._model.config
        histories = [request.history.tolist() for request in requests]
        guidance = self._model.guide(collate(histories, config.max_length, self._device))
        drawn: dict[int, Tensor] = {}
        by_steps: defaultdict[int, list[int]] = defaultdict(list)
        for place, request in enumerate(requests):
            if request.interest_mode != "guidance":
                by_steps[request.steps].append(place)
        for steps, places in by_steps.items():
            draws = [requests[place].draws for place in places]
            repeats = torch.tensor(places).repeat_interleave(torch.tensor(draws)).to(self._device)
            noise = [
                starting_noise(requests[place].seed, requests[place].draws, config.dim) for place in places
            ]
            vectors = self._model.generate(guidance[repeats], torch.cat(noise).to(self._device), steps)
            drawn.update(zip(places, vectors.split_with_sizes(draws), strict=True))
        return [
            self._chosen(request.interest_mode, guidance[place], drawn.get(place))
            for place, request in enumerate(requests)
        ]

    @staticmethod
    def _chosen(mode: InterestMode, guidance: Tensor, drawn: Tensor | None) -> Vectors:
        parts = [drawn] if drawn is not None else []
        if mode != "draws":
            parts.append(guidance)
        interests: Vectors = torch.cat(parts).float().cpu().numpy()
        return interests

    def _search(self, requests: Sequence[EngineRequest], interests: Sequence[Vectors]) -> list[Retrieval]:
        serving = self.defaults
        return self.retriever.retrieve(
            [
                Query(
                    interests=vectors,
                    k=request.k,
                    excluded=request.excluded,
                    categories=request.categories,
                    diversity=request.diversity,
                    merge=serving.merge,
                    temperature=serving.temperature,
                    weights=self._weights(request, len(vectors)),
                    seen=request.history,
                    repeat_weight=self.manifest.repeat_weight,
                )
                for request, vectors in zip(requests, interests, strict=True)
            ]
        )

    def _weights(self, request: EngineRequest, interests: int) -> Vectors | None:
        if request.interest_mode != "both":
            return None
        return votes(request.draws, interests - request.draws, self.defaults.guidance_share)

    def _personal(
        self, interests: Vectors, found: Retrieval
    ) -> tuple[list[Recommended], list[FoundInterest]]:
        items = [
            Recommended(candidate.row, candidate.score, candidate.interest) for candidate in found.candidates
        ]
        rows = np.array([item.row for item in items], dtype=np.int64)
        tops = self._top_categories(interests, rows)
        weights = found.interest_weights.tolist()
        return items, [FoundInterest(*pair) for pair in zip(weights, tops, strict=True)]

    def _popular(self, request: EngineRequest) -> tuple[list[Recommended], list[FoundInterest]]:
        eligible = self.retriever.eligibility.of(request.categories)
        best = self._popularity.best(request.k, request.excluded, eligible, request.diversity)
        return [Recommended(row, score, None) for row, score in best], []

    def _top_categories(self, interests: Vectors, rows: Rows) -> list[tuple[str, ...]]:
        """Each interest's categories: those of the answered items, weighted by softmax(cosine / τ).

        A category that the whole catalogue is full of says less of an interest, so it counts by 1 / √items.
        """
        categories = [self.catalogue.category(int(row)) for row in rows]
        column_of: dict[str, int] = {}
        for names in categories:
            for name in names:
                column_of.setdefault(name, len(column_of))
        if not column_of:
            return [()] * len(interests)
        membership = np.zeros((len(rows), len(column_of)), dtype=np.float32)
        for line, names in enumerate(categories):
            membership[line, [column_of[name] for name in names]] = [self._rarity[name] for name in names]
        cosines = interests @ self._table.vectors(rows).T
        weights = np.exp(
            (cosines - cosines.max(axis=1, keepdims=True)) / np.float32(self.defaults.temperature)
        )
        order = np.argsort(-(weights @ membership), axis=1, kind="stable")[:, :MOST_TOP_CATEGORIES]
        names_in_order = list(column_of)
        return [tuple(names_in_order[column] for column in line) for line in order]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A request and the engine it was resolved for: after a swap it still gets its answer from that one."""

    engine: Engine
    request: EngineRequest


def compute(jobs: Sequence[Job]) -> list[EngineAnswer]:
    """Answer every job, in order; jobs of one engine share a batch."""
    by_engine: defaultdict[Engine, list[int]] = defaultdict(list)
    for place, job in enumerate(jobs):
        by_engine[job.engine].append(place)
    answers: dict[int, EngineAnswer] = {}
    for engine, places in by_engine.items():
        answers.update(zip(places, engine.recommend([jobs[place].request for place in places]), strict=True))
    return [answers[place] for place in range(len(jobs))]
