"""`dimerec serve`: settings, a listening socket, the app, and uvicorn around it."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from service.access.exposure import exposure
from service.errors import StartupError
from service.hangup import HangupPolicy, handle_hangup, hangup_policy
from service.history.in_process import InProcessHistory
from service.history.protocol import Event
from service.listening import BACKLOG, bound_socket, ports, url
from service.settings import Settings, read_settings
from service.tracing import check_propagators


def command(
    bundles: Annotated[
        Path | None,
        typer.Option(help="Directory of published bundles, the one with CURRENT in it. [default: bundles]"),
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Keep histories in Redis, e.g. redis://localhost:6379/0; without it they end with this "
            "process. A URL with a password belongs into DIMEREC_REDIS_URL: others can see this line.",
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="Fill the in-process store with the histories of data that `dimerec prepare` wrote.",
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 0.0.0.0 for all. [default: 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 8000]")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes that answer at this address, each with its share of the cores; more than one "
            "need --redis. [default: 1]",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where the model computes: cpu, cuda or cuda:N. [default: cpu]")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help="json for machines, console for people. [default: json]")
    ] = None,
) -> None:
    """Serve recommendations over HTTP.

    Loads the bundle that CURRENT names, checks it, and listens. On the address that it prints there is a
    console for people at `/`, the REST contract at `/openapi.json`, and metrics for Prometheus at `/metrics`.

    Ask for ten videos for user 196:

        curl -s localhost:8000/recommend -H 'content-type: application/json' -d '{"user_id":"196","k":10}'

    After `dimerec publish` bring the new bundle in without dropping a request:

        curl -s -X POST localhost:8000/admin/reload -H "Authorization: Bearer $DIMEREC_KEY"

    `dimerec keys create` makes keys. Without one, only callers on this machine are served, and no other
    address is listened on unless DIMEREC_ALLOW_ANONYMOUS=true.

    Every setting is an environment variable, `DIMEREC_PORT=9000` for one, or a line of `.env`; the options
    here win over both. docs/configuration.md lists all. Ctrl-C or SIGTERM ends the service after the requests
    in flight; a second one does not wait for them. SIGHUP reloads the bundle, or ends the service like
    SIGTERM where it was started from a terminal.
    """
    settings = read_settings(
        bundles=bundles,
        redis_url=redis,
        host=host,
        port=port,
        workers=workers,
        device=device,
        log_format=log_format,
    )
    run(settings, history)


def run(settings: Settings, history: Path | None) -> None:
    """Serve as the settings say until a signal ends it; `history`: prepared data for the in-process store.

    Raises StartupError when it cannot start.
    """
    if history is not None and settings.redis_url is not None:
        raise StartupError("--history fills the in-process store: use `dimerec import-history` for Redis")
    check_propagators()
    on_hangup = hangup_policy()
    if settings.workers > 1:
        _supervise(settings, on_hangup)
        return
    with ExitStack() as sockets:
        listeners = [sockets.enter_context(bound_socket(settings.host, port)) for port in ports(settings)]
        exposure(settings, listeners[0].getsockname()[0])
        _serve(settings, history, listeners, on_hangup)


def _supervise(settings: Settings, on_hangup: HangupPolicy) -> None:
    """Let several workers answer until a signal ends it."""
    from service.log_lines import configure_logging
    from service.workers.supervisor import supervise

    configure_logging(settings.log_level, settings.log_format)
    supervise(settings, on_hangup, lambda sockets, version: _announce(settings, sockets, version))


def _serve(
    settings: Settings, history: Path | None, listeners: list[socket.socket], on_hangup: HangupPolicy
) -> None:
    """Load the bundle and answer on `listeners` until a signal ends it."""
    # Imported here because torch takes seconds: help and refused settings need none of it.
    import uvloop

    from service.app import create_app
    from service.log_lines import configure_logging
    from service.server import Server

    configure_logging(settings.log_level, settings.log_format)
    app = create_app(settings, history=None if history is None else _loaded_history(history, settings))
    fleet = app.state.service.fleet
    for listener in listeners:
        listener.listen(BACKLOG)
    _announce(settings, listeners, fleet.version)

    async def serve_until_stopped() -> None:
        server = Server(app, settings)
        handle_hangup(on_hangup, fleet, server.stop)
        await server.serve(listeners)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_until_stopped())


def _announce(settings: Settings, listeners: Sequence[socket.socket], version: str) -> None:
    several = f", {settings.workers} workers" if settings.workers > 1 else ""
    open_to = exposure(settings, listeners[0].getsockname()[0])
    tls = settings.tls_certificate is not None
    console = f"{url(listeners[1], tls=tls)}/" if len(listeners) > 1 else "/"
    typer.echo(
        f"DimeRec Serve: {url(listeners[0], tls=tls)} (bundle {version}{several}; {open_to};"
        f" console at {console}, Ctrl-C ends)",
        err=True,
    )


def _loaded_history(prepared: Path, settings: Settings) -> InProcessHistory:
    """An in-process store with every user's newest events of the prepared data."""
    import structlog

    from training.data.dataset import read_dataset

    dataset = read_dataset(prepared)
    item_ids = dataset.catalogue.item_ids

    def events() -> Iterator[tuple[str, Event]]:
        for user, user_id in enumerate(dataset.user_ids):
            start, end = dataset.offsets[user], dataset.offsets[user + 1]
            first = max(start, end - settings.history_max_events)
            rows, times = dataset.items[first:end].tolist(), dataset.timestamps[first:end].tolist()
            for row, timestamp in zip(rows, times, strict=True):
                yield user_id, Event(item_ids[row - 1], timestamp)

    store = InProcessHistory(
        max_events=settings.history_max_events,
        max_users=settings.history_max_users,
        max_bytes=settings.history_max_bytes,
    )
    store.load(events())
    dropped = len(dataset.user_ids) - settings.history_max_users
    if dropped > 0:
        structlog.get_logger("dimerec.history").warning(
            "not all users of --history fit into the store",
            kept=settings.history_max_users,
            dropped=dropped,
            remedy="raise DIMEREC_HISTORY_MAX_USERS, or keep histories in Redis",
        )
    return store
