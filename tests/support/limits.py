"""Limits of keys in the engine's world."""

from __future__ import annotations

from typing import Any, Final

from tests.support.engine_world import Call, Node
from timeball_server.core.engine import events as ev
from timeball_server.core.limit_rules import LimitKind, LimitRule

KEY: Final = "customer/7"


def key_rule(pattern: str = KEY, **values: Any) -> LimitRule:
    """A rule about keys of the tests' namespace."""
    return LimitRule(namespace="shop", kind=LimitKind.KEY, pattern=pattern, **values)


def allow(node: Node, *rules: LimitRule) -> None:
    """These rules hold from now on; the cluster has one shard."""
    node.feed(ev.LimitsSet(rules, 1))


def create_many(node: Node, count: int, **spec: Any) -> list[Call]:
    """Tasks of one key."""
    return [node.create(**{"concurrency_key": KEY, **spec}) for _ in range(count)]
