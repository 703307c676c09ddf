"""Shapes in which a network falls apart: which ways between which nodes are cut.

Nodes are those of the cluster and the store. A way leads from one node to another; a link is two.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

Ways = list[tuple[str, str]]


def between(some: Iterable[str], others: Iterable[str]) -> Ways:
    """Both ways of every link between two groups."""
    others = list(others)
    return [way for one in some for other in others for way in ((one, other), (other, one))]


def alone(nodes: Sequence[str], rng: random.Random) -> Ways:
    """One node reaches nobody."""
    one = rng.choice(nodes)
    return between([one], [node for node in nodes if node != one])


def halves(nodes: Sequence[str], rng: random.Random) -> Ways:
    """Two halves do not reach each other."""
    mixed = rng.sample(nodes, len(nodes))
    return between(mixed[: len(nodes) // 2], mixed[len(nodes) // 2 :])


def bridge(nodes: Sequence[str], rng: random.Random) -> Ways:
    """Two halves reach each other through one node only."""
    _, *mixed = rng.sample(nodes, len(nodes))
    return between(mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :])


def ring(nodes: Sequence[str], rng: random.Random) -> Ways:
    """Each node reaches a majority, and no two the same one."""
    mixed = rng.sample(nodes, len(nodes))
    near = len(nodes) // 4 + 1
    count = len(nodes)
    return [
        (one, other)
        for i, one in enumerate(mixed)
        for j, other in enumerate(mixed)
        if min((i - j) % count, (j - i) % count) > near
    ]


def one_way(nodes: Sequence[str], rng: random.Random) -> Ways:
    """One node hears everybody and is heard by nobody, or the other way round."""
    one = rng.choice(nodes)
    out = rng.random() < 0.5
    return [(one, node) if out else (node, one) for node in nodes if node != one]


SHAPES: Mapping[str, Callable[[Sequence[str], random.Random], Ways]] = MappingProxyType(
    {"alone": alone, "halves": halves, "bridge": bridge, "ring": ring, "one way": one_way}
)
