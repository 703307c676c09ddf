"""Reads of many tasks at once, each by the reader's rule: journals, owner rows after them, owners.

One read of journals for all, one owner row for each shard, one call for each owner. Must never
let one task's failure touch another's answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from timeball.errors import TimeballError

from coordinator.deadline import Deadline
from coordinator.hints import found_in
from coordinator.outcomes import not_found, view_or_error
from coordinator.owner_rows import OwnerRows
from coordinator.read_rule import Verdict, judge
from coordinator.reader import ReadResult, expired, shown
from coordinator.requests import Cluster
from coordinator.unread import unread
from timeball_server.core.commands import ReadTask
from timeball_server.core.ids import KIND_TASK, InvalidId, ShardId, TaskId, decode_id, home_of
from timeball_server.core.journal import CLOSED, EventRow, head_of
from timeball_server.core.model import TaskView
from timeball_server.core.view import HIDDEN
from timeball_server.ports.store import OwnerRow

BatchAnswer = ReadResult | TimeballError
Journals = Mapping[TaskId, Sequence[EventRow]]


class BatchReader:
    """Answers what many tasks are."""

    def __init__(self, cluster: Cluster) -> None:
        self._store = cluster.store
        self._calls = cluster.calls
        self._owner_rows = OwnerRows(cluster.store, cluster.clock)
        self._shards = frozenset(cluster.layout.all_shards())

    async def read(
        self,
        task_ids: Sequence[TaskId],
        namespace: str,
        deadline: Deadline,
        *,
        allow_stale: bool = False,
    ) -> list[BatchAnswer]:
        """The tasks as they are, in the order of the ids; an id may come twice.

        Raises:
            StoreUnavailable: no task could be read.
        """
        known = [task_id for task_id in dict.fromkeys(task_ids) if self._is_ours(task_id)]
        journals = await self._store.read_journals(known)
        owners = await self._owners_of(known, journals)
        answers: dict[TaskId, BatchAnswer] = {}
        for task_id in known:
            owner = owners.get(home_of(task_id).shard)
            answer = _by_journal(task_id, journals.get(task_id, ()), owner, namespace)
            if answer is not None:
                answers[task_id] = answer
        asked = [task_id for task_id in known if task_id not in answers]
        results = await self._ask(asked, namespace, deadline)
        for task_id, result in zip(asked, results, strict=True):
            rows = journals.get(task_id, ()) if allow_stale else ()
            answers[task_id] = _or_stale(result, rows, namespace)
        return [answers.get(task_id) or not_found(task_id) for task_id in task_ids]

    async def _owners_of(
        self, task_ids: Sequence[TaskId], journals: Journals
    ) -> Mapping[ShardId, OwnerRow | None]:
        """The owner rows of tasks that are not open, read after their journals (rule R16)."""
        shards = {
            home_of(task_id).shard
            for task_id in task_ids
            if (head := head_of(journals.get(task_id, ()))) is None or head.state in CLOSED
        }
        rows = await asyncio.gather(*(self._owner_rows.read(shard) for shard in shards))
        return dict(zip(shards, rows, strict=True))

    async def _ask(
        self, task_ids: Sequence[TaskId], namespace: str, deadline: Deadline
    ) -> list[TaskView | TimeballError]:
        """Tasks from their owners' memory, pinned to the owners' epochs."""
        reads = [ReadTask(task_id=task_id, namespace=namespace) for task_id in task_ids]
        return [view_or_error(answer) for answer in await self._calls.execute(reads, deadline)]

    def _is_ours(self, task_id: TaskId) -> bool:
        """Whether this cluster can have minted the id."""
        try:
            parts = decode_id(task_id)
        except InvalidId:
            return False
        return parts.kind == KIND_TASK and parts.home.shard in self._shards


def _by_journal(
    task_id: TaskId, rows: Sequence[EventRow], owner: OwnerRow | None, namespace: str
) -> BatchAnswer | None:
    """What the store alone can say, None if the owner must be asked.

    A task of another namespace is not found, whatever its state: nobody is asked about it.
    """
    head, home = head_of(rows), home_of(task_id)
    verdict = judge(head, owner, home.minute)
    if verdict is Verdict.EXPIRED:
        return expired(task_id)
    if unread(rows) is not None:
        return None
    view = _view(rows, namespace)
    is_shown = head is not None and head.state not in HIDDEN
    if verdict is Verdict.NOT_FOUND or (is_shown and view is None):
        return not_found(task_id)
    return ReadResult(view) if verdict is Verdict.ANSWER and view is not None else None


def _view(rows: Sequence[EventRow], namespace: str) -> TaskView | None:
    found = found_in(rows, namespace, partial(shown, with_journal=True))
    return None if found is None else found.view


def _or_stale(
    result: TaskView | TimeballError, rows: Sequence[EventRow], namespace: str
) -> BatchAnswer:
    """The owner's answer; where it could not be had, what these rows say, marked."""
    if not isinstance(result, TimeballError):
        return ReadResult(result)
    view = _view(rows, namespace) if result.code == "UNAVAILABLE" else None
    return result if view is None else ReadResult(view, stale=True)
