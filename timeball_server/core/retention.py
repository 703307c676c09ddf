"""How long ended tasks are kept, and whether a bucket may be removed: pure decisions (rule R19).

Owns the arithmetic of retention. Never decides for a bucket that was not read to its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from timeball_server.core.buckets import minute_of
from timeball_server.core.ids import Minute, TaskId, is_known
from timeball_server.core.journal import CLOSED, EventRow

HOUR_MS: Final = 3_600_000
DEFAULT_RETENTION_MS: Final = 7 * 24 * HOUR_MS
LEAST_HOURS: Final = 24
MOST_HOURS: Final = 24 * 366 * 5
OLDEST_HOME_MINUTES: Final = 120
"""First sends name no home that is older (`minting.TRUSTED_MS` is an hour): where a shard begins
that nobody has owned before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketContents:
    """What a whole bucket holds: one task that has not ended, if any, and the last event's instant.

    `tasks` counts heads; an empty bucket has `last_ms` 0.
    """

    tasks: int = 0
    open_task: TaskId | None = None
    last_ms: int = 0


EMPTY: Final = BucketContents()


def with_heads(contents: BucketContents, heads: Iterable[EventRow]) -> BucketContents:
    """The contents once these heads are counted too.

    What has an id of an unknown kind has not ended, whatever its head says: a newer version knows.
    """
    tasks, open_task, last_ms = contents.tasks, contents.open_task, contents.last_ms
    for head in heads:
        tasks += 1
        last_ms = max(last_ms, head.at_ms)
        if head.state not in CLOSED or not is_known(head.task_id):
            open_task = open_task or head.task_id
    return BucketContents(tasks=tasks, open_task=open_task, last_ms=last_ms)


def may_go(contents: BucketContents, now_ms: int, retention_ms: int) -> bool:
    """Whether every task has ended, each at least the retention ago."""
    return contents.open_task is None and contents.last_ms + retention_ms <= now_ms


def oldest_kept(now_ms: int, retention_ms: int) -> Minute:
    """The first minute whose own time lies within the retention: it and later ones stay."""
    return minute_of(now_ms - retention_ms)


def first_home(now_ms: int) -> Minute:
    """Below this no home of a shard can lie that is owned for the first time now."""
    return Minute(max(1, minute_of(now_ms) - OLDEST_HOME_MINUTES))
