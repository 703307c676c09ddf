"""What a namespace has set for its keys and handlers, and for itself: numbers, found by name.

Pure data and look-ups. Who counts is the engine's matter; must never count itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

UNSET_CONCURRENCY: Final = 1
"""How many tasks of a key run at once that no rule names: whoever gives a key wants one of it."""


class LimitKind(StrEnum):
    """What a rule is about."""

    KEY = "KEY"
    HANDLER = "HANDLER"
    NAMESPACE = "NAMESPACE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many starts in every `per_ms`; `burst` of them may come at once after a pause."""

    starts: int
    per_ms: int
    burst: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """One limit of a namespace.

    Attributes:
        pattern: the key or handler; one that ends in `*` is for each that begins so, by itself.
            Empty for the namespace.
        concurrency: most attempts of a key at once; None = no limit. Of keys only.
        rate: most starts; None = no limit. Of keys and handlers.
        weight: the namespace's share of the starts, against those of the others.
    """

    namespace: str
    kind: LimitKind
    pattern: str = ""
    concurrency: int | None = None
    rate: Rate | None = None
    weight: int = 1


class LimitTable:
    """All rules, by what they are about. Of several that fit, the longest pattern holds."""

    def __init__(self, rules: Iterable[LimitRule] = ()) -> None:
        self._exact: dict[tuple[LimitKind, str, str], LimitRule] = {}
        self._prefixes: dict[tuple[LimitKind, str], list[LimitRule]] = {}
        for rule in rules:
            if rule.pattern.endswith("*"):
                self._prefixes.setdefault((rule.kind, rule.namespace), []).append(rule)
            else:
                self._exact[rule.kind, rule.namespace, rule.pattern] = rule
        for prefixes in self._prefixes.values():
            prefixes.sort(key=lambda rule: -len(rule.pattern))

    def rule(self, kind: LimitKind, namespace: str, name: str) -> LimitRule | None:
        """The rule that holds for this key or handler; None = nothing was set."""
        exact = self._exact.get((kind, namespace, name))
        if exact is not None:
            return exact
        prefixes = self._prefixes.get((kind, namespace), ())
        return next((rule for rule in prefixes if name.startswith(rule.pattern[:-1])), None)

    def weight(self, namespace: str) -> int:
        """The namespace's share of the starts; 1 if nothing was set."""
        rule = self._exact.get((LimitKind.NAMESPACE, namespace, ""))
        return 1 if rule is None else rule.weight

    @property
    def limits_handlers(self) -> bool:
        """Whether any handler has a rate."""
        return any(kind is LimitKind.HANDLER for kind, *_ in (*self._exact, *self._prefixes))


class TokenBucket:
    """Starts that a rate still allows, in whole numbers: never more than rate x time + burst.

    Args:
        rate: of all owners together.
        share: of how many parts this one has how many.
        since_ms: when this owner began to count, by the monotonic clock; nobody knows what was
            given away before, so the bucket was empty then.
    """

    __slots__ = ("_cap", "_cost", "_credit", "_earn", "_since_ms")

    def __init__(self, rate: Rate, since_ms: int, share: tuple[int, int] = (1, 1)) -> None:
        self._credit = 0
        self._since_ms = since_ms
        self._earn = self._cost = self._cap = 0
        self.change(rate, since_ms, share)

    def change(self, rate: Rate, mono_ms: int, share: tuple[int, int] = (1, 1)) -> None:
        """Another rate or share from now on; what was earned is kept in starts."""
        self._earn_until(mono_ms)
        old_cost = self._cost
        mine, all_parts = share
        self._earn = rate.starts * mine
        self._cost = rate.per_ms * all_parts
        self._cap = max(self._cost, rate.burst * rate.per_ms * mine)
        self._credit = min(self._cap, self._credit * self._cost // old_cost if old_cost else 0)

    def _earn_until(self, mono_ms: int) -> None:
        passed_ms = max(0, mono_ms - self._since_ms)
        self._since_ms = max(self._since_ms, mono_ms)
        self._credit = min(self._cap, self._credit + passed_ms * self._earn)

    def free(self, mono_ms: int) -> int:
        """How many may start now."""
        self._earn_until(mono_ms)
        return self._credit // self._cost

    def is_full(self, mono_ms: int) -> bool:
        """Whether nothing more can be saved up."""
        self._earn_until(mono_ms)
        return self._credit >= self._cap

    def full_ms(self, mono_ms: int) -> int:
        """How long until nothing more can be saved up; 0 = it is so, or never will be."""
        self._earn_until(mono_ms)
        missing = self._cap - self._credit
        return -(-missing // self._earn) if missing > 0 and self._earn else 0

    def take(self) -> None:
        """One is started; ask `free` before."""
        self._credit -= self._cost

    def wait_ms(self, mono_ms: int) -> int | None:
        """How long until one may start; None = never at this rate."""
        self._earn_until(mono_ms)
        missing = self._cost - self._credit
        if missing <= 0:
            return 0
        return -(-missing // self._earn) if self._earn else None
