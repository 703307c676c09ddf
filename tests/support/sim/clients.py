"""Clients: they create, read, await and cancel through the coordinators, and write it all down.

A client repeats a call whose outcome it does not know with the same request id, marked as a
repetition, until it knows or loses patience.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec
from timeball.errors import (
    AlreadyExists,
    OutcomeUnknown,
    TaskNotFound,
    TimeballError,
    TooLate,
    Unavailable,
)

from coordinator.api import TaskApi
from coordinator.requests import Caller, CancelRequest, CreateRequest
from tests.support.sim.handlers import WORK
from tests.support.sim.history import Kind, Op, Wish
from tests.support.sim.world import World
from tests.support.virtual_loop import START_WALL_MS, VirtualClock
from timeball_server.core.ids import TaskId
from timeball_server.core.minting import CreateTime, fresh_request_id
from timeball_server.core.model import DeliveryMode, Payload, RetryPolicy, TaskSpec, TaskView

NAMESPACE = "shop"
CALL_S = 12.0
LOOK_S = 6.0
FOLLOWED_SHARE = 0.06
TRIES = 12
COORDINATORS = ("coordinator-1:1", "coordinator-2:1")
Call = Callable[[TaskApi, bool], Coroutine[Any, Any, TaskView]]


class Client:
    """One client. Its operations are sequential; it is never frozen."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.tasks: list[str] = []
        self._world = world
        self._rng = random.Random(f"{world.seed} {name}")
        self._follows = random.Random(f"{world.seed} {name} follows")
        self._clock = VirtualClock(world.loop)
        self._caller = Caller(NAMESPACE, name)

    async def run(self, creates: int, until_us: int) -> None:
        """Create that many tasks, spread over the time, and do other things in between."""
        for left in range(creates, 0, -1):
            gap_s = max(0.0, (until_us - self._world.loop.now_us) / 1e6) / left
            await self._pause(self._rng.uniform(0, 1.6 * gap_s))
            await self._one()

    async def _one(self) -> None:
        rng = self._rng
        created = await self.create(self._wish())
        if created is None:
            return
        self.tasks.append(created)
        if rng.random() < 0.25:
            await self.get(rng.choice(self.tasks))
        if rng.random() < 0.1:
            self._later(self.wait(created, rng.uniform(1, 30)))
        if rng.random() < 0.2:
            self._later(self._cancel_around(created))
        if rng.random() < 0.1:
            self._later(self._watch(created))
        if self._follows.random() < FOLLOWED_SHARE:
            self._later(self.follow(created))

    def _later(self, work: Coroutine[Any, Any, object]) -> None:
        """Something that goes on beside the next operations."""
        self._world.loop.create_task(work, name=f"{self.name} beside")

    def _wish(self) -> tuple[Wish, TaskSpec]:
        rng, now_ms = self._rng, START_WALL_MS + self._world.loop.now_us // 1_000
        due_ms, delay_ms = None, 0
        drawn = rng.random()
        if drawn < 0.25:
            due_ms = now_ms + rng.randint(0, 10_000)
        elif drawn < 0.55:
            due_ms = now_ms + rng.randint(0, 120_000)
        elif drawn < 0.7:
            delay_ms = rng.randint(1, 60_000)
        mode = rng.choice(list(DeliveryMode))
        fails = rng.choice((0, 0, 0, 1, 2))
        fatal = rng.random() < 0.04
        most = rng.choice((3, 4, 5))
        if rng.random() < 0.06:
            fails = 99
        work_ms = rng.choice((0, 5, 50, 300, 2_000))
        body = msgspec.json.encode({"fails": fails, "work_ms": work_ms, "fatal": fatal})
        request_id = fresh_request_id(now_ms, rng.randbytes(10))
        wish = Wish(
            request_id=request_id,
            mode=mode,
            due_ms=due_ms,
            delay_ms=delay_ms,
            fails=0 if fatal else fails,
            max_attempts=most,
        )
        spec = TaskSpec(
            namespace=NAMESPACE,
            owner=self.name,
            handler=WORK,
            payload=Payload(data=body),
            priority=rng.choice((0, 4, 4, 4, 8, 9)),
            mode=mode,
            retry=RetryPolicy(max_attempts=most, initial_delay_ms=500, max_delay_ms=4_000),
        )
        return wish, spec

    async def create(self, wanted: tuple[Wish, TaskSpec]) -> str | None:
        """Create a task; its id if the client learned it."""
        wish, spec = wanted
        time = CreateTime(run_ms=wish.due_ms, delay_ms=wish.delay_ms)

        async def call(api: TaskApi, resend: bool) -> TaskView:
            request = CreateRequest(spec=spec, time=time, request_id=wish.request_id, resend=resend)
            (answer,) = await api.create(self._caller, [request], 8_000)
            if isinstance(answer, TimeballError):
                raise answer
            return answer

        op = self._begin("create")
        op.wish = wish
        again = self._rng.random() < 0.05
        await self._insist(op, call)
        if again and op.kind is Kind.OK:
            repeated = self._begin("create")
            repeated.wish = wish
            await self._insist(repeated, call, resend=True)
        return op.task_id or None

    async def get(self, task_id: str, op: Op | None = None) -> Op:
        """Read a task."""

        async def call(api: TaskApi, resend: bool) -> TaskView:
            return (await api.get(self._caller, TaskId(task_id), 8_000)).task

        op = op or self._begin("get", task_id)
        await self._insist(op, call)
        return op

    async def wait(self, task_id: str, limit_s: float) -> Op:
        """Await a task."""

        async def call(api: TaskApi, resend: bool) -> TaskView:
            return await api.wait(self._caller, TaskId(task_id), round(limit_s * 1_000))

        op = self._begin("wait", task_id)
        await self._insist(op, call, limit_s=limit_s + CALL_S)
        return op

    async def cancel(self, task_id: str) -> None:
        """Cancel a task."""
        request_id = fresh_request_id(0, self._rng.randbytes(10))

        async def call(api: TaskApi, resend: bool) -> TaskView:
            request = CancelRequest(task_id=TaskId(task_id), request_id=request_id, resend=resend)
            return await api.cancel(self._caller, request, 8_000)

        await self._insist(self._begin("cancel", task_id), call)

    async def _cancel_around(self, task_id: str) -> None:
        """Cancel close to the instant at which the task is due, or some time else."""
        due_ms = next(op.wish.due_ms for op in self._mine(task_id) if op.wish is not None)
        now_ms = START_WALL_MS + self._world.loop.now_us // 1_000
        if due_ms is not None and self._rng.random() < 0.7:
            await self._pause((due_ms - now_ms) / 1_000 + self._rng.gauss(0, 0.3))
        else:
            await self._pause(self._rng.uniform(0, 10))
        await self.cancel(task_id)
        if self._rng.random() < 0.5:
            await self.get(task_id)

    def _mine(self, task_id: str) -> list[Op]:
        ops = self._world.history.ops
        return [op for op in ops if op.task_id == task_id and op.wish is not None]

    async def _watch(self, task_id: str) -> None:
        """Read one task again and again."""
        for _ in range(8):
            await self.get(task_id)
            await self._pause(self._rng.uniform(0.1, 4))

    async def follow(self, task_id: str) -> None:
        """Watch a task to its end, each time at some coordinator with the token of before."""
        history, token, over = self._world.history, "", False
        history.followed[task_id] = False
        while not over:
            op = self._begin("watch", task_id)
            try:
                seen, token = await self._look(task_id, token)
            except (OutcomeUnknown, TimeoutError, Unavailable) as error:
                self._end(op, Kind.FAIL)
                op.reason = error.reason if isinstance(error, TimeballError) else "TIMEOUT"
                await self._clock.sleep_ms(self._follows.uniform(50, 2_000))
                continue
            for each in seen:
                if isinstance(each, TaskView):
                    op.view = each
                else:
                    history.problem(self.name, f"{task_id} was created and then {each!r}")
            self._end(op, Kind.OK if seen else Kind.FAIL)
            await self._clock.sleep_ms(self._follows.uniform(1, 200))
            over = any(_is_over(each) for each in seen)
        history.followed[task_id] = True

    async def _look(self, task_id: str, token: str) -> tuple[list[TaskView | TimeballError], str]:
        """What a stream tells for a while, or to the end, and where to go on."""

        async def call(api: TaskApi) -> tuple[list[TaskView | TimeballError], str]:
            watch = api.watch(self._caller, [TaskId(task_id)], token)
            told: list[TaskView | TimeballError] = []
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    while changes := await watch.changes():
                        for seen in changes:
                            watch.note_told(seen)
                            told.append(seen.answer)
            watch.close()
            return told, watch.token()

        address = self._follows.choice(COORDINATORS)
        async with asyncio.timeout(CALL_S):
            return await self._world.network.call(self.name, address, f"watch {task_id}", call)

    # One operation ------------------------------------------------------------------------------

    def _begin(self, name: str, task_id: str = "") -> Op:
        world = self._world
        op = Op(client=self.name, name=name, task_id=task_id, inv_us=world.loop.now_us)
        world.history.ops.append(op)
        return op

    async def _insist(
        self, op: Op, call: Call, resend: bool = False, limit_s: float = CALL_S
    ) -> None:
        """Repeat until there is an answer; what is in doubt stays in doubt."""
        doubt = resend
        for attempt in range(TRIES):
            op.tries = attempt + 1
            try:
                view = await self._try(op, call, doubt, limit_s)
            except (OutcomeUnknown, TimeoutError):
                doubt = True
                op.reason = "OUTCOME_UNKNOWN"
            except Unavailable:
                op.reason = "UNAVAILABLE"
            except TimeballError as error:
                self._end(op, Kind.FAIL, error)
                return
            else:
                op.view, op.task_id = view, str(view.task_id)
                self._end(op, Kind.OK)
                return
            await self._pause(self._rng.uniform(0.05, 2.0))
        self._end(op, Kind.INFO if doubt else Kind.FAIL)

    async def _try(self, op: Op, call: Call, doubt: bool, limit_s: float) -> TaskView:
        address = self._rng.choice(COORDINATORS)
        async with asyncio.timeout(limit_s):
            return await self._world.network.call(
                self.name, address, f"{op.name} {op.task_id}", lambda api: call(api, doubt)
            )

    def _end(self, op: Op, kind: Kind, error: TimeballError | None = None) -> None:
        op.kind, op.ret_us = kind, self._world.loop.now_us
        if error is not None:
            op.reason = error.reason
        what = f"{op.name} {op.task_id} {kind} {op.reason if kind is not Kind.OK else ''}"
        state = "" if op.view is None else f"{op.view.state} rev {op.view.revision}"
        self._world.history.trace(self.name, f"{what} {state}")
        if isinstance(error, (TooLate, TaskNotFound, AlreadyExists)) or error is None:
            return
        self._world.history.problem(self.name, f"{what}: unexpected {error.reason}: {error}")

    def _pause(self, seconds: float) -> Awaitable[None]:
        return self._clock.sleep_ms(max(0.0, seconds) * 1_000)


def _is_over(answer: TaskView | TimeballError) -> bool:
    return not isinstance(answer, TaskView) or answer.terminal
