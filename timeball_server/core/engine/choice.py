"""Which executor gets an attempt: eligible ones, strength by urgency, and two random choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from timeball_server.core.engine.executor_memory import ExecutorState
from timeball_server.core.model import TaskSpec
from timeball_server.core.retry import Rng

SPILL_UP_MS: Final = 50
"""How long a task waits for its own tier before it may use a stronger one."""
URGENT_FROM: Final = 7
"""From this priority on the strongest tier is the one that fits, however many tiers there are."""
_LEVELS: Final = 10


def serves(executor: ExecutorState, spec: TaskSpec) -> bool:
    """Whether the executor may run tasks of this kind at all."""
    return (
        executor.ready
        and not executor.draining
        and spec.handler in executor.handlers
        and executor.labels.issuperset(spec.selector)
    )


def without_left_out(serving: list[ExecutorState]) -> list[ExecutorState]:
    """Those that are not left out for their health; all of them if that leaves nobody."""
    kept = [executor for executor in serving if not executor.left_out]
    return kept or serving


def preferred_strength(eligible: Sequence[ExecutorState], effective_priority: int) -> int:
    """The strength that fits this urgency: levels are spread over the tiers that are there."""
    tiers = sorted({executor.facts.strength for executor in eligible})
    if effective_priority >= URGENT_FROM:
        return tiers[-1]
    return tiers[effective_priority * len(tiers) // _LEVELS]


def choose(
    eligible: Sequence[ExecutorState],
    *,
    handler: str,
    effective_priority: int,
    waited_ms: int,
    need_free: bool,
    rng: Rng,
) -> ExecutorState | None:
    """Choose among eligible executors; None = nobody suitable has room yet.

    Own tier first, then weaker ones at once, the strongest of them first; stronger ones after
    SPILL_UP_MS, the weakest of them first. With `need_free` False (a claim ahead of time) the
    own tier is taken even if it is full at this moment. Room is room for the handler: it may have
    a cap of its own.
    """
    if not eligible:
        return None
    wanted = preferred_strength(eligible, effective_priority)
    own = [executor for executor in eligible if executor.facts.strength == wanted]
    if not need_free:
        return pick_of_two(own, rng)
    for tier in _tiers_in_order(eligible, wanted, waited_ms):
        room = [x for x in eligible if x.facts.strength == tier and x.has_room(handler)]
        if room:
            return pick_of_two(room, rng)
    return None


def _tiers_in_order(eligible: Sequence[ExecutorState], wanted: int, waited_ms: int) -> list[int]:
    tiers = sorted({executor.facts.strength for executor in eligible}, reverse=True)
    order = [tier for tier in tiers if tier <= wanted]
    if waited_ms >= SPILL_UP_MS:
        order += [tier for tier in reversed(tiers) if tier > wanted]
    return order


def pick_of_two(candidates: Sequence[ExecutorState], rng: Rng) -> ExecutorState:
    """Of two drawn at random the one with more free capacity x strength."""
    if len(candidates) == 1:
        return candidates[0]
    first = int(rng.random() * len(candidates))
    second = int(rng.random() * (len(candidates) - 1))
    if second >= first:
        second += 1
    one, other = candidates[first], candidates[second]
    return one if one.capacity >= other.capacity else other
