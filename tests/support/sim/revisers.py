"""Second thoughts of clients: they update, move, terminate and delete what they have created.

Often within milliseconds of the due instant, sometimes several of them at once, and with or
without the revision that they know. Draws from a source of its own; other draws stay as they are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from coordinator.api import TaskApi
from coordinator.requests import (
    Caller,
    CancelRequest,
    DeleteRequest,
    RescheduleRequest,
    UpdateRequest,
)
from tests.support.checker.records import Call, Kind
from tests.support.sim.history import Op
from tests.support.virtual_loop import START_WALL_MS, VirtualClock
from timeball_server.core.ids import TaskId
from timeball_server.core.minting import fresh_request_id
from timeball_server.core.model import Payload, TaskView

if TYPE_CHECKING:
    from tests.support.sim.clients import Client, Wanted
    from tests.support.sim.world import World

CLOSE_MS = 5
"""How close to the due instant most of them come."""
FARTHEST_MS = 45_000
Revision = int | None
Change = Callable[["Wanted", str, Revision], Coroutine[Any, Any, Op]]


class Reviser:
    """The second thoughts of one client."""

    def __init__(self, world: World, client: Client) -> None:
        self._client = client
        self._world = world
        self._rng = random.Random(f"{world.seed} {client.name} revises")
        self._clock = VirtualClock(world.loop)

    def maybe(self, wanted: Wanted, task_id: str) -> None:
        """Perhaps change this task, near its instant or at some other time."""
        if self._rng.random() < self._world.profile.revise_share:
            for _ in range(self._rng.choice((1, 1, 1, 2, 3))):
                work = self._around(wanted, task_id)
                self._world.loop.create_task(work, name=f"{self._client.name} revises")

    async def _around(self, wanted: Wanted, task_id: str) -> None:
        await self._clock.sleep_ms(self._pause_ms(wanted))
        changes: tuple[Change, ...] = (self._update, self._move)
        for _ in range(self._rng.choice((1, 1, 2, 3))):
            kind = self._rng.random()
            if kind < 0.08:
                await self.terminate(task_id)
            elif kind < 0.18:
                await self._delete(task_id)
            else:
                change = self._rng.choice(changes)
                await change(wanted, task_id, await self._revision(task_id))
            await self._clock.sleep_ms(self._rng.choice((0, 1, 50, 3_000)))
        if self._rng.random() < 0.2:
            await self._delete_at_last(task_id)

    def _pause_ms(self, wanted: Wanted) -> float:
        rng, now_ms = self._rng, START_WALL_MS + self._world.loop.now_us / 1_000
        due_ms = wanted.due_ms or now_ms + wanted.delay_ms
        how = rng.random()
        if how < 0.5:
            return max(0.0, due_ms - now_ms + rng.uniform(-CLOSE_MS, CLOSE_MS))
        if how < 0.7:
            return max(0.0, due_ms - now_ms + rng.gauss(0, 500))
        return rng.uniform(0, 20_000)

    async def _revision(self, task_id: str) -> Revision:
        """What the client knows of it: nothing, what it reads now, or what was once."""
        how = self._rng.random()
        if how < 0.5:
            return None
        if how < 0.6:
            return 1
        op = await self._client.get(task_id)
        return op.view.revision if isinstance(op.view, TaskView) else None

    def _request_id(self) -> bytes:
        return fresh_request_id(0, self._rng.randbytes(10))

    async def _update(self, wanted: Wanted, task_id: str, revision: Revision) -> Op:
        request_id = self._request_id()
        version = request_id.hex()
        facts = msgspec.json.decode(wanted.spec.payload.data) | {"version": version}
        data = msgspec.json.encode(facts)
        spec = replace(
            wanted.spec, payload=Payload(data=data), priority=self._rng.choice((0, 4, 8))
        )
        fields = self._rng.choice((("payload",), ("payload", "priority")))

        async def ask(api: TaskApi, resend: bool) -> TaskView:
            request = UpdateRequest(
                task_id=TaskId(task_id),
                spec=spec,
                fields=fields,
                revision=revision,
                request_id=request_id,
                resend=resend,
            )
            return await api.update(self._caller, request, 8_000)

        op = self._client.begin(Call.UPDATE, task_id)
        op.version, op.etag = version, revision or 0
        return await self._insist(op, ask)

    async def _move(self, wanted: Wanted, task_id: str, revision: Revision) -> Op:
        request_id = self._request_id()
        rng, now_ms = self._rng, START_WALL_MS + self._world.loop.now_us // 1_000
        due_ms, delay_ms = None, 0
        how = rng.random()
        if how < 0.3:
            delay_ms = rng.choice((0, 0, 5, 1_000, 20_000))
        elif how < 0.6:
            due_ms = now_ms + rng.randint(1_000, 10_000)
        else:
            due_ms = now_ms + rng.randint(1_000, FARTHEST_MS)
        op = self._begin_move(task_id, due_ms, delay_ms, revision)
        return await self._insist(op, self._asks_to_move(op, request_id, revision))

    async def move_once(self, task_id: str, delay_ms: int) -> Op:
        """Move a task to so long from now, and give up not knowing."""
        op = self._begin_move(task_id, None, delay_ms, None)
        asks = self._asks_to_move(op, self._request_id(), None)
        await self._client.insist(op, asks, tries=1)
        return op

    async def move_to(self, task_id: str, due_ms: int) -> Op:
        """Move a task to an instant."""
        op = self._begin_move(task_id, due_ms, 0, None)
        return await self._insist(op, self._asks_to_move(op, self._request_id(), None))

    def _begin_move(
        self, task_id: str, due_ms: int | None, delay_ms: int, revision: Revision
    ) -> Op:
        op = self._client.begin(Call.RESCHEDULE, task_id)
        op.due_ms, op.delay_ms, op.etag = due_ms, delay_ms, revision or 0
        return op

    def _asks_to_move(self, op: Op, request_id: bytes, revision: Revision) -> Any:
        async def ask(api: TaskApi, resend: bool) -> TaskView:
            request = RescheduleRequest(
                task_id=TaskId(op.task_id),
                due_ms=op.due_ms,
                delay_ms=op.delay_ms,
                revision=revision,
                request_id=request_id,
                resend=resend,
            )
            return await api.reschedule(self._caller, request, 8_000)

        return ask

    async def terminate(self, task_id: str) -> Op:
        """Terminate a task."""
        request_id = self._request_id()

        async def ask(api: TaskApi, resend: bool) -> TaskView:
            request = CancelRequest(
                task_id=TaskId(task_id), request_id=request_id, resend=resend, terminate=True
            )
            return await api.cancel(self._caller, request, 8_000)

        op = self._client.begin(Call.TERMINATE, task_id)
        return await self._insist(op, ask)

    async def _delete_at_last(self, task_id: str) -> None:
        """Wait for its end, delete it and look again."""
        await self._client.wait(task_id, 60)
        await self._delete(task_id)
        for pause_ms in (0, 100, 6_000):
            await self._clock.sleep_ms(pause_ms)
            await self._client.get(task_id)

    async def _delete(self, task_id: str) -> Op:
        request_id = self._request_id()

        async def ask(api: TaskApi, resend: bool) -> TaskView:
            request = DeleteRequest(task_id=TaskId(task_id), request_id=request_id, resend=resend)
            return await api.delete(self._caller, request, 8_000)

        op = self._client.begin(Call.DELETE, task_id)
        return await self._insist(op, ask)

    async def _insist(self, op: Op, ask: Any) -> Op:
        """Repeat until there is an answer. A refusal of what may arrive once more is no answer."""
        await self._client.insist(op, ask, tries=self._rng.choice((1, 3, 12)))
        profile = self._world.profile
        if op.kind is Kind.FAIL and (op.tries > 1 or profile.twice_share or profile.late_share):
            op.kind = Kind.INFO
        return op

    @property
    def _caller(self) -> Caller:
        return self._client.caller
