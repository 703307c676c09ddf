"""Reads of many tasks at once, each by the reader's rule: journals, owner rows after them, owners.

What is known to have ended is not read again. One read of journals for all others, one of owner
rows, one call for each owner. Must never let one task's failure touch another's answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from timeball.errors import TimeballError

from coordinator.deadline import Deadline
from coordinator.hints import found_of
from coordinator.outcomes import not_found, view_or_error
from coordinator.read_rule import SETTLED, Verdict, judge
from coordinator.reader import Reader, ReadResult, expired, shown
from coordinator.requests import Cluster
from timeball_server.core.commands import ReadTask
from timeball_server.core.ids import KIND_TASK, InvalidId, ShardId, TaskId, decode_id, home_of
from timeball_server.core.journal import History, fold, unreadable_event
from timeball_server.core.model import TaskView
from timeball_server.core.view import HIDDEN
from timeball_server.ports.store import OwnerRow

BatchAnswer = ReadResult | TimeballError
Histories = Mapping[TaskId, History]


class BatchReader:
    """Answers what many tasks are."""

    def __init__(self, cluster: Cluster, reader: Reader) -> None:
        self._store = cluster.store
        self._calls = cluster.calls
        self._owner_rows = reader.owner_rows
        self._ended = reader.ended
        self._shards = frozenset(cluster.layout.all_shards())

    async def read(
        self,
        task_ids: Sequence[TaskId],
        namespace: str,
        deadline: Deadline,
        *,
        allow_stale: bool = False,
        with_journal: bool = True,
    ) -> list[BatchAnswer]:
        """The tasks as they are, in the order of the ids; an id may come twice.

        Args:
            allow_stale: show what the journal says where an owner does not answer, marked.
            with_journal: tell their stories too, or not in all answers.

        Raises:
            StoreUnavailable: no task could be read.
        """
        known = [task_id for task_id in dict.fromkeys(task_ids) if self._is_ours(task_id)]
        answers: dict[TaskId, BatchAnswer] = {}
        for task_id in known:
            view = self._ended.find(task_id, namespace, with_journal=with_journal)
            if view is not None:
                answers[task_id] = ReadResult(view)
        rest = [task_id for task_id in known if task_id not in answers]
        histories = await self._histories(rest)
        answers |= await self._by_journal(rest, histories, namespace, with_journal=with_journal)
        asked = [task_id for task_id in rest if task_id not in answers]
        results = await self._ask(asked, namespace, deadline)
        for task_id, result in zip(asked, results, strict=True):
            history = histories.get(task_id) if allow_stale else None
            answers[task_id] = _or_stale(result, history, namespace)
        return [answers.get(task_id) or not_found(task_id) for task_id in task_ids]

    async def _histories(self, task_ids: Sequence[TaskId]) -> Histories:
        journals = await self._store.read_journals(task_ids) if task_ids else {}
        folded = {task_id: fold(rows) for task_id, rows in journals.items()}
        return {task_id: history for task_id, history in folded.items() if history is not None}

    async def _by_journal(
        self,
        task_ids: Sequence[TaskId],
        histories: Histories,
        namespace: str,
        *,
        with_journal: bool,
    ) -> dict[TaskId, BatchAnswer]:
        """What the store alone can say; what has ended is remembered."""
        owners = await self._owners_of(task_ids, histories)
        answers: dict[TaskId, BatchAnswer] = {}
        for task_id in task_ids:
            owner = owners.get(home_of(task_id).shard)
            history = histories.get(task_id)
            answer = _judged(task_id, history, owner, namespace, with_journal=with_journal)
            if answer is not None:
                answers[task_id] = answer
            if isinstance(answer, ReadResult):
                self._ended.keep(answer.task)
        return answers

    async def _owners_of(
        self, task_ids: Sequence[TaskId], histories: Histories
    ) -> Mapping[ShardId, OwnerRow]:
        """The owner rows of those that are not asked anyway, read after their journals (R16)."""
        return await self._owner_rows.read(
            {
                home_of(task_id).shard
                for task_id in task_ids
                if (history := histories.get(task_id)) is None or history.head.state in SETTLED
            }
        )

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


def _judged(
    task_id: TaskId,
    history: History | None,
    owner: OwnerRow | None,
    namespace: str,
    *,
    with_journal: bool,
) -> BatchAnswer | None:
    """What the store alone can say, None if the owner must be asked.

    A task of another namespace is not found, whatever its state: nobody is asked about it.
    """
    head = None if history is None else history.head
    verdict = judge(head, owner, home_of(task_id).minute)
    if verdict is Verdict.EXPIRED:
        return expired(task_id)
    view = None if history is None else _view(history, namespace, with_journal=with_journal)
    if view is None and history is not None and unreadable_event(history) is not None:
        return None
    is_shown = head is not None and head.state not in HIDDEN
    if verdict is Verdict.NOT_FOUND or (is_shown and view is None):
        return not_found(task_id)
    return ReadResult(view) if verdict is Verdict.ANSWER and view is not None else None


def _view(history: History, namespace: str, *, with_journal: bool = True) -> TaskView | None:
    found = found_of(history, namespace, partial(shown, with_journal=with_journal))
    return None if found is None else found.view


def _or_stale(
    result: TaskView | TimeballError, history: History | None, namespace: str
) -> BatchAnswer:
    """The owner's answer; where it could not be had, what this journal says, marked."""
    if not isinstance(result, TimeballError):
        return ReadResult(result)
    if history is None or result.code != "UNAVAILABLE":
        return result
    view = _view(history, namespace)
    return result if view is None else ReadResult(view, stale=True)
