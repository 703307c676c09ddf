"""A rule of the protocol as a switch: what is done instead of it, and what must be seen then.

Tests alone: the product has no such switches, so a release has none. A switch is what a hurried
programmer might have written instead of the rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.support.sim.rewriting import Rewrite

ENGINE: Final = "timeball_server.core.engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A rule switched off.

    Attributes:
        says: what is done instead.
        rewrites: how.
        breaks: beginnings of promises, of which one at least must be found broken.
        nemesis: the name of a profile in nemeses.py under which it shows.
        within: so many seeds must be enough.
        beside: a bug of bugs.py that is there too, because it hides this one.
        masked: why other rules keep it from being seen; empty = it must be seen.
    """

    says: str
    rewrites: tuple[Rewrite, ...]
    breaks: tuple[str, ...]
    nemesis: str
    within: int
    beside: str = ""
    masked: str = ""
