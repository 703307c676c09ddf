"""Journals, heads and hints as the Cassandra store reads them.

Parts of a bucket are numbered without gaps, and nothing but the partitions themselves says how many
there are: `parts_of` asks for a run of them at once. A whole run must be missing before the parts
after it are, so that a part whose first rows never landed hides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Any, Final

from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    Minute,
    NodeId,
    ShardId,
    TaskId,
    encode_id,
)
from timeball_server.core.journal import DueRow, EventRow
from timeball_server.ports.store import DuePage, OwnerRow
from timeball_server.store.cassandra.reaching import reaches
from timeball_server.store.cassandra.rows import Values, event_from
from timeball_server.store.cassandra.session import Session
from timeball_server.store.keys import due_order, home_bucket
from timeball_server.store.records import due_from

PARTS_AT_ONCE: Final = 8
OWNERS_AT_ONCE: Final = 64


async def parts_of(session: Session, name: str, minute: Minute, shard: ShardId) -> list[int]:
    """The parts of a bucket that have rows, in order."""
    found: list[int] = []
    first = 0
    while True:
        asked = list(range(first, first + PARTS_AT_ONCE))
        here = [row[0] for row in await session.read(name, (minute, shard, asked))]
        found += sorted(here)
        if not here or max(here) != asked[-1]:
            return found
        first += PARTS_AT_ONCE


async def journals(session: Session, task_ids: Sequence[TaskId]) -> dict[TaskId, list[EventRow]]:
    """Events of tasks, oldest first; tasks without events are left out."""
    found: dict[TaskId, list[EventRow]] = {}
    for rows in await _of_tasks(session, "journals", task_ids):
        for row in reversed(rows):
            event = event_from(row)
            found.setdefault(event.task_id, []).append(event)
    return found


async def heads(session: Session, task_ids: Sequence[TaskId]) -> dict[TaskId, EventRow]:
    """The newest event of each task, one row read for each."""
    answers = await _of_tasks(session, "heads_of", task_ids)
    events = (event_from(row) for rows in answers for row in rows)
    return {event.task_id: event for event in events}


async def _of_tasks(
    session: Session, name: str, task_ids: Sequence[TaskId]
) -> Sequence[Sequence[Values]]:
    """What a statement finds of tasks; its form for several buckets is called `..._across`."""
    return await _all(
        session.read(name, (*_key(*reach.homes), reach.tasks))
        if len(reach.homes) == 1
        else session.read(f"{name}_across", (*_sides(reach.homes), reach.tasks))
        for reach in reaches(task_ids)
    )


async def find_journal(session: Session, home: Bucket, unique: bytes) -> list[EventRow]:
    """Events of the task with this unique number in any part."""
    parts = await parts_of(session, "journal_parts", home.minute, home.shard)
    asked = [encode_id(IdParts(Bucket(home.minute, home.shard, part), unique)) for part in parts]
    found = await journals(session, asked)
    return next((found[task_id] for task_id in asked if task_id in found), [])


async def bucket_heads(
    session: Session, minute: Minute, shard: ShardId, after: TaskId | None, limit: int
) -> list[EventRow]:
    """Heads of a bucket's tasks. Ids sort by part first, so part after part is their order."""
    first = 0 if after is None else home_bucket(after).part
    found: list[Values] = []
    for part in await parts_of(session, "journal_parts", minute, shard):
        if part >= first and len(found) < limit:
            place = (minute, shard, part, after or "", limit - len(found))
            found += await session.read("heads", place)
    return [event_from(row) for row in found]


async def names(session: Session, namespace: str, wanted: Iterable[str]) -> dict[str, TaskId]:
    """The tasks that have these names; each lies in a partition of its own."""
    answers = await _all(session.read("read_name", (namespace, name)) for name in wanted)
    return {name: TaskId(task_id) for rows in answers for name, task_id in rows}


async def owners(session: Session, shards: Collection[ShardId]) -> dict[ShardId, OwnerRow]:
    """The owner rows of shards, of each the one with the highest epoch."""
    asked = sorted(shards)
    answers = await _all(
        session.read("read_owners", (asked[start : start + OWNERS_AT_ONCE],))
        for start in range(0, len(asked), OWNERS_AT_ONCE)
    )
    return {ShardId(row[0]): _owner_from(*row) for rows in answers for row in rows}


def _owner_from(
    shard: int,
    epoch: int,
    owner: str,
    address: str,
    scan_from: int,
    deleted_below: int,
    at_ms: int,
) -> OwnerRow:
    return OwnerRow(
        shard=ShardId(shard),
        epoch=Epoch(epoch),
        owner=NodeId(owner),
        address=address,
        scan_from=Minute(scan_from),
        deleted_below=Minute(deleted_below),
        at_ms=at_ms,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DueQuery:
    """Which hints of a bucket."""

    minute: Minute
    shard: ShardId
    from_ms: int
    to_ms: int
    limit: int
    after: DueRow | None


async def due(session: Session, query: DueQuery) -> DuePage:
    """Hints of all parts, merged."""
    parts = await parts_of(session, "due_parts", query.minute, query.shard)
    requests = [
        session.read(
            "due",
            (query.minute, query.shard, part, *_start(query, part), query.to_ms, query.limit + 1),
        )
        for part in parts
    ]
    pages = [map(due_from, page) for page in await _all(requests)]
    rows = tuple(islice(merge(*pages, key=due_order), query.limit + 1))
    return DuePage(rows[: query.limit], len(rows) > query.limit)


def _start(query: DueQuery, part: int) -> tuple[int, str, int, int]:
    """The place after which a part is read: equal hints of later parts are still to come."""
    after = query.after
    first = (query.from_ms, "", 0, 0)
    if after is None:
        return first
    epoch = after.epoch if part <= after.part else after.epoch - 1
    return max(first, (after.due_ms, after.task_id, after.seq, epoch))


async def _all(requests: Iterable[Coroutine[Any, Any, list[Values]]]) -> list[list[Values]]:
    """The session bounds how many of them are sent at a time."""
    return await asyncio.gather(*requests)


def _key(home: Bucket) -> tuple[int, int, int]:
    return (home.minute, home.shard, home.part)


def _sides(homes: Iterable[Bucket]) -> tuple[list[int], ...]:
    """Minutes, shards and parts whose combinations are these buckets and no others."""
    return tuple(sorted(set(side)) for side in zip(*map(_key, homes), strict=True))
