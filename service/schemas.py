"""What callers send and receive: fields bounded, unknown ones refused, nothing coerced but integer ids."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

MOST_ITEMS = 500
LONGEST_HISTORY = 1_000
LONGEST_ID = 128
MOST_DRAWS = 32
MOST_STEPS = 50
MOST_REQUESTS = 256
MOST_EVENTS = 1_000
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]+$"


def _integer_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_ID_SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": LONGEST_ID, "pattern": _PRINTABLE},
        {"type": "integer"},
    ],
    "description": "a string without control characters, or an integer that stands for its decimal digits",
}
Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID, pattern=_PRINTABLE)]
Id = Annotated[Text, BeforeValidator(_integer_as_text), WithJsonSchema(_ID_SCHEMA, mode="validation")]
InterestMode = Literal["generated", "guidance", "both"]


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class RecommendRequest(_Request):
    """Who is asking and what for: give `user_id`, `history`, or both."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": "196", "k": 10},
                {"history": ["50", "181", "172"], "k": 5, "diversity": 0.3, "seed": 7},
            ]
        }
    )

    user_id: Id | None = Field(None, description="whose stored history to use", examples=["196"])
    history: list[Id] | None = Field(
        None,
        max_length=LONGEST_HISTORY,
        description="items watched, oldest first; read by the model instead of the stored history",
        examples=[["50", "181", "172"]],
    )
    k: int = Field(10, ge=1, le=MOST_ITEMS, description="how many items", examples=[10])
    exclude_seen: bool = Field(True, description="leave out stored and given history")
    exclude: list[Id] = Field(
        [], max_length=1_000, description="items to leave out besides", examples=[["12"]]
    )
    categories: list[Text] | None = Field(
        None, min_length=1, max_length=64, description="only items of any of these", examples=[["Comedy"]]
    )
    diversity: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="0: best scores only, 1: as few shared categories as possible; default: the bundle's",
        examples=[0.3],
    )
    interests: int | None = Field(
        None, ge=1, le=MOST_DRAWS, description="interests to draw; default: the bundle's", examples=[8]
    )
    interest_mode: InterestMode | None = Field(
        None,
        description="interests drawn by the diffusion, the guidance vectors, or both; default: the bundle's",
        examples=["generated"],
    )
    steps: int | None = Field(
        None, ge=1, le=MOST_STEPS, description="denoising steps; default: the bundle's", examples=[4]
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=2**63 - 1,
        description="of the draws; default: follows from user and model",
        examples=[7],
    )
    deadline_ms: int | None = Field(
        None, ge=1, le=60_000, description="refuse rather than start later than this, ms", examples=[200]
    )

    @model_validator(mode="after")
    def _someone_is_asking(self) -> Self:
        if self.user_id is None and self.history is None:
            raise PydanticCustomError(
                "nobody_asks", "give user_id, history, or both", {"fields": ["user_id", "history"]}
            )
        return self


class RecommendedItem(_Answer):
    """One recommended item."""

    item_id: str = Field(examples=["204"])
    score: float = Field(description="share of the user's interest, or of all events", examples=[0.041])
    interest: int | None = Field(
        description="place in `interests` of the one that brought it; null for popularity", examples=[2]
    )
    category: list[str] = Field(examples=[["Comedy", "Sci-Fi"]])
    title: str | None = Field(examples=["Back to the Future (1985)"])


class Interest(_Answer):
    """One interest that the model found in the user."""

    weight: float = Field(description="its share of the answer; the weights sum to 1", examples=[0.31])
    top_categories: list[str] = Field(description="what it is about, best first", examples=[["Sci-Fi"]])


class Timings(_Answer):
    """Where the time went, ms. `model` and `search` are those of the whole batch."""

    queue: float = Field(examples=[0.2])
    model: float = Field(examples=[3.1])
    search: float = Field(examples=[0.6])
    total: float = Field(examples=[4.8])


class RecommendAnswer(_Answer):
    """The recommended items, best first, and why."""

    items: list[RecommendedItem]
    interests: list[Interest]
    source: Literal["personal", "popularity"] = Field(
        description="popularity: nothing is known of the user, or only items that are not in the catalogue"
    )
    model_version: str = Field(examples=["20261123T181500.123456Z-0a1b2c3d"])
    request_id: str = Field(examples=["5f2b8c0e7d9a4c1f8e3b6a7d0c9f2e1b"])
    degraded: Literal["history_unavailable"] | None = Field(description="the fault that weakened the answer")
    timings_ms: Timings


class FieldProblem(_Answer):
    """What is wrong with one field."""

    field: str = Field(examples=["k"])
    message: str = Field(examples=["Input should be less than or equal to 500"])


class Problem(_Answer):
    """Why a call failed (RFC 9457)."""

    type: str = Field(
        description="stable name of the problem", examples=["urn:dimerec:problem:invalid-request"]
    )
    title: str = Field(examples=["The request is invalid"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["k: Input should be less than or equal to 500"])
    errors: list[FieldProblem] = Field(description="the fields at fault, at most 20")
    request_id: str = Field(examples=["5f2b8c0e7d9a4c1f8e3b6a7d0c9f2e1b"])


class RecommendBatchRequest(_Request):
    """Many requests, answered in order."""

    requests: list[Annotated[Any, WithJsonSchema({"$ref": "#/components/schemas/RecommendRequest"})]] = Field(
        min_length=1,
        max_length=MOST_REQUESTS,
        description="each as for POST /recommend; a bad one is told so in its own place",
        examples=[[{"user_id": "196", "k": 3}, {"history": ["50"], "k": 3}]],
    )


class RecommendBatchAnswer(_Answer):
    """One answer or problem for each request, in order."""

    answers: list[RecommendAnswer | Problem]


class WatchEvent(_Request):
    """One item that a user watched."""

    user_id: Id = Field(examples=["196"])
    item_id: Id = Field(examples=["50"])
    timestamp: int = Field(
        ge=0, le=2**53 - 1, description="ms since the epoch, at most 24 h ahead", examples=[1_795_000_000_000]
    )
    event_id: Id | None = Field(
        None, description="the caller's name of the event; repeats of it change nothing", examples=["e-1"]
    )


class WatchEvents(_Request):
    """Many events; all are refused if one is bad."""

    events: list[WatchEvent] = Field(min_length=1, max_length=MOST_EVENTS)


def _one_or_many(body: object) -> str:
    return "(many)" if isinstance(body, dict | WatchEvents) and "events" in dict(body) else "(one)"


EventsRequest = Annotated[
    Annotated[WatchEvent, Tag("(one)")] | Annotated[WatchEvents, Tag("(many)")], Discriminator(_one_or_many)
]
"""Tags in parentheses never show in the field names of a problem."""


class EventsAnswer(_Answer):
    """What became of the events."""

    added: int = Field(description="kept in a history", examples=[1])
    repeated: int = Field(description="known already, nothing changed", examples=[0])
    outdated: int = Field(description="older than everything in a full history, not kept", examples=[0])
    unknown_items: list[str] = Field(description="kept, but not in the catalogue in service", examples=[[]])


class HistoryEvent(_Answer):
    """One event of a history."""

    item_id: str = Field(examples=["50"])
    timestamp: int = Field(description="ms since the epoch", examples=[1_795_000_000_000])
    title: str | None = Field(examples=["Star Wars (1977)"])
    category: list[str] = Field(examples=[["Action", "Sci-Fi"]])
    known: bool = Field(description="whether the catalogue in service has the item")


class HistoryAnswer(_Answer):
    """The newest events of a user, oldest first."""

    user_id: str = Field(examples=["196"])
    events: list[HistoryEvent]


class ForgetAnswer(_Answer):
    """What was deleted."""

    user_id: str = Field(examples=["196"])
    removed: int = Field(description="events deleted", examples=[39])


class UsersAnswer(_Answer):
    """Some users who have a history, for a picker."""

    users: list[str] = Field(examples=[["196", "186"]])


class SimilarItem(_Answer):
    """One neighbour."""

    item_id: str = Field(examples=["181"])
    score: float = Field(description="cosine of the item vectors", examples=[0.87])
    category: list[str] = Field(examples=[["Action", "Sci-Fi"]])
    title: str | None = Field(examples=["Return of the Jedi (1983)"])


class SimilarAnswer(_Answer):
    """Neighbours of an item, nearest first."""

    item_id: str = Field(examples=["50"])
    title: str | None = Field(examples=["Star Wars (1977)"])
    items: list[SimilarItem]
    model_version: str = Field(examples=["20261123T181500.123456Z-0a1b2c3d"])


class HealthAnswer(_Answer):
    """A probe's answer."""

    status: Literal["live", "ready"]


class Defaults(_Answer):
    """What a request that leaves a field out gets."""

    interests: int = Field(examples=[8])
    steps: int = Field(examples=[4])
    interest_mode: InterestMode
    diversity: float = Field(examples=[0.0])


class VersionAnswer(_Answer):
    """What is running."""

    service: str = Field(description="version of the service", examples=["0.1.0"])
    model_version: str = Field(examples=["20261123T181500.123456Z-0a1b2c3d"])
    created: str = Field(description="when the bundle was published", examples=["2026-11-23T18:15:00Z"])
    source_revision: str | None = Field(description="revision of the code that trained it")
    data_fingerprint: str = Field(description="of the data it was trained on")
    metrics: dict[str, float] = Field(
        description="as measured before publishing", examples=[{"ndcg@20": 0.17}]
    )
    items: int = Field(description="catalogue size", examples=[1682])
    most_steps: int = Field(description="largest `steps` this model takes", examples=[32])
    defaults: Defaults
    history_store: Literal["redis", "in-process"]


class SwapAnswer(_Answer):
    """Which bundle was in service and which is now."""

    previous_version: str = Field(examples=["20261122T090000.000000Z-9f8e7d6c"])
    model_version: str = Field(examples=["20261123T181500.123456Z-0a1b2c3d"])
    changed: bool
