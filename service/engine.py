"""Pure computation: resolved requests in, answers out. One forward pass and one index search for a batch."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

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
from service.explain import Explainer, Explanation, InterestKind, MergedInterests, merge_duplicates
from service.popularity import Popularity
from service.schemas import MOST_STEPS


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
    explain: bool
    """Whether to say what the interests are about and where they come from."""


@dataclass(frozen=True, slots=True)
class Recommended:
    """An item's row, its score, and the index of the interest that brought it (None: popularity)."""

    row: int
    score: float
    interest: int | None


@dataclass(frozen=True, slots=True)
class FoundInterest:
    """One interest: near-duplicates of one kind count as one."""

    kind: InterestKind
    weight: float
    """Its part in the answer; all sum to 1."""
    item_count: int
    """Items of the answer that it brought."""
    explanation: Explanation | None
    """None: not asked for."""


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
        self._explainer = Explainer(bundle.index, bundle.table, bundle.catalogue, self.defaults.temperature)
        self._popularity = Popularity(bundle.catalogue)

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
        found = self._search(personal, interests)
        merged = [
            merge_duplicates(vectors, 0 if request.interest_mode == "guidance" else request.draws)
            for request, vectors in zip(personal, interests, strict=True)
        ]
        answers = map(_personal, found, merged, self._explain(personal, merged))
        lists = [next(answers) if len(request.history) else self._popular(request) for request in requests]
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
            explain=True,
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

    def _explain(
        self, requests: Sequence[EngineRequest], merged: Sequence[MergedInterests]
    ) -> list[Sequence[Explanation | None]]:
        """Each request's interests explained, by what the model read; None for those not to be."""
        asked = [place for place, request in enumerate(requests) if request.explain]
        explanations: list[Sequence[Explanation | None]] = [[None] * len(one.kinds) for one in merged]
        read = [requests[place].history[-self._model.config.max_length :] for place in asked]
        found = self._explainer.explain([merged[place].vectors for place in asked], read)
        for place, explained in zip(asked, found, strict=True):
            explanations[place] = explained
        return explanations

    def _popular(self, request: EngineRequest) -> tuple[list[Recommended], list[FoundInterest]]:
        eligible = self.retriever.eligibility.of(request.categories)
        best = self._popularity.best(request.k, request.excluded, eligible, request.diversity)
        return [Recommended(row, score, None) for row, score in best], []


def _personal(
    found: Retrieval, merged: MergedInterests, explanations: Sequence[Explanation | None]
) -> tuple[list[Recommended], list[FoundInterest]]:
    """What was found, each item by the interest with the greatest part in it."""
    brought = merged.together(found.shares).argmax(axis=0)
    items = [
        Recommended(candidate.row, candidate.score, interest)
        for candidate, interest in zip(found.candidates, brought.tolist(), strict=True)
    ]
    weights = merged.together(found.interest_weights).tolist()
    counts = np.bincount(brought, minlength=len(merged.kinds)).tolist()
    columns = zip(merged.kinds, weights, counts, explanations, strict=True)
    return items, [FoundInterest(*values) for values in columns]


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
