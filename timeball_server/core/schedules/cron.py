"""Cron expressions, compiled to the instants they name."""

from __future__ import annotations

from collections.abc import Callable

from timeball_server.core.schedules.problems import refuse
from timeball_server.core.schedules.spec import Cron


def source(rule: Cron, seed: str) -> Callable[[int], int | None]:
    """The next instant of an expression after another one."""
    raise refuse("expression", "cron is not evaluated yet", "use an interval", None)
