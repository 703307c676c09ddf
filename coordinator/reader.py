"""Reads of single tasks by the reader's rule: the journal, then the owner row, then the owner.

Must never show what a later owner could contradict, unless
the caller allows a value that says it may be stale.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from timeball.errors import Internal, TaskExpired, TaskNotFound, Unavailable

from coordinator.deadline import Deadline
from coordinator.ended import EndedTasks
from coordinator.outcomes import not_found, view_of
from coordinator.owner_calls import OwnerCalls
from coordinator.owner_rows import OwnerRows
from coordinator.read_rule import SETTLED, Verdict, judge
from timeball_server.core.commands import ReadTask
from timeball_server.core.ids import TaskId, home_of
from timeball_server.core.journal import CLOSED, History, State, fold, unreadable_event
from timeball_server.core.model import TaskView
from timeball_server.core.view import HIDDEN, task_view
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import Store

STALE_PATIENCE_MS: Final = 500
"""A caller that accepts a stale value waits this long for a true one."""


@dataclass(frozen=True, slots=True)
class ReadResult:
    """A task, and whether the answer may be behind the truth."""

    task: TaskView
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What the store says of a task, and what that is worth; no view = deleted, void or unread."""

    verdict: Verdict
    view: TaskView | None


class Reader:
    """Answers what a task is. What it shares and remembers serves reads of many and lists too."""

    def __init__(self, store: Store, calls: OwnerCalls, clock: Clock) -> None:
        self._store = store
        self._calls = calls
        self.owner_rows = OwnerRows(store, clock)
        self.ended = EndedTasks(clock)

    async def read(
        self, task_id: TaskId, namespace: str, deadline: Deadline, *, allow_stale: bool = False
    ) -> ReadResult:
        """The task as it is.

        Raises:
            TaskNotFound: there is none in this namespace.
            TaskExpired: its bucket was removed after retention.
            Unavailable: its shard has no owner, and a stale value was not allowed.
        """
        cached = self.ended.find(task_id, namespace)
        if cached is not None:
            return ReadResult(cached)
        look = await self.look(task_id, namespace, SETTLED)
        if look.verdict is Verdict.ANSWER and look.view is not None:
            self.ended.keep(look.view)
            return ReadResult(look.view)
        if not allow_stale or look.view is None:
            return ReadResult(await self._ask_owner(task_id, namespace, deadline))
        return await self._ask_or_stale(look.view, deadline)

    async def look(
        self, task_id: TaskId, namespace: str, of_use: Collection[State] = CLOSED
    ) -> Look:
        """Read journal and owner row, in this order, and judge (rule R16).

        Args:
            of_use: states that the caller shows by the journal; a task in another one is asked of
                its owner anyway, so the owner row is not read for it.

        Raises:
            TaskNotFound, TaskExpired: there is nothing to show.
        """
        journals = await self._store.read_journals([task_id])
        history = fold(journals.get(task_id, ()))
        home = home_of(task_id)
        is_asked = history is not None and history.head.state not in of_use
        owners = {} if is_asked else await self.owner_rows.read((home.shard,))
        owner = owners.get(home.shard)
        verdict = judge(None if history is None else history.head, owner, home.minute)
        if verdict is Verdict.EXPIRED:
            raise expired(task_id)
        view = None if history is None or _is_hidden(history) else shown(history)
        foreign = view is not None and view.spec.namespace != namespace
        if foreign or verdict is Verdict.NOT_FOUND:
            raise not_found(task_id)
        return Look(verdict, view)

    async def _ask_owner(self, task_id: TaskId, namespace: str, deadline: Deadline) -> TaskView:
        """The task from its owner's memory, pinned to the owner's epoch."""
        command = ReadTask(task_id=task_id, namespace=namespace)
        (answer,) = await self._calls.execute([command], deadline)
        return view_of(answer)

    async def _ask_or_stale(self, known: TaskView, deadline: Deadline) -> ReadResult:
        """The owner's answer if it comes soon, else what the store says, marked."""
        patience = deadline.within(STALE_PATIENCE_MS)
        try:
            view = await self._ask_owner(known.task_id, known.spec.namespace, patience)
        except Unavailable:
            return ReadResult(known, stale=True)
        return ReadResult(view)


def _is_hidden(history: History) -> bool:
    """Whether the journal shows nothing here; what a newer version wrote, its owner may show."""
    return history.head.state in HIDDEN or unreadable_event(history) is not None


def shown(history: History, *, with_journal: bool = True) -> TaskView:
    """The view of a journal that is to be shown.

    Raises:
        Internal: the journal is damaged.
    """
    try:
        return task_view(history, with_journal=with_journal)
    except LookupError as error:
        raise Internal(f"{error}; report this with the task's id") from error


def expired(task_id: TaskId) -> TaskNotFound:
    """The id lies below the watermark of removed buckets."""
    return TaskExpired(
        f"Task {task_id} was removed after its retention; its id cannot be used again."
    )
