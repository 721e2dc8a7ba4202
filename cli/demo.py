"""`dimerec demo`: the whole path on public data, each stage the command that a user would give."""

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import training.configs
from bundle.read import current_version
from cli import evaluate, import_history, prepare, publish, serve, train
from cli.log_options import DEFAULTS
from service.settings import Settings, read_settings
from training.dataset import SEQUENCES_FILE
from training.movielens import fetch_movielens_100k

_STAGES = 5


def command(
    directory: Annotated[Path, typer.Option(help="Everything the demo makes lies here.")] = Path(".demo"),
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on.")] = 8000,
    redis: Annotated[
        str | None, typer.Option(metavar="URL", help="Keep histories there instead of in the process.")
    ] = None,
    prepare_only: Annotated[
        bool, typer.Option("--prepare-only", help="Stop when the bundle is published.")
    ] = False,
) -> None:
    """Fetch MovieLens-100K, prepare, train, evaluate, publish and serve it.

    Takes a few minutes on two cores; finished stages are not repeated, so a second call serves at once.
    (Data: GroupLens, for research use, not to be redistributed.)
    """
    if not prepare_only:
        # Now, not after minutes of training.
        serve.bound_socket(read_settings(host=host, port=port, redis_url=redis)).close()
    console = Console()
    data, run, bundles = directory / "data", directory / "run", directory / "bundles"

    def fetch_and_prepare() -> None:
        events, items = fetch_movielens_100k(directory / "source")
        prepare.command(events=[events], items=[items], out=data)

    def learn() -> None:
        with as_file(files(training.configs) / "movielens-100k.toml") as config:
            train.command(data=data, out=run, config=config)

    stage = _Stages(console)
    stage("Fetch and prepare MovieLens-100K", (data / SEQUENCES_FILE).exists(), fetch_and_prepare)
    report = run / "evaluation-test.json"
    stage("Train DimeRec", report.exists(), learn)
    stage("Evaluate on the test events", report.exists(), lambda: evaluate.command(run=run, data=data))
    published = current_version(bundles) is not None
    stage("Publish the bundle", published, lambda: publish.command(run=run, data=data, root=bundles))
    if prepare_only:
        return
    console.rule(f"{_STAGES}/{_STAGES} Serve")
    if redis is not None:
        import_history.import_log([directory / "source" / "movielens-100k-events.csv"], redis, DEFAULTS)
    _explain(console, host, port)
    serve.run(service_settings(bundles, redis, host, port), history=None if redis else data)


def service_settings(bundles: Path, redis: str | None, host: str, port: int) -> Settings:
    """Settings of the demo's service: the console may write, unless the environment says otherwise."""
    settings = read_settings(bundle=bundles, redis_url=redis, host=host, port=port, log_format="console")
    if "console_writes" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"console_writes": True})


class _Stages:
    """Runs the stages in turn, each under its heading, leaving out those that are done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0

    def __call__(self, title: str, done: bool, run: Callable[[], None]) -> None:
        self._number += 1
        self._console.rule(f"{self._number}/{_STAGES} {title}{' (done before)' if done else ''}")
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
