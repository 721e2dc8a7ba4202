"""Replicas with one Redis, for the tests of what they share."""

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from shutil import copytree, ignore_patterns

from tests.factories import publish_tiny_bundle
from tests.service.processes import Process, process, until
from tests.service.serving import Running, keys_file, running, settings_for


class Replicas:
    """Servers with directories of their own, of the same bundle, and one Redis."""

    def __init__(self, root: Path, redis_url: str, servers: ExitStack, items: int = 1000) -> None:
        self._root = root
        self._url = redis_url
        self._servers = servers
        publish_tiny_bundle(root / "first", items=items)

    def start(self, name: str, **fields: object) -> Running:
        settings = settings_for(self.copied(name), redis_url=self._url, history_timeout_s=2.0, **fields)
        return self._servers.enter_context(running(settings))

    def process(self, name: str) -> AbstractContextManager[Process]:
        """A replica in a process of its own, which a test may stop."""
        options = ("--bundles", self.copied(name), "--redis", self._url)
        return process(self._root, *options, DIMEREC_KEYS_FILE=str(keys_file()))

    def copied(self, name: str) -> Path:
        """The directory of a replica, a copy of the first one where it is new."""
        if not self.directory(name).exists():
            copytree(self._root / "first", self._root / name, ignore=ignore_patterns("*catalogue.*"))
        return self.directory(name)

    def directory(self, name: str) -> Path:
        return self._root / name


def sequence(server: Running) -> int:
    return server.service.catalogue.sequence


def together(*servers: Running) -> None:
    """Wait until all know the same changes."""
    until(lambda: len({sequence(server) for server in servers}) == 1)
