"""`dimerec demo`: the whole path on public data, each stage the command that a user would give."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bundle.read import current_version, verify
from cli import evaluate, import_history, prepare, publish, serve, train
from cli.log_options import DEFAULTS
from index.faiss_library import require_faiss
from service.access.exposure import exposure
from service.errors import StartupError
from service.history.redis import RedisHistory
from service.listening import bound_socket
from service.settings import Settings, read_settings
from training.data.dataset import SEQUENCES_FILE
from training.data.movielens import EVENTS_FILE, fetch_movielens_100k


def command(
    directory: Annotated[Path, typer.Option(help="Everything the demo makes lies here.")] = Path(".demo"),
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on.")] = 8000,
    redis: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Keep histories there instead of in the process. [default: DIMEREC_REDIS_URL, if set]",
        ),
    ] = None,
    prepare_only: Annotated[
        bool,
        typer.Option(
            "--prepare-only",
            help="Stop when the bundle is published. For the first start of a service: does nothing where a "
            "bundle is published already, and refuses a Redis with histories of something else.",
        ),
    ] = False,
) -> None:
    """Fetch MovieLens-100K, prepare, train, evaluate, publish and serve it.

    Training takes some two minutes on two cores; finished stages are not repeated, so a second call serves
    at once.
    (Data: GroupLens, for research use, not to be redistributed.)
    """
    require_faiss()
    source, data, run, bundles = (directory / name for name in ("source", "data", "run", "bundles"))
    settings = service_settings(bundles, redis, host, port)
    version = current_version(bundles)
    if prepare_only:
        if version is not None:
            verify(bundles, version)
            typer.echo(f"{version} is published under {bundles}; there is nothing to do.")
            return
        _refuse_histories_of_something_else(settings, source)
    else:
        with bound_socket(settings.host, settings.port) as listener:  # now, not after minutes of training
            exposure(settings, listener.getsockname()[0])

    def fetch_and_prepare() -> None:
        events, items = fetch_movielens_100k(source)
        prepare.command(events=[events], items=[items], out=data)

    def learn() -> None:
        train.command(data=data, out=run)

    def remember() -> None:
        events, _ = fetch_movielens_100k(source)
        import_history.import_log([events], redis, DEFAULTS)

    console = Console()
    in_redis = settings.redis_url is not None
    stage = _Stages(console, 4 + in_redis + (not prepare_only))
    stage("Fetch and prepare MovieLens-100K", (data / SEQUENCES_FILE).exists(), fetch_and_prepare)
    report = run / "evaluation-test.json"
    stage("Train DimeRec", report.exists(), learn)
    stage("Evaluate on the test events", report.exists(), lambda: evaluate.command(run=run, data=data))
    if in_redis:  # before publishing, so that a bundle means that nothing is missing
        stage("Import the histories into Redis", False, remember)
    published = version is not None
    stage("Publish the bundle", published, lambda: publish.command(run=run, data=data, bundles=bundles))
    if prepare_only:
        return
    stage("Serve", False, lambda: _explain(console, host, port))
    serve.run(settings, history=None if in_redis else data)


def service_settings(bundles: Path, redis: str | None, host: str, port: int) -> Settings:
    """Settings of the demo's service: the console may write, unless the environment says otherwise."""
    settings = read_settings(bundles=bundles, redis_url=redis, host=host, port=port, log_format="console")
    if "console_writes" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"console_writes": True})


def _refuse_histories_of_something_else(settings: Settings, source: Path) -> None:
    """Raise StartupError if Redis has users and this directory has not begun to put them there.

    A service of another log that lost its bundles would otherwise come back with films for its users.
    """
    if settings.redis_url is None or (source / EVENTS_FILE).exists():
        return
    store = RedisHistory.from_url(settings.redis_url.get_secret_value())

    async def known_users() -> list[str]:
        try:
            return await store.users(1)
        finally:
            await store.close()

    if asyncio.run(known_users()):
        raise StartupError(
            "Redis has histories, but no bundle is published and no demo was begun here: "
            "publish the bundle that belongs to them, or empty Redis for a demo"
        )


class _Stages:
    """Runs the stages in turn, each under its heading, leaving out those that are done."""

    def __init__(self, console: Console, count: int) -> None:
        self._console = console
        self._count = count
        self._number = 0

    def __call__(self, title: str, done: bool, run: Callable[[], None]) -> None:
        self._number += 1
        self._console.rule(f"{self._number}/{self._count} {title}{' (done before)' if done else ''}")
        if not done:
            run()


def _explain(console: Console, host: str, port: int) -> None:
    address = f"http://{host}:{port}"
    body = '{"user_id": "196", "k": 10}'
    console.print(
        f"\nAsk it, once it listens:\n\n"
        f"  curl -s {address}/recommend -H 'content-type: application/json' -d '{body}'\n\n"
        f"or open the console in a browser: {address}/\n",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
