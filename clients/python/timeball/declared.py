"""The schedules that the code of this process declares next to its tasks, by name.

Records only: nothing is sent before `timeball schedule apply --app` makes them so.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from timeball.options import Submission
from timeball.timings import Timing


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """A schedule as code wishes it: when, and which task with which arguments."""

    name: str
    timing: Timing
    submission: Submission[Any]


_DECLARED: dict[str, Declared] = {}
declared: Final = MappingProxyType(_DECLARED)
"""Every declared schedule by name; read only."""


def declare(wished: Declared) -> None:
    """Remember a schedule. Declaring the same once more, as a second import does, is fine.

    Raises:
        ValueError: the name is declared already, and says something else.
    """
    known = _DECLARED.setdefault(wished.name, wished)
    if known != wished:
        handlers = sorted({known.submission.handler, wished.submission.handler})
        raise ValueError(
            f"two schedules are called {wished.name!r}, of {' and '.join(handlers)}; "
            "choose another name for one of them"
        )
