"""Cuts writes into batches. Pure: knows sizes and partitions, neither driver nor time.

A batch over several partitions is a parcel, not a transaction: it saves requests. Writes of one
partition are one mutation and never part, so a partition that is larger than a batch may be is a
batch by itself, which the servers do not limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from timeball_server.store.cassandra.rows import Write

MAX_BATCH_ROWS: Final = 50
MAX_BATCH_BYTES: Final = 40 * 1024
"""Below the 50 KiB at which a server with default settings refuses a batch."""


def pack(
    writes: Sequence[Write], max_rows: int = MAX_BATCH_ROWS, max_bytes: int = MAX_BATCH_BYTES
) -> Iterator[list[Write]]:
    """Batches in order of first appearance of their partitions."""
    batch: list[Write] = []
    size_bytes = 0
    for group in _partitions(writes):
        group_bytes = sum(write.size_bytes for write in group)
        is_full = len(batch) + len(group) > max_rows or size_bytes + group_bytes > max_bytes
        if batch and is_full:
            yield batch
            batch, size_bytes = [], 0
        batch = batch + group
        size_bytes += group_bytes
    if batch:
        yield batch


def _partitions(writes: Sequence[Write]) -> Iterable[list[Write]]:
    groups: dict[tuple[object, ...], list[Write]] = {}
    for write in writes:
        groups.setdefault(write.partition, []).append(write)
    return groups.values()
