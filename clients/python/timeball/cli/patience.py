"""What a person who waits is told while the server is away."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from timeball._telling import LOGGER

SAID_AGAIN_S = 10.0
"""The same sentence is not said more often."""


class _Teller(logging.Handler):
    """Says each reason once, and again while it lasts."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._said: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record on standard error, unless that was said a moment ago."""
        text = record.getMessage()
        if record.created - self._said.get(text, 0.0) >= SAID_AGAIN_S:
            self._said[text] = record.created
            click.echo(f"waiting: {text}", err=True)


@contextmanager
def told_of_outages() -> Iterator[None]:
    """While this lasts, whoever waits hears why nothing comes."""
    teller, level = _Teller(), LOGGER.level
    LOGGER.addHandler(teller)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(teller)
        LOGGER.setLevel(level)
