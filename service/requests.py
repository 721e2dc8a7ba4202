"""Requests of callers: every field bounded, unknown fields refused.

Nothing is coerced but what JSON does not tell apart: a count of 10.0 is the integer 10; integer ids are
their digits. An id has two rules: what is read or left out may be whatever is stored; what is written must
also have no `files.ids.fault`.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from bundle.manifest import MAX_DRAWS
from engine.contract import EngineRequest
from files import ids
from files.clock import EARLIEST_MS
from files.ids import MAX_ID_LENGTH, MISSING_WORDS, PRINTABLE, REQUEST_ID, UNPADDED
from model.interests import InterestMode
from service.filters import WhereRequest
from service.history.meanings import TYPE_NAME
from service.request_model import RequestModel
from service.settings import MAX_DEADLINE_MS

MAX_ITEMS = 500
"""Candidates for the next stage of a recommender, which takes a few hundred."""
MAX_HISTORY = 1_000
"""As many as are kept of a user (`history.protocol.DEFAULT_MAX_EVENTS`)."""
MAX_STEPS = 50
"""A bound on the work of one request; quality is flat beyond 4 steps (docs/benchmark.md)."""
MAX_REQUESTS = 256
"""Of a batch: four times the largest that is computed together by default."""
MAX_EVENTS = 1_000
"""Of one body: a user's whole history."""
MAX_EXACT_FLOAT = 2**53
"""From here on a float is not the integer that was written."""


def _integral(value: object) -> object:
    if isinstance(value, float) and value.is_integer() and abs(value) < MAX_EXACT_FLOAT:
        return int(value)
    return value


def _integer_as_text(value: object) -> object:
    if isinstance(value, float):
        raise PydanticCustomError(
            "float_id", "a number with a fraction or an exponent is no id; send an integer or a string"
        )
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _may_be_written(text: str) -> str:
    fault = ids.fault(text)
    if fault is not None:
        raise PydanticCustomError("unwritable_id", "{fault}", {"fault": fault})
    return text


def _not_null(field: str) -> dict[str, Any]:
    return {"required": [field], "properties": {field: {"not": {"type": "null"}}}}


def _id_schema(string: dict[str, Any], description: str) -> WithJsonSchema:
    text = {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH, **string}
    number = "or an integer, without fraction or exponent, that stands for its decimal digits"
    schema = {"anyOf": [text, {"type": "integer"}], "description": f"{description}, {number}"}
    return WithJsonSchema(schema, mode="validation")


WRITTEN_STRING: dict[str, Any] = {
    "pattern": UNPADDED,
    "not": {"enum": [word for word in MISSING_WORDS if word]},
}
"""JSON Schema of a string that may be written as an id, besides its length."""
_READ = _id_schema({"pattern": PRINTABLE}, "a string without control characters")
_WRITTEN = _id_schema(
    WRITTEN_STRING, "a string without control characters, blanks around it or a word for a missing value"
)
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH, pattern=PRINTABLE)]
Id = Annotated[Text, BeforeValidator(_integer_as_text), _READ]
WrittenId = Annotated[Text, BeforeValidator(_integer_as_text), AfterValidator(_may_be_written), _WRITTEN]
K = Annotated[int, Field(ge=1, le=MAX_ITEMS), BeforeValidator(_integral)]
Draws = Annotated[int, Field(ge=1, le=MAX_DRAWS), BeforeValidator(_integral)]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS), BeforeValidator(_integral)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1), BeforeValidator(_integral)]
Deadline = Annotated[int, Field(ge=1, le=MAX_DEADLINE_MS), BeforeValidator(_integral)]
EventType = Annotated[str, StringConstraints(pattern=f"^{TYPE_NAME}$")]
RequestId = Annotated[str, StringConstraints(pattern=REQUEST_ID)]
Timestamp = Annotated[
    int,
    BeforeValidator(_integral),
    WithJsonSchema({"type": "integer", "minimum": EARLIEST_MS, "maximum": 2**53 - 1}),
]
"""Judged by `files.clock` once the moment is known."""


class RecommendRequest(RequestModel):
    """Who is asking and what for: give `user_id`, `history`, or both."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [_not_null("user_id"), _not_null("history")],
            "examples": [
                {"user_id": "196", "k": 10},
                {"history": ["50", "181", "172"], "k": 5, "diversity": 0.3, "seed": 7},
            ],
        }
    )

    user_id: Id | None = Field(None, description="whose stored history to use", examples=["196"])
    history: list[Id] | None = Field(
        None,
        max_length=MAX_HISTORY,
        description="items watched, oldest first; read by the model instead of the stored history",
        examples=[["50", "181", "172"]],
    )
    k: K = Field(10, description="how many items", examples=[10])
    exclude_seen: bool = Field(
        True,
        description="leave out stored and given history; if not, the history that is read counts as often as"
        " users of the training log come back to an item",
    )
    exclude: list[Id] = Field(
        [], max_length=1_000, description="items to leave out besides", examples=[["12"]]
    )
    categories: list[Text] | None = Field(
        None, min_length=1, max_length=64, description="only items of any of these", examples=[["Comedy"]]
    )
    where: WhereRequest | None = Field(
        None,
        description="only items whose attributes this filter lets through",
        examples=[{"attribute": "language", "in": ["en", "fr"]}],
    )
    fresh: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="part of the k that is of items put since the bundle, where so many are eligible;"
        " default: the bundle's",
        examples=[0.2],
    )
    diversity: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="0: best scores only, 1: as few shared categories as possible; default: the bundle's",
        examples=[0.3],
    )
    novelty: float = Field(
        0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="0: best scores only, 1: as much rarer items as the bundle's stated loss of hits allows",
        examples=[0.5],
    )
    draws: Draws | None = Field(
        None, description="how many interests the diffusion draws; default: the bundle's", examples=[8]
    )
    interest_mode: InterestMode | None = Field(
        None,
        description="search with the draws, with the guidance vectors, or with both; default: the bundle's,"
        " but both where that is guidance and draws or steps are named",
        examples=["draws"],
    )
    steps: Steps | None = Field(None, description="denoising steps; default: the bundle's", examples=[4])
    seed: Seed | None = Field(
        None,
        description="of the draws; default: follows from user and model",
        examples=[7],
    )
    explain: bool = Field(
        True, description="say what each interest is about, and the watched items that it comes from"
    )
    deadline_ms: Deadline | None = Field(
        None,
        description="refuse rather than answer later than this, ms; default: the service's",
        examples=[200],
    )

    @model_validator(mode="after")
    def _someone_is_asking(self) -> Self:
        if self.user_id is None and self.history is None:
            raise PydanticCustomError(
                "nobody_asks", "give user_id, history, or both", {"fields": ["user_id", "history"]}
            )
        return self

    def to_engine(self, stored: Sequence[str], negative: Sequence[str] = ()) -> EngineRequest:
        """The request to the engine, for a user whose history is `stored`, item ids, oldest first.

        An inline history replaces the stored one, and both were seen. `negative` items are not answered.
        """
        excluded = [*self.exclude, *negative]
        if self.exclude_seen:
            excluded += [*stored, *(self.history or ())]
        return EngineRequest(
            user_id=self.user_id,
            history=stored if self.history is None else self.history,
            k=self.k,
            excluded=excluded,
            categories=self.categories,
            where=None if self.where is None else self.where.filter,
            fresh=self.fresh,
            diversity=self.diversity,
            novelty=self.novelty,
            draws=self.draws,
            interest_mode=self.interest_mode,
            steps=self.steps,
            seed=self.seed,
            explain=self.explain,
        )


class RecommendBatchRequest(RequestModel):
    """Many requests, answered in order."""

    requests: list[Annotated[Any, WithJsonSchema({"$ref": "#/components/schemas/RecommendRequest"})]] = Field(
        min_length=1,
        max_length=MAX_REQUESTS,
        description="each as for POST /recommend; a bad one gets a problem as its element of the answer",
        examples=[[{"user_id": "196", "k": 3}, {"history": ["50"], "k": 3}]],
    )


class WatchEvent(RequestModel):
    """One item that a user watched, or did something else with."""

    user_id: WrittenId = Field(examples=["196"])
    item_id: WrittenId = Field(examples=["50"])
    timestamp: Timestamp = Field(
        description="ms since the epoch, from 1995 to 24 h ahead", examples=[1_795_000_000_000]
    )
    event_id: WrittenId | None = Field(
        None, description="the caller's name of the event; repeats of it change nothing", examples=["e-1"]
    )
    event_type: EventType | None = Field(
        None,
        description="one that DIMEREC_EVENT_TYPES names; none: it is positive, watched",
        examples=["skip"],
    )
    request_id: RequestId | None = Field(
        None,
        description="of the answer that the event came from; it is kept with the event",
        examples=["5f2b8c0e7d9a4c1f8e3b6a7d0c9f2e1b"],
    )


class WatchEvents(RequestModel):
    """Many events; all are refused if one is bad."""

    events: Annotated[list[WatchEvent], FailFast()] = Field(
        min_length=1, max_length=MAX_EVENTS, description="in any order, of any users"
    )


def _one_or_many(body: object) -> str:
    return "(many)" if isinstance(body, dict | WatchEvents) and "events" in dict(body) else "(one)"


EventsRequest = Annotated[
    Annotated[WatchEvent, Tag("(one)")] | Annotated[WatchEvents, Tag("(many)")], Discriminator(_one_or_many)
]
"""Tags in parentheses never show in the field names of a problem."""
