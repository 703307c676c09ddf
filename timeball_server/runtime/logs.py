"""Log output of a process: one line per fact, for people on a terminal or as JSON.

Called once, by a main. Libraries that use the standard logging come out in the same form.
Fields that carry secrets are never written, and neither are the local variables of a traceback:
they hold credentials and payloads.
"""

from __future__ import annotations

import logging
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

SECRET_FIELDS = frozenset(
    {"api_key", "authorization", "credential", "cookie", "password", "secret", "token"}
)
HIDDEN = "(hidden)"
VENDORS = ("cassandra", "kazoo")
"""Drivers with their own retries, which they report at length; ours say the same in one line."""


def configure_logs(stream: TextIO, *, level: str, as_json: bool, node: str) -> None:
    """Send all logs of this process to a stream.

    Args:
        stream: where lines go.
        level: the least important level to write, for example "info".
        as_json: one JSON object per line; else aligned text, coloured on a terminal.
        node: written with every line.
    """
    shared = _shared_processors(node)
    handler = logging.StreamHandler(stream)
    if level != "debug":
        handler.addFilter(_drop_vendor_traces)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(stream, as_json=as_json),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def hear_vendors(level: int) -> None:
    """From now on write what drivers say from this level on; all of it where debug is written."""
    is_debug = logging.getLogger().level <= logging.DEBUG
    for name in VENDORS:
        logging.getLogger(name).setLevel(logging.DEBUG if is_debug else level)


def _drop_vendor_traces(record: logging.LogRecord) -> bool:
    """A driver's line without its traceback: where in the driver it happened helps nobody."""
    if record.name.partition(".")[0] in VENDORS:
        record.exc_info = record.exc_text = None
    return True


def hide_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace the value of every field that carries a secret."""
    for name in SECRET_FIELDS & event.keys():
        event[name] = HIDDEN
    return event


def _shared_processors(node: str) -> list[Processor]:
    """What every line gets, whoever wrote it."""

    def add_node(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("node", node)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_node,
        hide_secrets,
    ]


def _renderers(stream: TextIO, *, as_json: bool) -> list[Processor]:
    """The last steps: from fields to one text."""
    if as_json:
        trace = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [structlog.processors.ExceptionRenderer(trace), structlog.processors.JSONRenderer()]
    return [
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]
