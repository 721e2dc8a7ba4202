"""`dimerec serve`: settings, a listening socket, the app, and uvicorn around it."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from service.errors import StartupError
from service.hangup import handle_hangup, hangup_policy
from service.history.in_process import InProcessHistory
from service.history.protocol import Event
from service.settings import Settings, read_settings

_BACKLOG = 2048


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

        curl -s -X POST localhost:8000/admin/reload -H "x-admin-key: $DIMEREC_ADMIN_KEY"

    Every setting is an environment variable, `DIMEREC_PORT=9000` for one, or a line of `.env`; the options
    here win over both. docs/configuration.md lists all. Ctrl-C or SIGTERM ends the service after the requests
    in flight; a second Ctrl-C does not wait for them. SIGHUP reloads the bundle, or ends the service like
    SIGTERM where it was started from a terminal.
    """
    settings = read_settings(
        bundles=bundles, redis_url=redis, host=host, port=port, device=device, log_format=log_format
    )
    run(settings, history)


def run(settings: Settings, history: Path | None) -> None:
    """Serve as the settings say until a signal ends it; `history`: prepared data for the in-process store.

    Raises StartupError when it cannot start.
    """
    if history is not None and settings.redis_url is not None:
        raise StartupError("--history fills the in-process store: use `dimerec import-history` for Redis")
    with bound_socket(settings) as listener:
        _serve(settings, history, listener)


def _serve(settings: Settings, history: Path | None, listener: socket.socket) -> None:
    """Load the bundle and answer on `listener` until a signal ends it."""
    on_hangup = hangup_policy()
    # Imported here because torch takes seconds: help and refused settings need none of it.
    import uvicorn
    import uvloop

    from service.app import create_app
    from service.telemetry import configure_logging

    configure_logging(settings.log_level, settings.log_format)
    app = create_app(settings, history=None if history is None else _loaded_history(history, settings))
    listener.listen(_BACKLOG)
    version = app.state.service.engines.engine.version
    typer.echo(f"DimeRec Serve: {_url(listener)} (bundle {version}; console at /, Ctrl-C ends)", err=True)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    async def serve_until_stopped() -> None:
        handle_hangup(on_hangup, app.state.service.engines, stop)
        await server.serve([listener])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_until_stopped())


def bound_socket(settings: Settings) -> socket.socket:
    """A socket bound to the settings' address; raises StartupError with the remedy when that cannot be."""
    address = f"{settings.host} port {settings.port}"
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise StartupError(f"cannot listen on {address}: no such host; choose another with --host") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(target)
    except OSError as error:
        listener.close()
        raise StartupError(
            f"cannot listen on {address}: {error.strerror}; choose another with --port or --host"
        ) from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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

    store = InProcessHistory(max_events=settings.history_max_events, max_users=settings.history_max_users)
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
