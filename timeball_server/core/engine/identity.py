"""What the engine knows of an executor from the membership, without the port's types."""

from __future__ import annotations

from dataclasses import dataclass

from timeball_server.core.ids import Incarnation, NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorFacts:
    """A living executor: strength 1-100, concurrent slots, labels, handlers it serves.

    `caps` are handlers of which it runs fewer at once than it has slots, and how many.
    """

    node: NodeId
    incarnation: Incarnation
    strength: int
    slots: int
    labels: tuple[tuple[str, str], ...]
    handlers: tuple[str, ...]
    caps: tuple[tuple[str, int], ...] = ()
