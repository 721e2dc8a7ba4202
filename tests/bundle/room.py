"""A disk without room, without a disk."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def file_size(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
