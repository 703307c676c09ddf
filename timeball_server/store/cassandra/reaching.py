"""Which tasks one request reads: those of one bucket, or of several that differ in one number.

Pure. A request costs a client and a server several times what a row of it does, and the tasks of
a list lie in as many buckets as there are shards. One request names minutes, shards and parts, and
the database reads every combination of them: so its buckets have all but one of these in common,
and no others are read. But it looks for each of its tasks in each of its buckets. In a large one
that lies on disk every look is a search, found or not, so it is these that are bounded: sixteen
buckets of 1,500 ended tasks each, a hundred of them wanted, cost the server most when they were
read with one request, and least with four buckets a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from timeball_server.core.ids import Bucket, TaskId
from timeball_server.store.keys import home_bucket

LOOKS_AT_ONCE: Final = 128
"""Buckets of one request, times its tasks."""


_COMMON: Final[Sequence[Callable[[Bucket], tuple[int, int]]]] = (
    lambda home: (home.minute, home.part),
    lambda home: (home.shard, home.part),
    lambda home: (home.minute, home.shard),
)
"""What the buckets of one request may have in common; schedules differ in their parts."""


class Reach(NamedTuple):
    """What one request reads."""

    homes: list[Bucket]
    tasks: list[TaskId]


def reaches(task_ids: Iterable[TaskId]) -> list[Reach]:
    """As few requests as it takes to read each of these tasks once."""
    homes: dict[Bucket, list[TaskId]] = {}
    for task_id in dict.fromkeys(task_ids):
        homes.setdefault(home_bucket(task_id), []).append(task_id)
    lines = min((_lines(homes, common) for common in _COMMON), key=len)
    return [reach for line in lines for reach in _cut(line, homes)]


def _lines(
    homes: Iterable[Bucket], common: Callable[[Bucket], tuple[int, int]]
) -> Sequence[Sequence[Bucket]]:
    """Buckets that have this in common."""
    lines: dict[tuple[int, int], list[Bucket]] = {}
    for home in homes:
        lines.setdefault(common(home), []).append(home)
    return list(lines.values())


def _cut(line: Iterable[Bucket], homes: Mapping[Bucket, Sequence[TaskId]]) -> Iterator[Reach]:
    """Pieces within the bound; a bucket with more tasks than a request reads is in several."""
    here: list[Bucket] = []
    tasks: list[TaskId] = []
    for home in line:
        for start in range(0, len(homes[home]), LOOKS_AT_ONCE):
            piece = homes[home][start : start + LOOKS_AT_ONCE]
            if here and (len(here) + 1) * (len(tasks) + len(piece)) > LOOKS_AT_ONCE:
                yield Reach(here, tasks)
                here, tasks = [], []
            here.append(home)
            tasks.extend(piece)
    yield Reach(here, tasks)
