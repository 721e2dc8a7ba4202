"""Settings that are each valid, and contradict each other, do nothing, or leave nobody to be served."""

import stat
from collections.abc import Iterator

from dotenv import dotenv_values

from service.access.exposure import exposure
from service.access.keys import read_keys
from service.doctor.finding import Finding, fine, note, wrong
from service.environment import ENCODING
from service.errors import KeysError, StartupError
from service.settings import DOTENV, Settings, variable

_PART = "configuration"
_ONLY_IN_PROCESS = ("history_max_users", "history_max_bytes")
_ONLY_IN_REDIS = ("history_ttl_s", "history_new_ttl_s", "history_timeout_s")


def examine_configuration(settings: Settings, address: str | None) -> Iterator[Finding]:
    """Findings about `settings`; `address`: the IP address to listen on, None where it is not known."""
    given = sorted(variable(name) for name in settings.model_fields_set)
    yield fine(_PART, f"all can be read; given are {', '.join(given) or 'none, so all have their defaults'}")
    yield from _ignored(settings)
    yield from _waits(settings)
    yield from _access(settings, address)
    yield from _readable_secrets(settings)


def _ignored(settings: Settings) -> Iterator[Finding]:
    """Settings of the history store that is not in use."""
    in_redis = settings.redis_url is not None
    names = _ONLY_IN_PROCESS if in_redis else _ONLY_IN_REDIS
    store = "in Redis" if in_redis else "in this process"
    for name in names:
        if name in settings.model_fields_set:
            yield note(_PART, f"{variable(name)} does nothing, since histories are kept {store}", "remove it")
    if in_redis:
        return
    for field in ("catalogue_max_staleness_s", "catalogue_redis_replicas"):
        if field in settings.model_fields_set:
            fact = f"{variable(field)} does nothing without {variable('redis_url')}"
            yield note(_PART, fact, "remove it")
    yield note(
        _PART,
        "histories are kept in this process and end with it",
        f"set {variable('redis_url')} to keep them",
    )


def _waits(settings: Settings) -> Iterator[Finding]:
    """Times that one of two makes meaningless."""
    deadline = settings.default_deadline_ms
    if settings.redis_url is not None and settings.history_timeout_s * 1000 >= deadline:
        yield note(
            _PART,
            f"{variable('history_timeout_s')} is {settings.history_timeout_s:g} s, but requests end after "
            f"{variable('default_deadline_ms')}, {deadline} ms: a slow Redis degrades them before that",
            "make the timeout shorter than the deadline",
        )
    if settings.standing_queue_ms >= deadline:
        yield note(
            _PART,
            f"{variable('standing_queue_ms')} is not below {variable('default_deadline_ms')}: under overload "
            "the oldest requests go first, and most of them come too late",
            "make it less than half the deadline",
        )
    if settings.max_batch > settings.max_queue:
        yield note(
            _PART,
            f"{variable('max_batch')} is above {variable('max_queue')}: no batch becomes as large",
            "lower the one or raise the other",
        )


def _access(settings: Settings, address: str | None) -> Iterator[Finding]:
    try:
        keys = read_keys(settings.keys_file)
        who = None if address is None else exposure(settings, address)
    except KeysError as error:
        yield wrong(_PART, str(error), "mend the file, or make a new one with `dimerec keys create`")
        return
    except StartupError as error:
        yield wrong(_PART, str(error), "as it says; until then the service refuses to start")
        return
    if settings.allow_anonymous is False and not keys:
        yield wrong(
            _PART,
            f"{variable('allow_anonymous')} is false and {settings.keys_file} has no key: nobody is served",
            "make a key with `dimerec keys create`",
        )
    elif settings.allow_anonymous:
        yield note(_PART, str(who), f"unset {variable('allow_anonymous')} unless that is meant")
    elif who is not None:
        yield fine(_PART, who)


def _readable_secrets(settings: Settings) -> Iterator[Finding]:
    """Files with secrets that every user of this machine can read."""
    given = {name.upper() for name, value in dotenv_values(DOTENV, encoding=ENCODING).items() if value}
    in_dotenv = [DOTENV] if variable("redis_url") in given else []
    for path in (*in_dotenv, *([] if settings.tls_key is None else [settings.tls_key])):
        if path.stat().st_mode & stat.S_IROTH:
            yield note(_PART, f"{path} can be read by others on this machine", f"chmod 600 {path}")
