"""The metrics port: what a process counts, as plain numbers that are read when somebody asks.

Sources keep their own sums and hand them out here; nothing is pushed per task. Adapter:
timeball_server/runtime/metrics.py, which writes them for Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """COUNTER only grows and ends its name in _total; GAUGE goes up and down."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Numbers of one name: one for each combination of label values.

    Attributes:
        name: with its base unit last, without _total.
        text: one sentence for people.
        labels: names of the labels, in the order of their values in `samples`.
    """

    name: str
    text: str
    kind: Kind
    labels: tuple[str, ...] = ()
    samples: Sequence[tuple[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A histogram.

    Attributes:
        bounds: upper bounds, inclusive, ascending, in the unit of the name.
        counts: how many fell into each, and in one more place those above the last bound.
        total: sum of everything observed.
    """

    name: str
    text: str
    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


Family = Figures | Distribution
Source = Callable[[], Iterable[Family]]
"""Reads the numbers as they are now; called in the event loop, so it must be quick."""


def counter(name: str, text: str, value: float) -> Figures:
    """A counter without labels."""
    return Figures(name=name, text=text, kind=Kind.COUNTER, samples=(((), value),))


def gauge(name: str, text: str, value: float) -> Figures:
    """A gauge without labels."""
    return Figures(name=name, text=text, kind=Kind.GAUGE, samples=(((), value),))
