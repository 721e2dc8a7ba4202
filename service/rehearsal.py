"""A few requests that an engine answers before it is put into service, each answer checked as callers see it.

Checksums say that a bundle is what was published, and not that it can answer: weights may be no numbers, a
catalogue may lack what every answer needs.
"""

from pydantic import ValidationError

from bundle.errors import BundleIncompatibleError
from bundle.read import Bundle
from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine
from files.errors import DimeRecError
from service.answers import Answer, Timings, encode
from service.requests import MAX_STEPS
from service.responses import RecommendResponse

_K = 10
"""Items of an answer: the default of a request."""


def rehearsed(bundle: Bundle) -> Engine:
    """An engine of the bundle that has answered by its first, middle and last item: so it is warm, too.

    Raises BundleIncompatibleError where it cannot answer.
    """
    engine = Engine(bundle, max_steps=MAX_STEPS)
    rows = sorted({1, (len(bundle.catalogue) + 1) // 2, len(bundle.catalogue)})
    rehearse(engine, tuple(map(bundle.catalogue.item_id, rows)))
    return engine


def rehearse(engine: Engine, item_ids: tuple[str, ...]) -> None:
    """Ask `engine` for recommendations by history and by popularity, and for similar items.

    `item_ids`: histories of one item each. Raises BundleIncompatibleError where an answer fails or is none.
    """
    try:
        for answer in engine.recommend(_requests(item_ids)):
            _check(answer, engine.version)
        for item_id in item_ids:
            engine.similar(item_id, _K)
    except (
        DimeRecError,
        ArithmeticError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleIncompatibleError(
            f"{engine.version} cannot answer ({type(error).__name__}: {reason}): train and publish it again"
        ) from error


def _requests(item_ids: tuple[str, ...]) -> list[EngineRequest]:
    by_history = [EngineRequest(history=[item_id], k=_K, diversity=0.5) for item_id in item_ids]
    together = EngineRequest(history=list(item_ids), k=_K)
    drawn = EngineRequest(history=list(item_ids), k=_K, interest_mode="both")  # whoever names draws has them
    return [*by_history, together, drawn, EngineRequest(history=[], k=_K)]


def _check(answer: EngineAnswer, version: str) -> None:
    """Encode an answer and read it back as its documented type; raises ValueError."""
    response = Answer(
        items=answer.items,
        interests=answer.interests,
        source=answer.source,
        unknown_categories=answer.unknown_categories,
        fresh_missing=answer.fresh_missing,
        model_version=version,
        request_id="rehearsal",
        degraded=None,
        timings_ms=Timings(0.0, answer.model_ms, answer.search_ms, 0.0),
    )
    try:
        read = RecommendResponse.model_validate_json(encode(response))
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error
    if not read.items:
        raise ValueError("an answer without items")
