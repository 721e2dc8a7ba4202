"""The catalogue log that the settings name, and the changes that are known when a process starts."""

from pathlib import Path
from typing import NamedTuple

from service.catalogue.late_removals import FILE as LATE_FILE
from service.catalogue.late_removals import read_removals
from service.catalogue.protocol import CatalogueLog, Contents
from service.catalogue.redis import RedisLog
from service.catalogue.responses import Effective
from service.catalogue.sqlite import FILE as SQLITE_FILE
from service.catalogue.sqlite import SqliteLog
from service.catalogue.view import FILE as VIEW_FILE
from service.catalogue.view import read_view
from service.errors import StartupError


class Opened(NamedTuple):
    """A log; `followed` is the same one where other processes write it, too."""

    log: CatalogueLog
    followed: RedisLog | None
    contents: Contents

    @property
    def effective(self) -> Effective:
        """The processes in which a change counts once it is answered."""
        return "everywhere" if self.followed is None else "here"


def open_log(bundles: Path, redis_url: str | None, replicas: int | None = None) -> Opened:
    """The log in Redis, or without it in a file beside the bundles.

    What was kept in a file is brought into a Redis that comes after it. `replicas`: as `RedisLog` takes it.
    Raises StartupError.
    """
    view = read_view(bundles)
    in_file = SqliteLog(bundles)
    if redis_url is not None:
        followed = RedisLog.from_url(redis_url, replicas)
        contents = in_file.read() if view is None else view
        in_file.release()
        return Opened(followed, followed, contents)
    if read_removals(bundles):
        raise StartupError(
            f"{bundles / LATE_FILE} has removals that Redis was not told of yet: set DIMEREC_REDIS_URL, or"
            " remove the file and with it these removals"
        )
    if view is not None and not (bundles / SQLITE_FILE).exists():
        raise StartupError(
            f"changes of the catalogue in {bundles} were kept in Redis: set DIMEREC_REDIS_URL, or remove"
            f" {VIEW_FILE} there, and with it all changes, removals included"
        )
    return Opened(in_file, None, in_file.read())
