"""Fixtures shared by all rooms."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

import tests.effort  # noqa: F401 - the profiles
from service.log_writer import WriterHandler
from tests.factories import publish_tiny_bundle
from tests.redis_server import RedisServer, claimed_database
from training.config import read_config
from training.data.dataset import Dataset, read_dataset
from training.data.movielens import fetch_movielens_100k
from training.data.prepare import prepare
from training.publishing import publish_run
from training.run import EpochRecord
from training.trainer import train

_PUBLIC_FILES = ("amazon-beauty.parquet", "kuairand-pure.parquet", "kuairand-pure-items.parquet")
_PUBLIC_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> Iterator[None]:
    """Access logs would drown the results."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _logs_as_before(_quiet: None) -> Iterator[None]:
    """A command that runs in this process sends the log to stderr: not beyond its test."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, WriterHandler)]:
        root.removeHandler(handler)
        root.setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    """The one Redis process of this test run; tests take `redis_server` or `redis_url`."""
    server = RedisServer().start()
    yield server
    server.close()


@pytest.fixture
def redis_server(redis_process: RedisServer) -> Iterator[RedisServer]:
    """A real Redis server that the test may stop, start, pause and resume; it is brought back afterwards."""
    yield redis_process
    redis_process.restore()


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of an empty database, on the server named by REDIS_URL or else on `redis_server`."""
    named = os.environ.get("REDIS_URL")
    if named:
        with claimed_database(named) as url:
            yield url
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    with claimed_database(server.url) as url:
        yield url
        server.restore()


@pytest.fixture(scope="session")
def bundle_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One published bundle, for tests that leave it alone."""
    root = tmp_path_factory.mktemp("bundles")
    publish_tiny_bundle(root)
    return root


@pytest.fixture(scope="session")
def movielens_100k(pytestconfig: pytest.Config) -> tuple[Path, Path]:
    """The events file and the items file of MovieLens-100K; fetched once and kept in pytest's cache."""
    return fetch_movielens_100k(pytestconfig.cache.mkdir("movielens-100k"))


class Unwatched:
    """Sees a training run and says nothing."""

    def epoch_started(self, epoch: int, examples: int) -> None:
        """Nothing."""

    def batch_done(self, examples: int, losses: dict[str, float] | None) -> None:
        """Nothing."""

    def epoch_done(self, record: EpochRecord, improved: bool) -> None:
        """Nothing."""


@pytest.fixture(scope="session")
def movielens_bundle(
    movielens_100k: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Dataset]:
    """Bundles of the demo's model after one epoch (some seconds), and the data that it learned from."""
    directory = tmp_path_factory.mktemp("movielens-bundle")
    prepare(*movielens_100k, directory / "data")
    dataset = read_dataset(directory / "data")
    train(dataset, read_config(None, ["epochs=1"]), directory / "run", Unwatched())
    publish_run(
        directory / "run",
        dataset,
        directory / "bundles",
        index_kind="flat",
        repeat_weight=1,
        novelty_loss=0.5,
    )
    return directory / "bundles", dataset


@pytest.fixture(scope="session")
def public_data() -> Callable[[str], Path]:
    """Finds a Parquet file of public interaction data by name; skips the test where it is not there."""

    def find(name: str) -> Path:
        directory = Path(os.environ.get("PUBLIC_DATA", _PUBLIC_DATA))
        if not (path := directory / name).exists():
            pytest.skip(
                f"{name} is not there: lay {', '.join(_PUBLIC_FILES)} (columns user_id, item_id, timestamp)"
                f" into {directory}, or name their directory in PUBLIC_DATA"
            )
        return path

    return find
