"""Structured log lines without user data."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import structlog

from service.log_writer import STDERR, OnceASecond, WriterHandler


def configure_logging(level: str, style: Literal["json", "console"]) -> None:
    """Send this process's log lines, the libraries' included, to stderr as JSON or for people."""
    once_a_second = OnceASecond()
    stamped: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    rendered: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_as_json)]
        if style == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[once_a_second, *stamped, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: STDERR,
        cache_logger_on_first_use=True,
    )
    handler = WriterHandler(STDERR)
    handler.addFilter(once_a_second)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=stamped,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def _as_json(event: Any, *, default: Callable[[Any], Any]) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=default).decode()
    except (TypeError, ValueError, OverflowError):  # text that is no unicode, larger numbers
        return json.dumps(event, default=default)
