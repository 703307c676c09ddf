"""What is durable in the engine's world, by key; under one key there is one content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tests.support.row_keys import key_of
from timeball_server.core.ids import Bucket, Epoch, Minute, ShardId, TaskId, decode_id
from timeball_server.core.journal import (
    TRANSITIONS,
    DueRow,
    EventKind,
    EventRow,
    History,
    Row,
    State,
    fold,
    head_of,
)


class Disk:
    """What is durable: journal, hints and listings, by key."""

    def __init__(self) -> None:
        self.journal: dict[TaskId, dict[tuple[int, int], EventRow]] = {}
        self.due: dict[tuple[int, ShardId], set[DueRow]] = {}
        self.listed: list[Row] = []
        self.kept: dict[tuple[object, ...], Row] = {}
        self.epochs: dict[ShardId, Epoch] = {}
        self.scan_from: dict[ShardId, Minute] = {}
        self.deleted_below: dict[ShardId, Minute] = {}

    def append(self, rows: Sequence[Row]) -> None:
        """Store rows; two contents under one key would break rule R7."""
        for row in rows:
            known = self.kept.setdefault(key_of(row), row)
            assert known == row, f"two contents for one key: {known} and {row}"
            if isinstance(row, EventRow):
                self.journal.setdefault(row.task_id, {}).setdefault((row.epoch, row.seq), row)
            elif isinstance(row, DueRow):
                shard = decode_id(row.task_id).home.shard
                self.due.setdefault((row.minute, shard), set()).add(row)
            else:
                self.listed.append(row)

    def rows(self, task_id: TaskId) -> list[EventRow]:
        """All events of a task, accepted or not."""
        return list(self.journal.get(task_id, {}).values())

    def journals(self, task_ids: Iterable[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        """What a read of these journals returns."""
        return {task_id: self.rows(task_id) for task_id in task_ids if task_id in self.journal}

    def hints(self, minute: int, shard: ShardId, from_ms: int, to_ms: int) -> list[DueRow]:
        """What a read of a bucket's hints returns, in due order."""
        found = [row for row in self.due.get((minute, shard), ()) if from_ms <= row.due_ms < to_ms]
        return sorted(found, key=lambda row: (row.due_ms, row.task_id, row.seq, row.epoch))

    def find(self, home: Bucket, unique: bytes) -> list[EventRow]:
        """Events of the task with this unique number in any part of its home."""
        for task_id in self.journal:
            parts = decode_id(task_id)
            same = (parts.home.minute, parts.home.shard) == (home.minute, home.shard)
            if same and parts.unique == unique:
                return self.rows(task_id)
        return []

    def heads(self, minute: int, shard: ShardId) -> list[EventRow]:
        """Heads of the tasks whose home is this bucket."""
        homes = {task_id: decode_id(task_id).home for task_id in self.journal}
        here = [
            each for each, home in homes.items() if (home.minute, home.shard) == (minute, shard)
        ]
        heads = [head_of(self.rows(task_id)) for task_id in here]
        return [head for head in heads if head is not None]

    def remove(self, minute: int, shard: ShardId) -> None:
        """Forget a bucket's tasks and hints."""
        for head in self.heads(minute, shard):
            del self.journal[head.task_id]
        self.due.pop((minute, shard), None)

    def history(self, task_id: TaskId) -> History:
        """The journal of a task that exists, with every link checked against the table."""
        history = fold(self.rows(task_id))
        assert history is not None, f"{task_id} has no journal"
        state = State.ABSENT
        for row in history.chain:
            assert TRANSITIONS.get((state, row.kind)) is row.state, f"{state} -> {row.kind}"
            state = row.state
        return history

    def kinds(self, task_id: TaskId) -> list[EventKind]:
        """The story of a task in one word per event."""
        return [row.kind for row in self.history(task_id).chain]
