"""Named moments that a test can wait for instead of sleeping.

A service emits a signal after something has truly happened. In production nobody listens: the
silent implementation does nothing and costs one call. Signals never steer a service.
"""

from __future__ import annotations

from typing import Protocol


class Signals(Protocol):
    """Receives the moments of a service."""

    def emit(self, name: str, fact: object = None) -> None:
        """`name` has just happened; returns at once and never raises."""
        ...


class _Silent:
    """Nobody listens."""

    def emit(self, name: str, fact: object = None) -> None:
        """Do nothing."""


SILENT: Signals = _Silent()
"""The signals of production."""
