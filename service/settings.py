"""Every setting of the service: from the environment (`DIMEREC_…`) or `.env`, checked once at start."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.access.settings import AccessSettings
from service.environment import ENCODING, PREFIX, check_variables, is_service_address
from service.errors import StartupError
from service.history.errors import HistoryUrlError
from service.history.meanings import DEFAULT_MEANINGS, Meanings
from service.redis_address import parse

DOTENV = Path(".env")
MAX_DEADLINE_MS = 60_000
"""Chosen: nobody waits for a recommendation for more than a minute."""
_ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class ServerSettings(BaseModel):
    """The address, the path prefix, and how long connections are kept."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 for all")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 lets the system choose")
    workers: int = Field(
        1, ge=1, le=128, description="processes that answer at this address; more than one need Redis"
    )
    root_path: str | None = Field(
        None, description="path prefix that a proxy serves this under, e.g. /dimerec; unset: none"
    )
    keep_alive_s: int = Field(
        75, ge=1, le=3600, description="how long an idle connection stays open; longer than the balancer's, s"
    )
    shutdown_grace_s: int = Field(
        30, ge=0, le=3600, description="how long requests in flight may finish after SIGTERM, s"
    )

    @field_validator("port", mode="before")
    @classmethod
    def _refuse_service_address(cls, port: object) -> object:
        if is_service_address(port):
            raise ValueError(
                "was set by Kubernetes, for a Service named dimerec: put `enableServiceLinks: false` into the"
                " pod's spec, or give the Service another name"
            )
        return port

    @field_validator("root_path")
    @classmethod
    def _refuse_wrong_prefix(cls, path: str | None) -> str | None:
        if path is not None and not (_ROOT_PATH.fullmatch(path) and {".", ".."}.isdisjoint(path.split("/"))):
            raise ValueError(
                "must be a path like /dimerec: a slash first, none at the end, nothing to escape"
            )
        return path


class LimitSettings(BaseModel):
    """Bounds on what is taken."""

    max_batch: int = Field(64, ge=1, le=4096, description="most requests computed together")
    max_queue: int = Field(
        1024, ge=1, le=1_000_000, description="most requests waiting; one more is answered 503 at once"
    )
    default_deadline_ms: int = Field(
        1_000,
        ge=1,
        le=MAX_DEADLINE_MS,
        description="deadline of a request that names none, in deadline_ms or X-Deadline-Ms, ms",
    )
    max_request_cost: float = Field(
        20,
        gt=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="dearest request; more is answered 422; a plain one costs .5, in about ms of a core",
    )
    max_batch_cost: float = Field(
        500,
        gt=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="dearest call of /recommend/batch, the sum of its requests; more is answered 422",
    )
    standing_queue_ms: int = Field(
        400, ge=1, le=60_000, description="wait in the queue from which the newest requests go first, ms"
    )
    max_connections: int = Field(
        4096,
        ge=16,
        le=1_000_000,
        description="connections open at once, as far as open files allow; then the longest idle one ends",
    )
    max_body_bytes: int = Field(
        1_048_576, ge=1024, le=1 << 30, description="largest request body; more is answered 413"
    )


class ComputeSettings(BaseModel):
    """The bundles that answer, and where they compute."""

    bundles: Path = Field(Path("bundles"), description="directory of published bundles, the one with CURRENT")
    watch_s: float | None = Field(
        None,
        ge=0.1,
        le=86_400,
        allow_inf_nan=False,
        description="how often to look whether CURRENT names another bundle, and serve that, s; unset: never",
    )
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d{1,2})?)$")] = Field(
        "cpu", description="where the model computes: cpu, cuda or cuda:N"
    )
    compute_threads: int | None = Field(
        None, ge=1, le=1024, description="threads for one batch; unset: the cores, shared out among workers"
    )


class HistorySettings(BaseModel):
    """The history store, and how much it keeps."""

    redis_url: SecretStr | None = Field(
        None, description="history store, e.g. redis://localhost:6379/0; unset: history lives in this process"
    )
    history_max_events: int = Field(
        1000, ge=1, le=100_000, description="newest events kept per user; seen items are known this far back"
    )
    history_ttl_s: int = Field(
        90 * 86_400,
        ge=60,
        le=10 * 366 * 86_400,
        description="Redis forgets a user this long after their last event, s",
    )
    history_new_ttl_s: int = Field(
        8 * 86_400,
        ge=60,
        le=10 * 366 * 86_400,
        description="Redis forgets a new user so soon, until an event comes on a later day, s",
    )
    history_timeout_s: float = Field(
        0.25,
        gt=0,
        le=30,
        allow_inf_nan=False,
        description="longest wait for Redis; then the answer is degraded, s",
    )
    history_max_users: int = Field(
        100_000, ge=1, le=100_000_000, description="users kept by the in-process store"
    )
    history_max_bytes: int = Field(
        268_435_456,
        ge=1_048_576,
        le=1 << 40,
        description="memory of the in-process store; the least recently used users go first, bytes",
    )

    event_types: str = Field(
        DEFAULT_MEANINGS,
        description="what each type of events is: positive, negative or ignored; without a type: positive",
    )

    spool: Path | None = Field(
        None, description="directory where events wait while Redis is away; unset: they are answered 503"
    )
    spool_max_bytes: int = Field(
        268_435_456,
        ge=1_048_576,
        le=1 << 40,
        description="most that waits there, bytes; then events are answered 503",
    )

    trending_half_life_s: int = Field(
        3 * 86_400,
        ge=0,
        le=366 * 86_400,
        description="age at which an event counts half in answers by popularity; 0: none counts, s",
    )

    @field_validator("event_types")
    @classmethod
    def _refuse_wrong_types(cls, text: str) -> str:
        Meanings.parse(text)
        return text

    @field_validator("redis_url")
    @classmethod
    def _refuse_wrong_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            try:
                parse(url.get_secret_value())
            except HistoryUrlError as error:
                raise ValueError(error.fault) from error
        return url


class CatalogueSettings(BaseModel):
    """Changes of the catalogue."""

    catalogue_max_staleness_s: float | None = Field(
        None,
        ge=1,
        le=86_400,
        allow_inf_nan=False,
        description="not ready while Redis told of no changes for so long; unset: ready, s",
    )
    catalogue_redis_replicas: int | None = Field(
        None,
        ge=0,
        le=16,
        description="replicas of Redis that are to have a change before it is answered; unset: one, if any",
    )


class LogSettings(BaseModel):
    """Log lines."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe line logged"
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="json for machines, console for people"
    )


class Settings(
    LogSettings,
    AccessSettings,
    CatalogueSettings,
    HistorySettings,
    ComputeSettings,
    LimitSettings,
    ServerSettings,
    BaseSettings,
):
    """Settings of one service; immutable. An empty variable counts as not set."""

    @model_validator(mode="after")
    def _refuse_one_port_for_two(self) -> Self:
        if self.admin_port is not None and self.admin_port == self.port:
            raise ValueError("DIMEREC_ADMIN_PORT is DIMEREC_PORT: unset it, or give it another port")
        return self

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=DOTENV,
        env_file_encoding=ENCODING,
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    @model_validator(mode="after")
    def _refuse_a_spool_for_nothing(self) -> Self:
        if self.spool is not None and self.redis_url is None:
            raise ValueError(f"{variable('spool')} is of no use without {variable('redis_url')}: unset it")
        return self

    @model_validator(mode="after")
    def _refuse_replicas_of_a_cluster(self) -> Self:
        url = self.redis_url
        if self.catalogue_redis_replicas and url and parse(url.get_secret_value()).topology == "cluster":
            raise ValueError(f"{variable('catalogue_redis_replicas')} cannot be had of a cluster: unset it")
        return self

    @model_validator(mode="after")
    def _refuse_workers_with_histories_of_their_own(self) -> "Settings":
        if self.workers > 1 and self.redis_url is None:
            raise ValueError(
                f"{variable('workers')} is {self.workers}, but without {variable('redis_url')} each process"
                " would have histories of its own: keep them in Redis (--redis URL), or serve with one worker"
            )
        return self


def read_settings(**overrides: object) -> Settings:
    """Settings from the environment and `.env`; `overrides` (field names, None = not given) win.

    Raises StartupError with one line that names every bad variable and never shows its value; so too for a
    variable of our prefix that is no setting, and for a `.env` that cannot be read.
    """
    check_variables([variable(name) for name in Settings.model_fields], DOTENV)
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise StartupError("settings: " + "; ".join(map(_describe, error.errors()))) from error


def variable(field: str) -> str:
    """The name of the environment variable of a field."""
    return f"{PREFIX}{field.upper()}"


def _describe(fault: ErrorDetails) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    field = "_".join(map(str, fault["loc"]))
    return f"{variable(field)} {message}" if field else message  # of no field: settings that contradict
