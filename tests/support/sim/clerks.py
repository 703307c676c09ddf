"""A client that asks at the corners of the API: once more, too late, too far, of what never was.

What it asks about falls due when the run is long over, so that nothing but its requests changes
it; what must have run is made like any other task. Two coordinators answer in turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from coordinator.api import TaskApi
from coordinator.requests import (
    Caller,
    CancelRequest,
    CreateRequest,
    DeleteRequest,
    RescheduleRequest,
    UpdateRequest,
)
from tests.support.checker.dealings import GONE, WELL, Corner
from tests.support.checker.records import Call
from tests.support.sim.clients import Client, Wanted, addressed
from tests.support.sim.keys import NAMESPACES
from tests.support.sim.tellers import Ask, Teller, shown
from tests.support.sim.testimony import TAKEN_OVER
from tests.support.sim.world import LAYOUT, World
from timeball_server.core.ids import TaskId
from timeball_server.core.minting import CreateTime, fresh_request_id, mint
from timeball_server.core.model import Payload, TaskView

HOUR_MS: Final = 3_600_000
HORIZON_MS: Final = 5 * 366 * 24 * HOUR_MS
"""So far ahead a task may lie, as docs/limits.md has it."""
SLACK_MS: Final = 1_000
"""Longer than a request takes."""
NEXT_MINUTE_S: Final = 61.0
FORGET_S: Final = 6.0
"""So long a coordinator may show what another one has deleted."""
LONGEST_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A task and the request that made it."""

    task_id: TaskId
    request: CreateRequest

    @property
    def due_ms(self) -> int:
        """When it is to start."""
        return self.request.time.run_ms or 0


class Clerk:
    """Asks about tasks."""

    def __init__(self, world: World, name: str) -> None:
        self._by_key: list[Made] = []
        self._client = Client(world, name)
        self._teller = Teller(world, name, self._client.part_of)

    async def plan(self, rounds: int) -> None:
        """Go through all corners so often."""
        for _ in range(rounds):
            await self._never_was()
            await self._makes()
            await self._changes()
            await self._ends()
            await self._has_run()
            await self._teller.pause(self._teller.rng.uniform(0.2, 3))
        await self._teller.pause(NEXT_MINUTE_S if self._by_key else 0.0)
        for made in self._by_key:  # a minute later a request of now would have another address
            for resend in (False, True):
                ask = self._create(made.request, resend=resend)
                await self._deal(Corner.AGAIN, "create by a key", made, ask)

    # What is asked ------------------------------------------------------------------------------

    def _wanted(self, due_ms: int, request_id: bytes | None = None) -> Made:
        spec, _ = self._client.task("", None, 0)
        spec = replace(spec, namespace=NAMESPACES[0], priority=4, labels=())
        time, request_id = CreateTime(run_ms=due_ms), request_id or self._teller.request_id()
        minted = mint(
            NAMESPACES[0], request_id, time, resend=False, now_ms=self._teller.now_ms, layout=LAYOUT
        )
        request = CreateRequest(spec=spec, time=time, request_id=request_id)
        return Made(task_id=minted.task_id, request=request)

    def _far(self) -> Made:
        """A task that is due when the run is long over."""
        return self._wanted(self._teller.now_ms + HOUR_MS + self._teller.rng.randrange(HOUR_MS))

    def _create(self, request: CreateRequest, *, resend: bool = False) -> Ask:
        async def ask(api: TaskApi) -> Any:
            wanted = replace(request, resend=resend)
            (answer,) = await api.create(self._teller.caller, [wanted], 8_000)
            return answer

        return ask

    def _get(self, task_id: TaskId, caller: Caller | None = None) -> Ask:
        async def ask(api: TaskApi) -> Any:
            return (await api.get(caller or self._teller.caller, task_id, 8_000)).task

        return ask

    def _look(self, task_id: TaskId) -> Callable[[], Awaitable[str]]:
        async def look() -> str:
            said, answer = await self._teller.ask(self._get(task_id))
            events = [] if answer is None else answer.journal
            count = sum(each.kind not in TAKEN_OVER for each in events)
            return f"{shown(answer)} events {count}" if said == WELL else said

        return look

    def _cancel(
        self, task_id: TaskId, *, terminate: bool = False, caller: Caller | None = None
    ) -> Ask:
        request = CancelRequest(
            task_id=task_id, request_id=self._teller.request_id(), terminate=terminate
        )

        async def ask(api: TaskApi) -> Any:
            return await api.cancel(caller or self._teller.caller, request, 8_000)

        return ask

    def _update(
        self,
        made: Made,
        fields: tuple[str, ...] = ("priority",),
        *,
        request_id: bytes | None = None,
        revision: int | None = None,
        resend: bool = False,
        caller: Caller | None = None,
        **facts: Any,
    ) -> Ask:
        request = UpdateRequest(
            task_id=made.task_id,
            spec=replace(made.request.spec, **facts),
            fields=fields,
            revision=revision,
            request_id=request_id or self._teller.request_id(),
            resend=resend,
        )

        async def ask(api: TaskApi) -> Any:
            return await api.update(caller or self._teller.caller, request, 8_000)

        return ask

    def _move(
        self,
        task_id: TaskId,
        due_ms: int | None,
        *,
        delay_ms: int = 0,
        request_id: bytes | None = None,
        revision: int | None = None,
        resend: bool = False,
        caller: Caller | None = None,
    ) -> Ask:
        request = RescheduleRequest(
            task_id=task_id,
            due_ms=due_ms,
            delay_ms=delay_ms,
            revision=revision,
            request_id=request_id or self._teller.request_id(),
            resend=resend,
        )

        async def ask(api: TaskApi) -> Any:
            return await api.reschedule(caller or self._teller.caller, request, 8_000)

        return ask

    def _delete(
        self,
        task_id: TaskId,
        *,
        request_id: bytes | None = None,
        revision: int | None = None,
        resend: bool = False,
        caller: Caller | None = None,
    ) -> Ask:
        request = DeleteRequest(
            task_id=task_id,
            revision=revision,
            request_id=request_id or self._teller.request_id(),
            resend=resend,
        )

        async def ask(api: TaskApi) -> Any:
            return await api.delete(caller or self._teller.caller, request, 8_000)

        return ask

    def _others(self, task_id: TaskId, caller: Caller) -> dict[str, Ask]:
        """What else can be asked about a task."""

        async def explain(api: TaskApi) -> Any:
            return await api.explain(caller, task_id, 8_000)

        async def wait(api: TaskApi) -> Any:
            return await api.wait(caller, task_id, 5_000)

        async def watch(api: TaskApi) -> Any:
            watching = api.watch(caller, [task_id])
            (seen,) = await watching.changes()
            watching.close()
            return seen.answer

        return {"explain": explain, "wait": wait, "watch": watch}

    def _everything(self, made: Made, caller: Caller) -> dict[str, Ask]:
        """All that can be asked about a task."""
        task_id = made.task_id
        return {
            "get": self._get(task_id, caller),
            "update": self._update(made, priority=7, caller=caller),
            "reschedule": self._move(task_id, made.due_ms + 1, caller=caller),
            "delete": self._delete(task_id, caller=caller),
            **self._others(task_id, caller),
            "cancel": self._cancel(task_id, caller=caller),
            "terminate": self._cancel(task_id, terminate=True, caller=caller),
        }

    async def _deal(self, corner: Corner, what: str, made: Made, ask: Ask, wanted: str = "") -> Any:
        return await self._teller.deal(
            corner, what, str(made.task_id), ask, self._look(made.task_id), wanted
        )

    # The corners --------------------------------------------------------------------------------

    async def _never_was(self) -> None:
        """Nothing is said of what never was, and who cancels it sees to it that it never will."""
        made = self._far()
        for what, ask in self._everything(made, self._teller.caller).items():
            await self._deal(Corner.NEVER_WAS, what, made, ask)
        await self._deal(Corner.VOID, "create", made, self._create(made.request))
        await self._deal(Corner.VOID, "create", made, self._create(made.request, resend=True))

    async def _makes(self) -> None:
        """One request makes one task, whatever is asked with its id later."""
        teller, made = self._teller, self._far()
        request, spec = made.request, made.request.spec
        await self._deal(Corner.CHANGE, "create", made, self._create(request), f"due {made.due_ms}")
        other = replace(request, spec=replace(spec, priority=8))
        # The same minute, or it would have another address, and nobody could know.
        beside_ms = made.due_ms // 60_000 * 60_000 + (made.due_ms + 1) % 60_000
        moved = replace(request, time=CreateTime(run_ms=beside_ms))
        for resend in (False, True):
            await self._deal(Corner.AGAIN, "create", made, self._create(request, resend=resend))
            for body in (other, moved):
                ask = self._create(body, resend=resend)
                await self._deal(Corner.OTHER_BODY, "create", made, ask)
        for what, ask in self._everything(made, teller.stranger).items():
            await self._deal(Corner.FOREIGN, what, made, ask)
        both = self._far()
        rival = replace(both.request, spec=replace(both.request.spec, priority=8))
        asks = (self._create(both.request), self._create(rival))
        look = self._look(both.task_id)
        await teller.deal_twice(Corner.RIVALS, "create", str(both.task_id), asks, look)
        twins = self._far()
        asks = (self._create(twins.request), self._create(twins.request, resend=True))
        look = self._look(twins.task_id)
        await teller.deal_twice(Corner.TWINS, "create", str(twins.task_id), asks, look)
        await self._far_ahead(made)
        await self._makes_by_keys()

    async def _makes_by_keys(self) -> None:
        """A request id without a time, or of hours ago, is a key: it stands for one task."""
        teller = self._teller
        far = self._far().request
        old = fresh_request_id(teller.now_ms - 2 * HOUR_MS, teller.rng.randbytes(10))
        later = replace(far, time=CreateTime(run_ms=(far.time.run_ms or 0) + HOUR_MS))
        delayed = replace(far, time=CreateTime(delay_ms=2 * HOUR_MS))
        keys = ((self._key(), far, (later,)), (old, delayed, ()), (self._key(), delayed, ()))
        for key, first, others in keys:
            request = replace(first, request_id=key)
            said, answer = await teller.ask(self._create(request))
            task = answer.task_id if isinstance(answer, TaskView) else TaskId("")
            teller.note(Corner.CHANGE, "create by a key", str(task), said, GONE, "", str(task), "")
            if not task:
                continue
            made = Made(task_id=task, request=request)
            self._by_key.append(made)
            urgent = replace(request, spec=replace(request.spec, priority=8))
            for resend in (False, True):
                ask = self._create(request, resend=resend)
                await self._deal(Corner.AGAIN, "create", made, ask)
                for other in (urgent, *(replace(each, request_id=key) for each in others)):
                    ask = self._create(other, resend=resend)
                    await self._deal(Corner.OTHER_BODY, "create", made, ask)

    def _key(self) -> bytes:
        """A UUID of version 4."""
        raw = bytearray(self._teller.rng.randbytes(16))
        raw[6], raw[8] = 0x40 | raw[6] & 0x0F, 0x80 | raw[8] & 0x3F
        return bytes(raw)

    async def _far_ahead(self, made: Made) -> None:
        """Up to five years, and no further."""
        farthest_ms = self._teller.now_ms + HORIZON_MS
        within = self._wanted(farthest_ms)
        await self._deal(Corner.CHANGE, "create", within, self._create(within.request))
        beyond = self._wanted(farthest_ms + SLACK_MS)
        await self._deal(Corner.TOO_FAR, "create", beyond, self._create(beyond.request))
        delayed = replace(self._far().request, time=CreateTime(delay_ms=HORIZON_MS + SLACK_MS))
        await self._deal(Corner.TOO_FAR, "create", beyond, self._create(delayed))
        task_id = made.task_id
        await self._deal(
            Corner.TOO_FAR, "reschedule", made, self._move(task_id, farthest_ms + 2 * SLACK_MS)
        )
        late = self._move(task_id, None, delay_ms=HORIZON_MS + 2 * SLACK_MS)
        await self._deal(Corner.TOO_FAR, "reschedule", made, late)
        farthest_ms = self._teller.now_ms + HORIZON_MS
        ask = self._move(task_id, farthest_ms)
        await self._deal(Corner.CHANGE, "reschedule", made, ask, f"due {farthest_ms}")

    async def _changes(self) -> None:
        """Each change holds once, and none that was meant for something else."""
        made = self._far()
        await self._deal(Corner.CHANGE, "create", made, self._create(made.request))
        first, second = self._teller.request_id(), self._teller.request_id()
        ask = self._update(made, request_id=first, revision=1, priority=6)
        await self._deal(Corner.CHANGE, "update", made, ask, "priority 6")
        due_ms = made.due_ms + 77_000
        ask = self._move(made.task_id, due_ms, request_id=second, revision=2)
        await self._deal(Corner.CHANGE, "reschedule", made, ask, f"due {due_ms}")
        for resend in (False, True):
            ask = self._update(made, request_id=first, revision=1, resend=resend, priority=6)
            await self._deal(Corner.AGAIN, "update", made, ask)
            ask = self._move(made.task_id, due_ms, request_id=second, revision=2, resend=resend)
            await self._deal(Corner.AGAIN, "reschedule", made, ask)
            ask = self._update(made, request_id=first, resend=resend, priority=2)
            await self._deal(Corner.OTHER_BODY, "update", made, ask)
            ask = self._move(made.task_id, due_ms + 1, request_id=second, resend=resend)
            await self._deal(Corner.OTHER_BODY, "reschedule", made, ask)
        await self._deal(Corner.ALREADY, "update", made, self._update(made, priority=6))
        await self._deal(Corner.ALREADY, "reschedule", made, self._move(made.task_id, due_ms))
        for revision in (1, 2, 4):
            ask = self._update(made, revision=revision, priority=1)
            await self._deal(Corner.OLD, "update", made, ask)
            ask = self._move(made.task_id, due_ms + 2, revision=revision)
            await self._deal(Corner.OLD, "reschedule", made, ask)
        ask = self._update(made, ("handler",), handler="other")
        await self._deal(Corner.FIXED, "update", made, ask)
        await self._deal(Corner.FIXED, "delete", made, self._delete(made.task_id))
        retry = replace(made.request.spec.retry, max_attempts=9)
        ask = self._update(made, ("retry", "priority"), priority=5, retry=retry)
        await self._deal(Corner.CHANGE, "update", made, ask, "priority 5")

    async def _ends(self) -> None:
        """What was cancelled stays so, and what is deleted is gone."""
        made = self._far()
        task_id = made.task_id
        await self._deal(Corner.CHANGE, "create", made, self._create(made.request))
        ends = self._teller.rng.random() < 0.5
        ask = self._cancel(task_id, terminate=ends)
        wanted = "TERMINATED" if ends else "CANCELLED"
        await self._deal(Corner.CHANGE, "cancel", made, ask, wanted)
        await self._deal(Corner.AGAIN, "cancel", made, self._cancel(task_id))
        await self._deal(Corner.AGAIN, "terminate", made, self._cancel(task_id, terminate=True))
        await self._after_the_end(made)
        for revision in (1, 9):
            ask = self._delete(task_id, revision=revision)
            await self._deal(Corner.OLD, "delete", made, ask)
        request_id = self._teller.request_id()
        said, answer = await self._teller.ask(self._delete(task_id, request_id=request_id))
        await self._is_gone(made, request_id, said, shown(answer))

    async def _after_the_end(self, made: Made) -> None:
        """Nothing of it can be changed any more, and it is not made anew."""
        asks = {
            "update": self._update(made, priority=7),
            "reschedule": self._move(made.task_id, made.due_ms + 9),
            "reschedule to now": self._move(made.task_id, None),
        }
        for what, ask in asks.items():
            await self._deal(Corner.ENDED_TASK, what, made, ask)
        other = replace(made.request, spec=replace(made.request.spec, priority=8))
        for resend in (False, True):
            ask = self._create(made.request, resend=resend)
            await self._deal(Corner.AGAIN, "create", made, ask)
            ask = self._create(other, resend=resend)
            await self._deal(Corner.OTHER_BODY, "create", made, ask)

    async def _is_gone(self, made: Made, request_id: bytes, said: str, before: str) -> None:
        """To whoever asks, but for who asks for its deletion once more: he is told it as it was."""
        subject, look = str(made.task_id), self._look(made.task_id)
        await self._teller.pause(FORGET_S)
        self._teller.note(Corner.CHANGE, "delete", subject, said, before, "", await look(), GONE)
        ask = self._delete(made.task_id, request_id=request_id)
        said, answer = await self._teller.ask(ask)
        self._teller.note(Corner.AGAIN, "delete", subject, said, before, "", shown(answer), "")
        for what, ask in self._everything(made, self._teller.caller).items():
            await self._deal(Corner.DELETED, what, made, ask)
        for resend in (False, True):
            ask = self._create(made.request, resend=resend)
            await self._deal(Corner.VOID, "create", made, ask)

    async def _has_run(self) -> None:
        """What has run to its end can neither be cancelled nor changed."""
        wanted = self._soon()
        if await self._client.create(wanted) is None:
            return
        await self._client.wait(wanted.task_id, LONGEST_S)
        request = CreateRequest(spec=wanted.spec, time=wanted.time, request_id=wanted.request_id)
        made = Made(task_id=wanted.task_id, request=request)
        for terminate in (False, True):
            ask = self._cancel(made.task_id, terminate=terminate)
            await self._deal(Corner.ENDED_TASK, "cancel", made, ask)
        await self._after_the_end(made)
        request_id = self._teller.request_id()
        delete = self._delete(made.task_id, request_id=request_id)
        op = self._client.begin(Call.DELETE, made.task_id)
        await self._client.insist(op, lambda api, _: delete(api))
        await self._is_gone(made, request_id, op.reason or WELL, shown(op.view))

    def _soon(self) -> Wanted:
        """A task that everybody may know of: it is due now."""
        request_id = self._teller.request_id()
        spec, wish = self._client.task(request_id.hex(), None, 0)
        facts = {
            "mark": request_id.hex(),
            "fails": 0,
            "work_ms": 5,
            "fatal": False,
            "poison": 0,
        }
        spec = replace(spec, payload=Payload(data=msgspec.json.encode(facts)), priority=4)
        return addressed(spec, wish, request_id, CreateTime(), self._teller.now_ms)
