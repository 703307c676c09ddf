"""The first question at night: is everything on time? Decides from one look and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from timeball_server.console.history import Lateness
from timeball_server.console.sight import ShardSight, Sight
from timeball_server.console.spells import Since
from timeball_server.core.ids import ShardId
from timeball_server.ports.coordination import Role

LATE_START_MS: Final = 500
"""No start is later than this while all is well; it is the promise for the latest one."""
LATE_WAIT_MS: Final = 1_000
"""A due task that has waited longer than this for an executor is late."""
LOADING_MS: Final = 2_000
"""A shard that its new owner reads for longer than this is late."""
JUST_NOW_S: Final = 15
"""Starts of so many last seconds are judged, so that what is over does not alarm for long."""
NAMED: Final = 3
"""So many shards are named in a sentence; the rest are counted."""
_LOADING: Final = "LOADING"


class Level(StrEnum):
    """What an operator does: nothing, look into it, or find out."""

    ON_TIME = "on_time"
    LATE = "late"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer, and why in sentences, the worst first."""

    level: Level
    reasons: tuple[str, ...]


def is_loading(shard: ShardSight, sight: Sight) -> bool:
    """Whether its owner answers and does not serve it yet."""
    if shard.owner is None or shard.owner not in sight.nodes:
        return False
    return shard.figures is None or shard.figures.phase == _LOADING


def judge(
    sight: Sight,
    ownerless: Mapping[ShardId, Since],
    loading: Mapping[ShardId, Since],
    just_now: Lateness,
) -> Verdict:
    """Whether all is on time.

    Args:
        ownerless: shards without an owner in this look, and since when.
        loading: those that their owner does not serve yet, and since when.
        just_now: of starts in the last JUST_NOW_S.
    """
    late = [
        *_without_owner(sight, ownerless),
        *_not_loaded(sight, loading),
        *_waiting(sight),
        *_late_starts(just_now),
    ]
    unknown = list(_silent(sight))
    if late:
        return Verdict(level=Level.LATE, reasons=(*late, *unknown))
    if unknown:
        return Verdict(level=Level.UNKNOWN, reasons=tuple(unknown))
    return Verdict(level=Level.ON_TIME, reasons=(_all_well(just_now),))


def age(duration_ms: int) -> str:
    """A duration as people say it: 12 s, 5 min, 3 h, 2 d."""
    seconds = max(0, duration_ms) // 1_000
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _without_owner(sight: Sight, ownerless: Mapping[ShardId, Since]) -> Iterator[str]:
    if not ownerless:
        return
    shards = sorted(ownerless)
    first = min(ownerless.values(), key=lambda each: each.at_ms)
    word = "for" if first.exactly else "for at least"
    yield f"{_named(shards)} no owner {word} {age(sight.at_ms - first.at_ms)}"
    if not any(each.role is Role.SCHEDULER_NODE for each in sight.members):
        yield "no scheduler node is alive"


def _not_loaded(sight: Sight, loading: Mapping[ShardId, Since]) -> Iterator[str]:
    """A moment belongs to every move; longer than that is a delay."""
    slow = {
        shard: since for shard, since in loading.items() if sight.at_ms - since.at_ms >= LOADING_MS
    }
    if slow:
        first = min(since.at_ms for since in slow.values())
        yield f"{_list(sorted(slow))} still loading after {age(sight.at_ms - first)}"


def _waiting(sight: Sight) -> Iterator[str]:
    waiting = [
        (each, sight.at_ms - each.figures.oldest_due_ms)
        for each in sight.shards
        if each.figures is not None and each.figures.oldest_due_ms is not None
    ]
    late = [(shard, wait_ms) for shard, wait_ms in waiting if wait_ms >= LATE_WAIT_MS]
    if not late:
        return
    due = sum(shard.figures.due_now for shard, _ in late if shard.figures)
    longest = age(max(wait_ms for _, wait_ms in late))
    where = _list([shard.shard for shard, _ in late])
    yield f"{_count(due, 'due task')} in {where} not started, the oldest for {longest}"
    yield from _why_waiting(sight, [shard for shard, _ in late])


def _why_waiting(sight: Sight, late: Sequence[ShardSight]) -> Iterator[str]:
    unserved = sum(each.figures.unserved for each in late if each.figures)
    if not any(each.role is Role.EXECUTOR for each in sight.members):
        yield "no executor is alive"
    elif unserved:
        yield f"no executor serves the handlers of {unserved:,} of them"


def _late_starts(just_now: Lateness) -> Iterator[str]:
    if just_now.p99_ms is not None and just_now.p99_ms > LATE_START_MS:
        yield f"starts of the last {JUST_NOW_S} s were up to {_ms(just_now.max_ms)} late"


def _silent(sight: Sight) -> Iterator[str]:
    silent = [each for each in sight.shards if each.owner and each.owner not in sight.nodes]
    owners = sorted({each.owner for each in silent if each.owner})
    nodes = [each.node for each in sight.members if each.role is Role.SCHEDULER_NODE]
    if silent:
        yield f"no answer from {', '.join(owners)}, which owns {_list([e.shard for e in silent])}"
    if sight.leader is None and nodes:
        yield "no coordinator leads: shards of a node that dies now stay without an owner"


def _all_well(just_now: Lateness) -> str:
    if not just_now.starts:
        return "every shard has an owner and nothing was due just now"
    return f"every shard has an owner; starts were at most {_ms(just_now.max_ms)} late just now"


def _named(shards: Sequence[ShardId]) -> str:
    return f"{_list(shards)} {'has' if len(shards) == 1 else 'have'}"


def _list(shards: Sequence[ShardId]) -> str:
    shown = ", ".join(str(shard) for shard in shards[:NAMED])
    more = f" and {len(shards) - NAMED} more" if len(shards) > NAMED else ""
    return f"{'shard' if len(shards) == 1 else 'shards'} {shown}{more}"


def _count(number: int, one: str) -> str:
    return f"{number:,} {one if number == 1 else one + 's'}"


def _ms(duration_ms: int | None) -> str:
    value = duration_ms or 0
    if value < 1_000:
        return f"{value} ms"
    return f"{value / 1_000:.1f} s" if value < 10_000 else age(value)
