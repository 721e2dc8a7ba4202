"""API keys: random, shown once, and kept as digests in a file.

The file holds the keys' names, roles and SHA-256 digests. A key is 256 random bits, so its digest needs no
salt and no stretching: there is nothing to guess.
"""

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from limits import parse
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from files.atomic import replacing
from files.errors import first_fault
from service.access.roles import Role
from service.errors import KeysError

PREFIX = "dimerec_"
"""Of every key, so that scanners for secrets and people recognise one."""

NAME = r"[a-z][a-z0-9_-]{0,63}"
"""Pattern of a key's name; none looks like an address, which stands for callers without a key."""

MAX_RATE = 100_000
"""Requests of a rate's window."""

RESERVED = ("anonymous", "wrong")
"""Names that logs and metrics give to requests without a key."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ApiKey(_Model):
    """A key as it is kept: all but the key itself."""

    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    roles: Annotated[frozenset[Role], Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created: datetime
    rate: str | None = None
    """Most requests, as `limits` writes it: `100/second`; None: any number."""

    @field_validator("rate")
    @classmethod
    def _refuse_what_is_no_rate(cls, rate: str | None) -> str | None:
        if rate is not None and (fault := rate_fault(rate)):
            raise ValueError(fault)
        return rate

    @field_serializer("roles")
    def _in_order(self, roles: frozenset[Role]) -> list[Role]:
        return sorted(roles)


class _Document(_Model):
    format_version: Literal[1]
    keys: tuple[ApiKey, ...]

    @model_validator(mode="after")
    def _refuse_repeats(self) -> Self:
        names = [key.name for key in self.keys]
        if len(set(names)) < len(names):
            raise ValueError("two keys have the same name")
        return self


def rate_fault(rate: str) -> str | None:
    """The fault of a rate, None for a good one."""
    try:
        amount = parse(rate).amount
    except ValueError:
        amount = 0
    return None if 1 <= amount <= MAX_RATE else f"is no rate like 100/second, of 1 to {MAX_RATE:,} requests"


def digest(key: str) -> str:
    """The form in which a key is kept."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys of the file at `path`, none where there is no file. Raises KeysError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return _Document.model_validate_json(content).keys
    except ValidationError as error:
        fault = first_fault(error.errors(), "content")
        raise KeysError(f"{path} is no file of keys: {fault}; `dimerec keys create` writes one") from error


def create_key(
    path: Path, name: str, roles: Sequence[Role], save: Path | None = None, rate: str | None = None
) -> str:
    """Add a key of this name to the file at `path`, or to a new file; the key, to be shown once.

    `save`: a file to write the key to; `rate`: most requests, like `100/second`. Raises KeysError for a name
    that is taken or is none, and for what is no rate.
    """
    if rate is not None and (fault := rate_fault(rate)):
        raise KeysError(f"{rate!r} {fault}")
    if not re.fullmatch(NAME, name):
        raise KeysError(f"{name!r} is no name: small letters, digits, - and _, a letter first, at most 64")
    with _changing(path) as keys:
        if name in RESERVED:
            raise KeysError(f"{name} is what requests without a key are called: give it another name")
        if any(key.name == name for key in keys):
            raise KeysError(
                f"{path} has a key {name} already: give another name, or `dimerec keys revoke` it"
            )
        key = PREFIX + secrets.token_urlsafe(32)
        kept = ApiKey(
            name=name, roles=frozenset(roles), sha256=digest(key), created=datetime.now(UTC), rate=rate
        )
        keys.append(kept)
        if save is not None:  # first: a key that nobody has could not be made again under its name
            save.parent.mkdir(parents=True, exist_ok=True)
            _write_secret(save, key + "\n")
    return key


def revoke_key(path: Path, name: str) -> None:
    """Take the key of this name out of the file at `path`. Raises KeysError where there is none."""
    with _changing(path) as keys:
        remaining = [key for key in keys if key.name != name]
        if len(remaining) == len(keys):
            raise KeysError(f"{path} has no key {name}: `dimerec keys list` shows what it has")
        keys[:] = remaining


@contextmanager
def _changing(path: Path) -> Iterator[list[ApiKey]]:
    """The keys of a file, to be changed in place: written when the block ends well, one writer at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        keys = list(read_keys(path))
        yield keys
        _write_secret(path, _Document(format_version=1, keys=tuple(keys)).model_dump_json(indent=2) + "\n")
    finally:
        os.close(directory)


def _write_secret(path: Path, text: str) -> None:
    """Replace a file by one that only its owner reads, or whoever could read the one before."""
    before = path.stat() if path.exists() else None
    with replacing(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if before is not None:
                os.fchmod(descriptor, before.st_mode & 0o777)
                if before.st_gid != os.fstat(descriptor).st_gid:
                    os.fchown(descriptor, -1, before.st_gid)
            file.write(text)
