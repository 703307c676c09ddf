"""Options that say an instant, ISO 8601 with a zone, or a length of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from timeball.durations import parse_duration, parse_instant

if TYPE_CHECKING:
    from datetime import datetime, timedelta

F = TypeVar("F", bound=Callable[..., Any])


def time_option(*names: str, say: str) -> Callable[[F], F]:
    """An option whose value is an instant; one that cannot be read is refused under its name."""
    return click.option(*names, metavar="TIME", callback=_read, help=say)


def length_option(*names: str, say: str) -> Callable[[F], F]:
    """An option whose value is a length of time; a bad one is refused under its name."""
    return click.option(*names, metavar="DURATION", callback=_measure, help=say)


def _measure(ctx: click.Context, option: click.Parameter, text: str | None) -> timedelta | None:
    return None if text is None else parse_duration(text, field=option.opts[0])


def _read(ctx: click.Context, option: click.Parameter, text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text, field=option.opts[0])
