"""Reading a shard ahead of owning it: the heads of tasks that have ended and stay so.

What a new owner reads is mostly the past, and the past has mostly ended. An ended task's head,
read by the reader's rule (R16: the head at a quorum, then the owner row), is final: nobody but the
owner that wrote it could have followed it, and every later owner begins to read after our look at
the owner row and finds it. So a hint of it leads nowhere, and it need not be read again after the
shard has changed hands; the hints must be, as they may have become more. ADR 8 has the proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from scheduler_node.paging import each_page, known_kinds
from timeball_server.core.buckets import minute_of
from timeball_server.core.ids import KIND_SCHEDULE, Minute, ShardId, TaskId, decode_id
from timeball_server.core.journal import CLOSED, DueRow, EventRow
from timeball_server.ports.store import Store

PAGE_ROWS: Final = 200
"""Small, so that reading ahead holds up nothing that this node serves."""
MINUTES_AT_MOST: Final = 5
"""The newest minutes; a watermark that hangs further back makes the rest wait for the owner."""


async def ended_heads(store: Store, shard: ShardId, now_ms: int) -> Mapping[TaskId, EventRow]:
    """Final heads of tasks of the last minutes, as far as the present owner wrote them.

    Raises:
        Unavailable, OutcomeUnknown: the store did not answer; nothing is known.
    """
    row = await store.read_shard(shard)
    if row is None:
        return {}
    last = minute_of(now_ms)
    first = max(row.scan_from, last - MINUTES_AT_MOST + 1)
    found: dict[TaskId, EventRow] = {}
    for minute in range(first, last + 1):
        found.update(await _closed_heads(store, shard, Minute(minute), now_ms))
    owner = (await store.read_owners([shard])).get(shard)
    return {} if owner is None else dict(_of_epoch(owner.epoch, found.items()))


async def _closed_heads(
    store: Store, shard: ShardId, minute: Minute, now_ms: int
) -> Mapping[TaskId, EventRow]:
    found: dict[TaskId, EventRow] = {}

    async def take(hints: Sequence[DueRow], _: bool) -> None:
        heads = await store.read_heads(_tasks(known_kinds(hints)[0]))
        found.update({task: head for task, head in heads.items() if head.state in CLOSED})

    await each_page(lambda after: store.read_due(minute, shard, 0, now_ms, PAGE_ROWS, after), take)
    return found


def _tasks(hints: Sequence[DueRow]) -> Sequence[TaskId]:
    """Whose hints these are. Of schedules even the ended ones are looked at by an owner (S3)."""
    task_ids = dict.fromkeys(hint.task_id for hint in hints)
    return [task_id for task_id in task_ids if decode_id(task_id).kind != KIND_SCHEDULE]


def _of_epoch(
    epoch: int, heads: Iterable[tuple[TaskId, EventRow]]
) -> Iterator[tuple[TaskId, EventRow]]:
    """Heads of an earlier epoch may have been overtaken in the present owner's memory."""
    return ((task, head) for task, head in heads if head.epoch == epoch)
