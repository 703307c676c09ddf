"""Clients: they create, read, await and cancel through the coordinators, and write it all down.

A client repeats a call whose outcome it does not know with the same request id, marked as a
repetition, until it knows or loses patience.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec.structs import replace as replace_record
from timeball.errors import (
    AlreadyExists,
    FailedPrecondition,
    OutcomeUnknown,
    ResourceExhausted,
    StaleEtag,
    TaskExpired,
    TaskNotFound,
    TimeballError,
    TooLate,
    Unavailable,
)

from coordinator.api import TaskApi
from coordinator.node import CoordinatorNode
from coordinator.requests import Caller, CancelRequest, CreateRequest
from tests.support.checker.records import Call, Kind, Mode, Wish
from tests.support.sim.handlers import WORK, heartbeat_ms
from tests.support.sim.history import Op
from tests.support.sim.keys import KEYS, NAMESPACES
from tests.support.sim.revisers import Reviser
from tests.support.sim.world import LAYOUT, World
from tests.support.virtual_loop import START_WALL_MS, VirtualClock, known_since_start_us
from timeball_server.core.ids import TaskId
from timeball_server.core.minting import CreateTime, fresh_request_id, mint
from timeball_server.core.model import (
    DeliveryMode,
    Payload,
    RetryPolicy,
    ScheduleView,
    TaskSpec,
    TaskView,
    Timeouts,
)

NOTED_US = 1_000_000
"""Longer than it takes anybody to answer, or to say that he cannot, when nothing keeps him."""
LATE_AGAIN_SHARE = 0.3
STRANGER_SHARE = 0.04
"""Of operations, those that are about a task of somebody else's namespace."""
CALL_S = 12.0
LOOK_S = 6.0
FOLLOWED_SHARE = 0.06
HASTY_SHARE = 0.03
FARTHEST_MS = 45_000
LOOKS = 3
OLDEST_MS = 600_000
TRIES = 12
PATIENCE = (1, 2, TRIES, TRIES)
"""How often clients try to create a task before they give up not knowing."""
COORDINATORS = ("coordinator-1:1", "coordinator-2:1")
EXPECTED = (TooLate, TaskNotFound, AlreadyExists, StaleEtag)
Ask = Callable[[Any, bool], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A task as a client asks for it, and as the judge is told."""

    spec: TaskSpec
    wish: Wish
    request_id: bytes
    task_id: TaskId
    due_ms: int | None
    delay_ms: int

    @property
    def time(self) -> CreateTime:
        """When it is to start."""
        return CreateTime(run_ms=self.due_ms, delay_ms=self.delay_ms)


def addressed(
    spec: TaskSpec, wish: Wish, request_id: bytes, time: CreateTime, now_ms: int
) -> Wanted:
    """A task at the address that its request and its time name."""
    minted = mint(
        spec.namespace,
        request_id,
        time,
        resend=False,
        now_ms=now_ms,
        layout=LAYOUT,
        key=spec.concurrency_key,
    )
    return Wanted(
        spec=spec,
        wish=wish,
        request_id=request_id,
        task_id=minted.task_id,
        due_ms=time.run_ms,
        delay_ms=time.delay_ms,
    )


class Client:
    """One client. Its operations are sequential; it is never frozen."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.namespace = NAMESPACES[name.endswith(("1", "4", "7"))]
        self.tasks: list[str] = []
        self._world = world
        self._rng = random.Random(f"{world.seed} {name}")
        self._follows = random.Random(f"{world.seed} {name} follows")
        self._clock = VirtualClock(world.loop)
        self.caller = Caller(self.namespace, name)
        self._strange = random.Random(f"{world.seed} {name} is strange")
        self._keyed = random.Random(f"{world.seed} {name} has keys")
        self.coordinators: tuple[str, ...] = COORDINATORS
        self.reviser = Reviser(world, self)

    async def run(self, creates: int, until_us: int) -> None:
        """Create that many tasks, spread over the time, and do other things in between."""
        for left in range(creates, 0, -1):
            gap_s = max(0.0, (until_us - self._world.loop.now_us) / 1e6) / left
            await self._pause(self._rng.uniform(0, 1.6 * gap_s))
            await self._one()

    async def _one(self) -> None:
        rng = self._rng
        wanted = self._wanted()
        if rng.random() < HASTY_SHARE:
            self._later(self._cancel_meanwhile(wanted.task_id))
        created = await self.create(wanted)
        if created is None:
            return
        self.tasks.append(created)
        self.reviser.maybe(wanted, created)
        if rng.random() < 0.15:
            await self.get(rng.choice(self.tasks))
        if self._strange.random() < STRANGER_SHARE:
            await self._trespass()
        if rng.random() < 0.1:
            self._later(self.wait(created, rng.uniform(1, 30)))
        if rng.random() < self._world.profile.cancel_share:
            self._later(self._cancel_around(created))
        if rng.random() < 0.1:
            self._later(self._watch(created))
        if self._follows.random() < FOLLOWED_SHARE:
            self._later(self.follow(created))
        if self._world.profile.retention_s and self._strange.random() < LATE_AGAIN_SHARE:
            self._later(self._again_late(wanted))

    def _later(self, work: Coroutine[Any, Any, object]) -> None:
        """Something that goes on beside the next operations."""
        self._world.loop.create_task(work, name=f"{self.name} beside")

    def _wanted(self) -> Wanted:
        rng, now_ms = self._rng, START_WALL_MS + self._world.loop.now_us // 1_000
        due_ms, delay_ms = None, 0
        drawn = rng.random()
        if drawn < 0.25:
            due_ms = now_ms + rng.randint(0, 10_000)
        elif drawn < 0.55:
            due_ms = now_ms + rng.randint(0, FARTHEST_MS)
        elif drawn < 0.7:
            delay_ms = rng.randint(1, FARTHEST_MS)
        old = rng.random() < self._world.profile.old_share
        made_ms = now_ms - rng.randint(60_000, OLDEST_MS) if old else now_ms
        request_id = fresh_request_id(made_ms, rng.randbytes(10))
        spec, wish = self._with_key(*self.task(request_id.hex(), due_ms, delay_ms))
        time = CreateTime(run_ms=due_ms, delay_ms=delay_ms)
        return addressed(spec, wish, request_id, time, now_ms)

    def _with_key(self, spec: TaskSpec, wish: Wish) -> tuple[TaskSpec, Wish]:
        """Some share a key with others, of this namespace; but nobody waits for work of minutes."""
        profile = self._world.profile
        if self._keyed.random() >= profile.keyed_share or profile.long_share:
            return spec, wish
        key = self._keyed.choice(list(KEYS))
        named = f"{self.namespace}/{key}"
        return replace(spec, concurrency_key=key), replace_record(wish, key=named, most=KEYS[key])

    def task(self, mark: str, due_ms: int | None, delay_ms: int) -> tuple[TaskSpec, Wish]:
        """What a task does, how often it fails, and what becomes of its executor."""
        rng, profile = self._rng, self._world.profile
        mode = rng.choice(list(DeliveryMode))
        fails = rng.choice((0, 0, 0, 0, 1, 2)) if rng.random() > 0.06 else 99
        most = rng.choice((3, 4, 5))
        long = rng.random() < profile.long_share
        facts = {
            "mark": mark,
            "fails": 0 if long else fails,
            "work_ms": round(profile.long_s * 1_000)
            if long
            else rng.choice((0, 5, 50, 300, 2_000)),
            "fatal": rng.random() < 0.04,
            "poison": rng.randint(1, 2) if rng.random() < profile.poison_share else 0,
        }
        spec = TaskSpec(
            namespace=self.namespace,
            owner=self.name,
            handler=WORK,
            payload=Payload(data=msgspec.json.encode(facts)),
            priority=rng.choice((0, 4, 4, 4, 8, 9)),
            mode=mode,
            timeouts=Timeouts(heartbeat_ms=heartbeat_ms(mark, profile.beating_share)),
            retry=RetryPolicy(max_attempts=most, initial_delay_ms=500, max_delay_ms=4_000),
        )
        wish = Wish(
            mode=Mode(mode),
            due_us=known_since_start_us(due_ms),
            delay_us=delay_ms * 1_000,
            max_attempts=most,
            payload=mark,
        )
        return spec, wish

    async def create(self, wanted: Wanted, *, resend: bool = False, tries: int = 0) -> str | None:
        """Create a task; its id if the client learned it. Tries 0 = as often as it likes."""

        async def ask(api: TaskApi, resend: bool) -> TaskView:
            request = CreateRequest(
                spec=wanted.spec, time=wanted.time, request_id=wanted.request_id, resend=resend
            )
            (answer,) = await api.create(self.caller, [request], 8_000)
            if isinstance(answer, TimeballError):
                raise answer
            return answer

        op = self._begin_create(wanted)
        again = self._rng.random() < 0.05
        await self.insist(op, ask, resend=resend, tries=self._rng.choice(PATIENCE))
        if again and op.kind is Kind.OK:
            await self.insist(self._begin_create(wanted), ask, resend=True)
        return op.task_id if op.kind is Kind.OK else None

    async def _again_late(self, wanted: Wanted) -> None:
        """Send a creation again when its task may have expired: it is never created anew."""
        kept_s = self._world.profile.retention_s
        await self._pause(self._strange.uniform(0.8 * kept_s, 4 * kept_s))
        await self.create(wanted, resend=True)

    def _begin_create(self, wanted: Wanted) -> Op:
        op = self.begin(Call.CREATE, wanted.task_id)
        op.wish, op.request_id, op.due_ms = wanted.wish, wanted.request_id, wanted.due_ms
        return op

    async def get(self, task_id: str, op: Op | None = None) -> Op:
        """Read a task."""

        async def ask(api: TaskApi, resend: bool) -> TaskView:
            return (await api.get(self.caller, TaskId(task_id), 8_000)).task

        op = op or self.begin(Call.GET, task_id)
        await self.insist(op, ask)
        return op

    async def wait(self, task_id: str, limit_s: float) -> Op:
        """Await a task."""

        async def ask(api: TaskApi, resend: bool) -> TaskView:
            return await api.wait(self.caller, TaskId(task_id), round(limit_s * 1_000))

        op = self.begin(Call.WAIT, task_id)
        await self.insist(op, ask, limit_s=limit_s + CALL_S)
        return op

    async def cancel(self, task_id: str, op: Op | None = None, tries: int = TRIES) -> Op:
        """Cancel a task."""
        request_id = fresh_request_id(0, self._rng.randbytes(10))

        async def ask(api: TaskApi, resend: bool) -> TaskView:
            request = CancelRequest(task_id=TaskId(task_id), request_id=request_id, resend=resend)
            return await api.cancel(self.caller, request, 8_000)

        op = op or self.begin(Call.CANCEL, task_id)
        await self.insist(op, ask, tries=tries)
        return op

    async def _cancel_meanwhile(self, task_id: str) -> None:
        """Cancel a task that may not be there yet: its id is known before."""
        await self._pause(self._rng.expovariate(1 / 0.05))
        await self.cancel(task_id)

    async def _cancel_around(self, task_id: str) -> None:
        """Cancel close to the instant at which the task is due, or some time else."""
        ops = self._world.history.ops
        due_ms = next(op.due_ms for op in ops if op.task_id == task_id and op.wish is not None)
        now_ms = START_WALL_MS + self._world.loop.now_us // 1_000
        if due_ms is not None and self._rng.random() < 0.7:
            await self._pause((due_ms - now_ms) / 1_000 + self._rng.gauss(0, 0.3))
        else:
            await self._pause(self._rng.uniform(0, 10))
        op = await self.cancel(task_id, tries=self._rng.choice(PATIENCE))
        if op.kind is Kind.INFO:
            await self._watch(task_id)
        elif self._rng.random() < 0.5:
            await self.get(task_id)

    async def _trespass(self) -> None:
        """Ask for a task of another namespace, or try to change it: there is no such task."""
        ops = self._world.history.ops
        found = [self._strange.choice(ops) for _ in range(10)]
        made = [op for op in found if op.namespace != self.namespace and op.is_creation]
        if made:
            task_id, how = made[0].task_id, self._strange.choice((self.get, self.cancel))
            await how(task_id, self._foreign(how == self.get, task_id))

    def _foreign(self, looks: bool, task_id: str) -> Op:
        op = self.begin(Call.GET if looks else Call.CANCEL, task_id)
        op.is_foreign = True
        return op

    async def _watch(self, task_id: str) -> None:
        """Read one task again and again."""
        for _ in range(LOOKS):
            await self.get(task_id)
            await self._pause(self._rng.uniform(0.1, 4))

    async def follow(self, task_id: str) -> None:
        """Watch a task to its end, each time at some coordinator with the token of before."""
        history, token, over = self._world.history, "", False
        history.followed[task_id] = False
        while not over:
            op = self.begin(Call.WATCH, task_id)
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
                elif not (history.was_deleted(task_id) or isinstance(each, TaskExpired)):
                    history.problem(self.name, f"{task_id} was created and then {each!r}")
            self._end(op, Kind.OK if seen else Kind.FAIL)
            await self._clock.sleep_ms(self._follows.uniform(1, 200))
            over = any(_is_over(each) for each in seen)
        history.followed[task_id] = True

    async def _look(self, task_id: str, token: str) -> tuple[list[TaskView | TimeballError], str]:
        """What a stream tells for a while, or to the end, and where to go on."""

        async def ask(node: CoordinatorNode) -> tuple[list[TaskView | TimeballError], str]:
            watch = node.api.watch(self.caller, [TaskId(task_id)], token)
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
            return await self._world.network.call(self.name, address, f"watch {task_id}", ask)

    # One operation ------------------------------------------------------------------------------

    def begin(self, call: Call, task_id: str = "") -> Op:
        """Note that an operation begins."""
        world = self._world
        op = Op(
            client=self.name,
            namespace=self.namespace,
            call=call,
            task_id=task_id,
            inv_us=world.loop.now_us,
        )
        world.history.ops.append(op)
        return op

    async def insist(
        self, op: Op, ask: Ask, *, resend: bool = False, limit_s: float = CALL_S, tries: int = TRIES
    ) -> None:
        """Repeat until there is an answer; what is in doubt stays in doubt."""
        doubt = resend
        for attempt in range(tries):
            op.tries = attempt + 1
            try:
                view = await self._try(op, ask, doubt, limit_s)
            except (OutcomeUnknown, TimeoutError):
                doubt = True
                op.reason = "OUTCOME_UNKNOWN"
            except (Unavailable, ResourceExhausted) as refusal:
                op.reason = refusal.reason
            except TimeballError as error:
                self._end(op, Kind.FAIL, error)
                return
            else:
                self._answered(op, view)
                return
            await self._pause(self._rng.uniform(0.05, 2.0))
        # Where requests may arrive twice, a refusal says nothing of the other copy.
        certain = not doubt and not self._world.profile.twice_share
        self._end(op, Kind.FAIL if certain else Kind.INFO)

    def _answered(self, op: Op, view: TaskView | ScheduleView) -> None:
        op.view = view
        op.task_id = str(view.task_id if isinstance(view, TaskView) else view.schedule_id)
        self._end(op, Kind.OK)

    async def _try(self, op: Op, ask: Ask, doubt: bool, limit_s: float) -> TaskView | ScheduleView:
        address = self._rng.choice(self.coordinators)
        name, began_us = f"{op.call} {op.task_id}", self._world.loop.now_us
        try:
            async with asyncio.timeout(limit_s):
                answer: TaskView | ScheduleView = await self._world.network.call(
                    self.name, address, name, lambda service: ask(self.part_of(service), doubt)
                )
        finally:
            took_us = self._world.loop.now_us - began_us
            if took_us >= NOTED_US:
                op.stalls.append((began_us, took_us))
        return answer

    def part_of(self, service: CoordinatorNode) -> Any:
        """What this client talks to."""
        return service.api

    def _end(self, op: Op, kind: Kind, error: TimeballError | None = None) -> None:
        op.kind, op.ret_us = kind, self._world.loop.now_us
        if error is not None:
            op.reason = error.reason
        what = f"{op.call} {op.task_id} {kind} {op.reason if kind is not Kind.OK else ''}"
        state = f"{op.view.state} rev {op.view.revision}" if isinstance(op.view, TaskView) else ""
        self._world.history.trace(self.name, f"{what} {state}")
        if isinstance(error, EXPECTED) or error is None:
            return
        if op.call is Call.DELETE and isinstance(error, FailedPrecondition):
            return  # it has not ended
        if op.call is Call.CREATE_SCHEDULE and "would never fire" in str(error):
            return  # its end came before its creation did
        self._world.history.problem(self.name, f"{what}: unexpected {error.reason}: {error}")

    def _pause(self, seconds: float) -> Awaitable[None]:
        return self._clock.sleep_ms(max(0.0, seconds) * 1_000)


def _is_over(answer: TaskView | TimeballError) -> bool:
    return not isinstance(answer, TaskView) or answer.terminal
