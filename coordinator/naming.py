"""Creations under a name that the caller chose: of each name at most one open task.

A name's row says which address has it, and changes only by conditional writes. A creation is sent
only for an address that has the name, and a name is taken from an address only once the shard's
owner has said that there is no open task and never will be: it has ended, or its id is void. So two
open tasks of one name are impossible, whoever crashes where. Must never create before the name is
its address's own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from timeball.errors import (
    AlreadyExists,
    TaskExpired,
    TaskNotFound,
    TimeballError,
    TooLate,
    Unavailable,
)

from coordinator.deadline import Deadline
from coordinator.outcomes import view_of
from coordinator.reader import Reader
from coordinator.requests import AfterEnd, Caller, ChosenName, Cluster, WhileOpen
from timeball_server.core.commands import (
    CancelScope,
    CancelTask,
    CreateTask,
    Outcome,
    Rejected,
    RejectionReason,
)
from timeball_server.core.ids import Bucket, IdParts, TaskId, decode_id, encode_id
from timeball_server.core.model import PublicState, TaskView
from timeball_server.rpc.convert import task_name

TURNS: Final = 8
"""How often a creation looks again at a name that others take meanwhile."""
GRACE_MS: Final = 250
"""How long a creation that has just taken a name is waited for before its address is closed."""
_ENDED: Final = frozenset(
    {PublicState.SUCCEEDED, PublicState.FAILED, PublicState.CANCELLED, PublicState.TERMINATED}
)


class _NothingYet(Exception):
    """No creation has come to an address."""


def name_key(name: str) -> str:
    """The key of a chosen name; requests have keys of their own."""
    return f"task:{name}"


class Namer:
    """Creates tasks under chosen names."""

    def __init__(self, cluster: Cluster, reader: Reader) -> None:
        self._cluster = cluster
        self._reader = reader

    async def create(
        self, caller: Caller, command: CreateTask, chosen: ChosenName, deadline: Deadline
    ) -> TaskView:
        """Create the task, or say which one has its name.

        Args:
            command: with its settled address.

        Raises:
            AlreadyExists: another task has the name, and the caller's wish is not to take it.
            TooLate: the task to be replaced has begun.
            TimeballError: what else the creation, or the cancel of the one before, came to.
        """
        mine = encode_id(IdParts(Bucket(command.minute, command.shard), command.unique))
        store, key = self._cluster.store, name_key(chosen.name)
        holder = await store.bind_name(caller.namespace, key, mine)
        if holder != mine and await self._is_known(mine):
            return view_of(await self._execute(replace(command, resend=True), deadline))
        void: Outcome | TimeballError | None = None
        for _ in range(TURNS):
            if holder == mine:
                void = await self._execute(command, deadline)
                now = await self._holder_if_void(caller, key, void)
                if now is None or now == mine:
                    return view_of(void)
                holder = now
            existing = await self._look_for_another(caller, command, holder, chosen, deadline)
            if existing is not None:
                return existing
            if void is not None:
                return view_of(void)
            holder = await store.rebind_name(caller.namespace, key, holder, mine)
        raise Unavailable(f"others take the name {chosen.name} all the time; try again later")

    async def _execute(
        self, command: CreateTask | CancelTask, deadline: Deadline
    ) -> Outcome | TimeballError:
        (answer,) = await self._cluster.calls.execute([command], deadline)
        return answer

    async def _holder_if_void(
        self, caller: Caller, key: str, answer: Outcome | TimeballError
    ) -> TaskId | None:
        """Who has the name now, if the address was closed because it took too long; else None."""
        if not isinstance(answer, Rejected) or answer.reason is not RejectionReason.VOIDED:
            return None
        return (await self._cluster.store.read_names(caller.namespace, [key])).get(key)

    async def _look_for_another(
        self,
        caller: Caller,
        command: CreateTask,
        holder: TaskId,
        chosen: ChosenName,
        deadline: Deadline,
    ) -> TaskView | None:
        """The task that is the answer; None = the name may be taken from its holder.

        Raises:
            AlreadyExists, TooLate: neither.
        """
        while (existing := await self._standing(caller, command, holder, deadline)) is not None:
            try:
                gives_way = await self._gives_way(caller, command, existing, chosen, deadline)
                return None if gives_way else existing
            except TooLate as late:
                if late.metadata.get("state") not in _ENDED:
                    raise
        return None

    async def _is_known(self, mine: TaskId) -> bool:
        """Whether this very request was carried out before, or voided: it gets the same answer."""
        parts = decode_id(mine)
        return bool(await self._cluster.store.find_journal(parts.home, parts.unique))

    async def _standing(
        self, caller: Caller, command: CreateTask, holder: TaskId, deadline: Deadline
    ) -> TaskView | None:
        """The task that has the name; None = there is none, and will never be one."""
        try:
            return await self._read(caller, holder, deadline)
        except (TaskNotFound, TaskExpired):
            return None
        except _NothingYet:
            await self._cluster.clock.sleep_ms(GRACE_MS)
        try:
            return await self._read(caller, holder, deadline)
        except _NothingYet:
            return await self._close(caller, command, holder, deadline)
        except (TaskNotFound, TaskExpired):
            return None

    async def _read(self, caller: Caller, holder: TaskId, deadline: Deadline) -> TaskView:
        """The task of an address, whatever the part of its bucket in which it lies.

        Raises:
            TaskNotFound, TaskExpired: it was deleted, void, or removed.
            _NothingYet: it was not created.
        """
        parts = decode_id(holder)
        rows = await self._cluster.store.find_journal(parts.home, parts.unique)
        if not rows:
            raise _NothingYet
        return (await self._reader.read(rows[0].task_id, caller.namespace, deadline)).task

    async def _close(
        self, caller: Caller, command: CreateTask, holder: TaskId, deadline: Deadline
    ) -> TaskView | None:
        """See to it that a creation that never came never will; the task if it came after all."""
        why = "its chosen name was given to another task"
        cancel = self._cancel(caller, command, holder, CancelScope.UNKNOWN, why)
        try:
            return view_of(await self._execute(cancel, deadline))
        except (TaskNotFound, TaskExpired):
            return None

    async def _gives_way(
        self,
        caller: Caller,
        command: CreateTask,
        existing: TaskView,
        chosen: ChosenName,
        deadline: Deadline,
    ) -> bool:
        """Whether the name may be taken from this task; False = it is the answer.

        Raises:
            AlreadyExists, TooLate: neither.
        """
        replaces = chosen.while_open is WhileOpen.REPLACE_PENDING
        if existing.terminal:
            was_replaced = replaces and existing.state is PublicState.CANCELLED
            if was_replaced or _may_follow(existing, chosen.after_end):
                return True
            raise _taken(existing, chosen)
        if chosen.while_open is WhileOpen.USE_EXISTING:
            return False
        if not replaces:
            raise _taken(existing, chosen)
        why = f"replaced by request {command.request_id} for the name {chosen.name}"
        cancel = self._cancel(caller, command, existing.task_id, CancelScope.WAITING, why)
        view_of(await self._execute(cancel, deadline))
        return True

    @staticmethod
    def _cancel(
        caller: Caller, command: CreateTask, task_id: TaskId, scope: CancelScope, why: str
    ) -> CancelTask:
        return CancelTask(
            task_id=task_id,
            namespace=caller.namespace,
            request_id=command.request_id,
            actor=caller.subject,
            reason=why,
            scope=scope,
        )


def _may_follow(existing: TaskView, after_end: AfterEnd) -> bool:
    if after_end is AfterEnd.ALLOW_IF_FAILED:
        return existing.state is not PublicState.SUCCEEDED
    return after_end is AfterEnd.ALLOW


def _taken(existing: TaskView, chosen: ChosenName) -> AlreadyExists:
    name = task_name(existing.spec.namespace, existing.task_id)
    return AlreadyExists(
        f"the name {chosen.name} has {name}, which is {existing.state}; "
        "take another name, or say what to do then with while_open and after_end",
        metadata={"task": name, "state": existing.state.value},
    )
