"""`dimerec recommend`: the service's answers without the service, for one user or for a whole log."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import starmap
from pathlib import Path
from typing import Annotated, NamedTuple

import polars as pl
import pyarrow as pa
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bundle.read import read_bundle
from cli.answers import SCHEMA, answers_file, check_out
from cli.catalogue_option import CatalogueExports, contents_of
from cli.log_options import (
    DEFAULTS,
    EventTypeColumn,
    EventTypes,
    ItemColumn,
    MinWeight,
    Missing,
    OptionalEventsFiles,
    QuoteOption,
    Separator,
    TimestampColumn,
    TimeUnit,
    UserColumn,
    WeightColumn,
    prepare_options,
)
from cli.output import Json, print_json, print_table
from engine.contract import NO_NOVELTY, EngineAnswer, EngineRequest
from engine.engine import Engine
from index.filters import Filter
from service.catalogue.live import LiveCatalogue
from service.errors import FieldFault, InvalidRequestError
from service.filter_text import check_filter, filter_of
from service.requests import MAX_STEPS
from service.settings import read_settings
from training.data.event_log import read_event_log
from training.data.prepare_options import PrepareOptions
from training.errors import ConfigError, DataError

_USERS_AT_ONCE = 256
"""As many as a request for a batch may have."""


class _User(NamedTuple):
    user_id: str
    history: list[str]
    """Item ids, oldest first."""


def command(
    bundles: Annotated[Path, typer.Option(help="Directory of bundles; the one in service answers.")] = Path(
        "bundles"
    ),
    events: OptionalEventsFiles = None,
    user: Annotated[str | None, typer.Option(help="One user of --events.")] = None,
    history: Annotated[
        str | None, typer.Option(help="Item ids instead, oldest first, separated by commas.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Answer for every user of --events into this file: .csv, .jsonl (text also .gz, .zst) or"
            " .parquet."
        ),
    ] = None,
    catalogue: CatalogueExports = None,
    k: Annotated[int, typer.Option("-k", min=1, max=500, help="Items per user.")] = 10,
    diversity: Annotated[float | None, typer.Option(min=0, max=1, help="Default: the bundle's.")] = None,
    novelty: Annotated[
        float, typer.Option(min=0, max=1, help="Rarer items, at the loss of hits that the bundle states.")
    ] = 0,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="Only items whose attributes this filter lets through: the `where` of POST /recommend.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the noise. [default: from the user id]")] = None,
    device: Annotated[str, typer.Option(help="Where the model computes: cpu, cuda or cuda:N.")] = "cpu",
    separator: Separator = None,
    quote: QuoteOption = DEFAULTS.quote,
    user_column: UserColumn = DEFAULTS.user_column,
    item_column: ItemColumn = DEFAULTS.item_column,
    timestamp_column: TimestampColumn = DEFAULTS.timestamp_column,
    event_type_column: EventTypeColumn = DEFAULTS.event_type_column,
    weight_column: WeightColumn = DEFAULTS.weight_column,
    timestamp_unit: TimeUnit = DEFAULTS.timestamp_unit,
    event_types: EventTypes = None,
    min_weight: MinWeight = None,
    missing: Missing = None,
    as_json: Json = False,
) -> None:
    """Recommend from the shell: a table for one user, or a file for all users of a log.

    Changes of the catalogue count as in the service where `--catalogue` names an export of them. Seen items
    are left out and of a log's users only the newest events are used (DIMEREC_HISTORY_MAX_EVENTS,
    1,000), as the service does; with equal seeds the answers are the service's.

    - `dimerec recommend --bundles bundles --history 50,181,172`

    - `dimerec recommend --bundles bundles --events events.parquet --user 196 -k 20`

    - `dimerec recommend --bundles bundles --events events.parquet --out recommendations.csv`

    - `dimerec recommend --bundles bundles --history 50,181 --json | jq -r '.items[].item_id'`

    - `dimerec recommend --bundles bundles --history 50 --where '{"attribute": "language", "in": ["en"]}'`
    """
    if (history is None) == (not events):
        raise ConfigError("give either --history or --events")
    if history is not None and (user is not None or out is not None):
        raise ConfigError("--history is answered by a table; leave out --user and --out")
    if history is None and (user is None) == (out is None):
        raise ConfigError("with --events give either --user (a table) or --out (a file for all users)")
    if out is not None and events is not None:
        check_out(out, events)
    listed = None if history is None else _listed(history)
    options = prepare_options(
        user_column=user_column,
        item_column=item_column,
        timestamp_column=timestamp_column,
        event_type_column=event_type_column,
        weight_column=weight_column,
        timestamp_unit=timestamp_unit,
        event_types=event_types,
        separator=separator,
        quote=quote,
        min_weight=min_weight,
        missing=missing,
    )
    contents = contents_of(catalogue)
    with _naming_options():
        lets_through = None if where is None else filter_of(where)
        engine = _engine(bundles, device, lets_through, novelty)
    LiveCatalogue(contents).serve(engine)
    asked = _Asked(engine, k, lets_through, diversity, novelty, seed, explain=as_json and out is None)
    if listed is not None:
        _print(asked.answers([_User("", listed)])[0], as_json=as_json)
    elif events and user is not None:
        _print(asked.answers([_of_user(events, options, user)])[0], as_json=as_json)
    elif events and out is not None:
        rows, users = _write(asked, _histories(events, options), out)
        if as_json:
            print_json({"out": out, "users": users, "recommendations": rows})
        else:
            typer.echo(f"{rows:,} recommendations for {users:,} users → {out}")


def _engine(bundles: Path, device: str, where: Filter | None, novelty: float) -> Engine:
    """The engine of the bundle in service; raises InvalidRequestError where it cannot do what is asked."""
    engine = Engine(read_bundle(bundles, device=device), max_steps=MAX_STEPS)
    if where is not None:
        check_filter(where, engine)
    if novelty and not engine.offers_novelty:
        raise InvalidRequestError([FieldFault("novelty", NO_NOVELTY)])
    return engine


class _Asked:
    """The settings of one call, turned into engine requests."""

    def __init__(
        self,
        engine: Engine,
        k: int,
        where: Filter | None,
        diversity: float | None,
        novelty: float,
        seed: int | None,
        *,
        explain: bool,
    ) -> None:
        self._engine = engine
        self._k = k
        self._where = where
        self._diversity = diversity
        self._novelty = novelty
        self._seed = seed
        self._explain = explain

    def answers(self, users: list[_User]) -> list[EngineAnswer]:
        return self._engine.recommend([self._request(user) for user in users])

    def _request(self, user: _User) -> EngineRequest:
        return EngineRequest(
            user_id=user.user_id or None,
            history=user.history,
            excluded=user.history,
            k=self._k,
            where=self._where,
            diversity=self._diversity,
            novelty=self._novelty,
            seed=self._seed,
            explain=self._explain,
        )


@contextmanager
def _naming_options() -> Iterator[None]:
    """Name the fields of a request that is refused as the options that they came from."""
    try:
        yield
    except InvalidRequestError as error:
        raise ConfigError("; ".join(f"--{field}: {message}" for field, message in error.fields)) from error


def _listed(history: str) -> list[str]:
    item_ids = [item_id.strip() for item_id in history.split(",")]
    if "" in item_ids:
        rank = item_ids.index("") + 1
        raise ConfigError(f"--history: id {rank} is empty; give item ids separated by single commas")
    return item_ids


def _histories(events: list[Path], options: PrepareOptions, only: str | None = None) -> pl.DataFrame:
    """A row a user, by id: the id and the items of the newest events, as many as the service keeps."""
    log = read_event_log(events, options)
    if only is not None:
        log = replace(log, events=log.events.filter(user_id=only))
    return log.newest(read_settings().history_max_events).select("user_id", "item_id")


def _of_user(events: list[Path], options: PrepareOptions, user: str) -> _User:
    found = _histories(events, options, user)
    if found.is_empty():
        raise DataError(f"{', '.join(map(str, events))} has no event of user {user!r}")
    return _User(*found.row(0))


def _write(asked: _Asked, histories: pl.DataFrame, out: Path) -> tuple[int, int]:
    """The recommendations written and the users that they are for."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    rows = 0
    with (
        answers_file(out) as write,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("users", total=histories.height)
        for some in histories.iter_slices(_USERS_AT_ONCE):
            users = list(starmap(_User, some.iter_rows()))
            table = _table(users, asked.answers(users))
            write(table)
            rows += table.num_rows
            progress.advance(task, len(users))
    return rows, histories.height


def _table(users: list[_User], answers: list[EngineAnswer]) -> pa.Table:
    rows = [
        {
            "user_id": user.user_id,
            "rank": rank,
            "item_id": item.item_id,
            "score": item.score,
            "interest": item.interest,
            "source": answer.source,
        }
        for user, answer in zip(users, answers, strict=True)
        for rank, item in enumerate(answer.items, start=1)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _print(answer: EngineAnswer, *, as_json: bool) -> None:
    if as_json:
        print_json({"source": answer.source, "items": answer.items, "interests": answer.interests})
        return
    rows = [
        [
            str(rank),
            item.item_id,
            item.title or "",
            ", ".join(item.categories),
            f"{item.score:.4f}",
            "" if item.interest is None else str(item.interest),
        ]
        for rank, item in enumerate(answer.items, start=1)
    ]
    columns = ["#", "item", "title", "categories", "score", "interest"]
    print_table(columns, rows, title=f"source: {answer.source}")
