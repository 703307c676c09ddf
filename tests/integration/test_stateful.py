"""Random walks through the public API of dev mode on a file, with a clock that the test sets.

The model is a dictionary of tasks (tests/support/task_book.py). After each step everything that is
due has run, everything else has not, and what the API says is what the model expects; also after
the server was stopped and started again.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import uuid
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
import timeball
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from timeball._identifiers import new_request_id
from timeball.errors import (
    AlreadyExists,
    FailedPrecondition,
    RequestIdReused,
    StaleEtag,
    TaskNotFound,
    TooLate,
    WaitTimeout,
)
from timeball.registry import Handler
from timeball.states import TaskState, state_of
from timeball.v1 import task_pb2

from tests.support.leaping_clock import LeapingClock
from tests.support.polls import eventually
from tests.support.task_book import ATTEMPTS, RETRY_MS, Kind, Known, Run, TaskBook
from timeball_server.dev.wiring import DevCluster, DevConfig
from timeball_server.rpc.auth import OpenLoopback

T = TypeVar("T")
LISTEN: Final = "127.0.0.1:0"
EXAMPLES: Final = 20 if os.environ.get("TIMEBALL_LONG") else 7
"""Walks; each takes about two seconds."""
STEPS: Final = 25
MARGIN_MS: Final = 12_000
"""What is due so soon may become due while a call is under way."""
AHEAD_MS: Final = st.sampled_from([30_000, 90_000, 150_000, 610_000, 3_630_000])
LEAPS_MS: Final = st.sampled_from([20_000, 40_000, 100_000, 700_000])
KINDS: Final = st.sampled_from(list(Kind))
BACK_MS: Final = 7_000
CHOICES: Final = st.integers(min_value=0, max_value=1_000)
LATER_MS: Final = 86_400_000


class Handlers:
    """What the executor of the server runs; it outlives restarts."""

    def __init__(self, clock: LeapingClock) -> None:
        self._clock = clock
        self.runs: list[Run] = []

    def all(self) -> dict[str, Handler]:
        made = {
            Kind.SUCCEED: self.succeed,
            Kind.FAIL_ONCE: self.fail_once,
            Kind.FAIL: self.fail,
            Kind.REFUSE: self.refuse,
        }
        return {name.value: Handler(name.value, function) for name, function in made.items()}

    def _began(self, number: int) -> int:
        context = timeball.current()
        started_ms = self._clock.now().wall_ms
        self.runs.append(Run(context.task_id, context.attempt, number, started_ms))
        return context.attempt

    async def succeed(self, number: int) -> int:
        self._began(number)
        return number

    async def fail_once(self, number: int) -> int:
        if self._began(number) == 1:
            raise ConnectionError("the first attempt is not lucky")
        return number

    async def fail(self, number: int) -> None:
        self._began(number)
        raise ConnectionError("no attempt is")

    async def refuse(self, number: int) -> None:
        self._began(number)
        raise timeball.Fail("never")


class Server:
    """Dev mode in this process, on a file, behind its real sockets."""

    def __init__(self, data: Path) -> None:
        self.clock = LeapingClock()
        self.handlers = Handlers(self.clock)
        self._data = data
        self._cluster: DevCluster | None = None
        self._client: timeball.AsyncClient | None = None

    @property
    def client(self) -> timeball.AsyncClient:
        assert self._client is not None, "the server was not started"
        return self._client

    async def start(self) -> None:
        config = DevConfig(listen=LISTEN, data=self._data, slots=50, start_log=None, version="test")
        handlers = self.handlers.all()
        self._cluster = DevCluster(config, OpenLoopback(LISTEN), handlers, clock=self.clock)
        await self._cluster.start()
        self._client = timeball.AsyncClient(self._cluster.address)

    async def stop(self) -> None:
        await self.client.close()
        assert self._cluster is not None
        await self._cluster.stop()


class Machine(RuleBasedStateMachine):
    """One walk: a fresh file, and a model of what was promised on it."""

    def __init__(self) -> None:
        super().__init__()
        self.book = TaskBook()
        self.ids = random.Random(1)
        self.read = 0
        self.numbers = 0
        self.folder = tempfile.TemporaryDirectory(prefix="timeball-walk-")
        self.runner = asyncio.Runner()
        self.server = Server(Path(self.folder.name) / "walk.db")
        self.do(self.server.start())

    def do(self, main: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(main)

    def next_number(self) -> int:
        """A number that no task of this walk had yet."""
        self.numbers += 1
        return self.numbers

    def now_ms(self) -> int:
        return self.server.clock.now().wall_ms

    def chosen(self, known: Sequence[Known], choice: int) -> Known:
        return known[choice % len(known)]

    # What callers do ----------------------------------------------------------------------------

    @rule(kind=KINDS)
    def create_immediate(self, kind: Kind) -> None:
        self._create(kind, None)

    @rule(kind=KINDS, ahead_ms=AHEAD_MS)
    def create_future(self, kind: Kind, ahead_ms: int) -> None:
        self._create(kind, self.now_ms() + ahead_ms)

    def _create(self, kind: Kind, due_ms: int | None) -> None:
        number = self.next_number()
        request_id = new_uuid(self.ids)
        if number % 2:  # half of the callers have keys with a time stamp
            request_id = new_request_id(self.now_ms(), self.ids)
        asked_ms = self.now_ms()
        made = self.do(self.server.client.create(body(kind, number, due_ms), request_id=request_id))
        self.book.add(
            Known(
                task_id=id_of(made),
                number=number,
                asked=number,
                kind=kind,
                asked_due_ms=due_ms,
                due_ms=asked_ms if due_ms is None else due_ms,
                request_id=request_id,
            )
        )
        told_ms = made.due_time.ToMilliseconds()
        assert told_ms == due_ms or (due_ms is None and asked_ms <= told_ms <= self.now_ms())

    @precondition(lambda self: self.book.asked_for())
    @rule(choice=CHOICES)
    def repeat_a_request(self, choice: int) -> None:
        known = self.chosen(self.book.asked_for(), choice)
        task = body(known.kind, known.asked, known.asked_due_ms)
        made = self.do(self.server.client.create(task, request_id=known.request_id))
        assert id_of(made) == known.task_id

    @precondition(lambda self: self.book.asked_for())
    @rule(choice=CHOICES)
    def use_a_request_id_for_something_else(self, choice: int) -> None:
        known = self.chosen(self.book.asked_for(), choice)
        other = body(known.kind, known.asked + 1_000_000, known.asked_due_ms)
        with pytest.raises(RequestIdReused):
            self.do(self.server.client.create(other, request_id=known.request_id))

    @precondition(lambda self: self.book.waiting(self.now_ms(), MARGIN_MS))
    @rule(choice=CHOICES)
    def cancel_what_waits(self, choice: int) -> None:
        known = self.chosen(self.book.waiting(self.now_ms(), MARGIN_MS), choice)
        request_id = new_uuid(self.ids)
        for _ in range(2):  # the repetition of a wish is answered like the wish
            ended = self.do(self.server.client.cancel(known.task_id, request_id=request_id))
            assert state_of(ended.state) is timeball.states.TaskState.CANCELLED
            assert list(ended.unaccounted) == []
        known.cancelled = True

    @precondition(lambda self: self.book.ended())
    @rule(choice=CHOICES)
    def cancel_what_has_ended(self, choice: int) -> None:
        known = self.chosen(self.book.ended(), choice)
        cancelling = self.server.client.cancel(known.task_id, request_id=new_uuid(self.ids))
        if known.cancelled:  # what was wished is so already
            assert state_of(self.do(cancelling).state) is known.state
            return
        with pytest.raises(TooLate):
            self.do(cancelling)

    @precondition(lambda self: self.book.waiting(self.now_ms(), MARGIN_MS))
    @rule(choice=CHOICES, with_etag=st.booleans())
    def update_what_waits(self, choice: int, with_etag: bool) -> None:
        known = self.chosen(self.book.waiting(self.now_ms(), MARGIN_MS), choice)
        before = self.do(self.server.client.get(known.task_id))
        number, request_id = self.next_number(), new_uuid(self.ids)
        etag = before.etag if with_etag else ""
        for _ in range(2):
            changed = self.do(
                self.server.client.update(
                    known.task_id, {"number": number}, etag=etag, request_id=request_id
                )
            )
            assert changed.etag != before.etag
            assert changed.due_time == before.due_time
        known.number = number

    @precondition(lambda self: self.book.waiting(self.now_ms(), MARGIN_MS))
    @rule(choice=CHOICES, ahead_ms=AHEAD_MS)
    def move_what_waits(self, choice: int, ahead_ms: int) -> None:
        known = self.chosen(self.book.waiting(self.now_ms(), MARGIN_MS), choice)
        due_ms = self.now_ms() + ahead_ms
        at = datetime.fromtimestamp(due_ms / 1_000, UTC)
        moved = self.do(self.server.client.reschedule(known.task_id, at=at))
        assert moved.due_time.ToMilliseconds() == due_ms
        known.moved_ms = due_ms

    @precondition(lambda self: self.book.waiting(self.now_ms(), MARGIN_MS))
    @rule(choice=CHOICES)
    def retry_what_waits(self, choice: int) -> None:
        known = self.chosen(self.book.waiting(self.now_ms(), MARGIN_MS), choice)
        known.moved_ms = self.now_ms()
        assert id_of(self.do(self.server.client.retry(known.task_id))) == known.task_id

    @precondition(lambda self: self.book.waiting(self.now_ms(), MARGIN_MS))
    @rule(choice=CHOICES)
    def change_what_waits_in_a_way_that_is_refused(self, choice: int) -> None:
        known = self.chosen(self.book.waiting(self.now_ms(), MARGIN_MS), choice)
        with pytest.raises(StaleEtag):
            self.do(self.server.client.update(known.task_id, priority=8, etag="r0"))
        with pytest.raises(StaleEtag):
            self.do(self.server.client.reschedule(known.task_id, etag="r999999"))
        with pytest.raises(FailedPrecondition):
            self.do(self.server.client.delete(known.task_id))

    @precondition(lambda self: self.book.ended())
    @rule(choice=CHOICES)
    def change_what_has_ended(self, choice: int) -> None:
        known = self.chosen(self.book.ended(), choice)
        with pytest.raises(TooLate):
            self.do(self.server.client.update(known.task_id, priority=8))
        with pytest.raises(TooLate):
            self.do(self.server.client.reschedule(known.task_id))

    @precondition(lambda self: self.book.ended())
    @rule(choice=CHOICES)
    def delete_what_has_ended(self, choice: int) -> None:
        known = self.chosen(self.book.ended(), choice)
        request_id = new_uuid(self.ids)
        for _ in range(2):
            self.do(self.server.client.delete(known.task_id, request_id=request_id))
        self.book.delete(known)

    @precondition(lambda self: self.book.ended())
    @rule(choice=CHOICES)
    def retry_what_has_ended(self, choice: int) -> None:
        known = self.chosen(self.book.ended(), choice)
        asked_ms, retrying = self.now_ms(), self.server.client.retry(known.task_id)
        if known.state is not TaskState.FAILED:
            with pytest.raises(FailedPrecondition):
                self.do(retrying)
        elif known.again in self.book.deleted:
            with pytest.raises(AlreadyExists):
                self.do(retrying)
        else:
            made = self.do(retrying)
            assert made.redrive_of == self.do(self.server.client.get(known.task_id)).name
            assert known.again in ("", id_of(made))
            if not known.again:
                self._made_again(known, id_of(made), asked_ms)

    def _made_again(self, known: Known, task_id: str, asked_ms: int) -> None:
        known.again = task_id
        self.book.add(
            Known(
                task_id=task_id,
                number=known.number,
                asked=known.number,
                kind=known.kind,
                asked_due_ms=None,
                due_ms=asked_ms,
                request_id="",
            )
        )

    @precondition(lambda self: self.book.deleted)
    @rule(choice=CHOICES)
    def repeat_the_request_of_what_was_deleted(self, choice: int) -> None:
        known = self.chosen([*self.book.deleted.values()], choice)
        if known.request_id:
            task = body(known.kind, known.asked, known.asked_due_ms)
            with pytest.raises(AlreadyExists):
                self.do(self.server.client.create(task, request_id=known.request_id))

    @precondition(lambda self: self.book.ended())
    @rule(choice=CHOICES)
    def wait_for_what_has_ended(self, choice: int) -> None:
        known = self.chosen(self.book.ended(), choice)
        found = self.do(self.server.client.wait(known.task_id, timeout="5s"))
        assert state_of(found.state) is known.state

    @precondition(lambda self: self.book.waiting(self.now_ms(), MARGIN_MS))
    @rule(choice=CHOICES)
    def wait_for_what_has_not_ended(self, choice: int) -> None:
        known = self.chosen(self.book.waiting(self.now_ms(), MARGIN_MS), choice)
        with pytest.raises(WaitTimeout):
            self.do(self.server.client.wait(known.task_id, timeout="50ms"))

    @rule(page_size=st.sampled_from([1, 3, 100]))
    def list_everything(self, page_size: int) -> None:
        found = self.do(self._listed(page_size))
        assert sorted(found) == sorted(self.book.tasks)

    async def _listed(self, page_size: int) -> list[str]:
        """Also what was created later than now, before the clock was set back."""
        now = datetime.fromtimestamp(self.now_ms() / 1_000, UTC)
        listing = self.server.client.list(
            page_size=page_size,
            created_from=now - timedelta(days=6),
            created_to=now + timedelta(minutes=10),
        )
        return [id_of(each) async for each in listing]

    # What happens to the server -----------------------------------------------------------------

    @rule(duration_ms=LEAPS_MS)
    def time_goes_on(self, duration_ms: int) -> None:
        self.server.clock.leap(duration_ms)

    @rule()
    def the_clock_is_set_back(self) -> None:
        self.server.clock.leap(-BACK_MS)

    @rule()
    def restart(self) -> None:
        self.do(self.server.stop())
        self.do(self.server.start())

    # What must be true after each step ----------------------------------------------------------

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        """What is due has run, nothing else has, and the service says so."""
        self.do(eventually(self._nothing_is_due, "everything due has run"))
        differences: list[str] = []
        try:
            self.do(eventually(lambda: self._agrees(differences), "the service agrees"))
        except AssertionError as late:
            raise AssertionError("\n".join(differences)) from late

    async def _nothing_is_due(self) -> bool:
        for run in self.server.handlers.runs[self.read :]:
            self.read += 1
            self.book.note(run)
        return not self.book.due(self.now_ms())

    async def _agrees(self, differences: list[str]) -> bool:
        tasks = [*self.book.tasks.values()]
        found = await self.server.client.get_many([each.task_id for each in tasks])
        pairs = zip(tasks, found, strict=True)
        differences[:] = [words for one, other in pairs if (words := difference(one, other))]
        gone = await self.server.client.get_many([*self.book.deleted])
        differences += [f"{each!r} was deleted" for each in gone if not is_not_found(each)]
        return not differences

    def teardown(self) -> None:
        self.server.clock.leap(LATER_MS)
        for _ in range(ATTEMPTS):
            self.everything_is_as_the_model_says()
            self.server.clock.leap(2 * RETRY_MS)
        assert all(each.has_ended for each in self.book.tasks.values())
        self.do(self.server.stop())
        self.runner.close()
        self.folder.cleanup()


def difference(known: Known, found: task_pb2.Task | timeball.TimeballError) -> str:
    """What the service says other than the model; nothing when they agree."""
    if isinstance(found, timeball.TimeballError):
        return f"{known} cannot be read: {found!r}"
    said, expected = (state_of(found.state), found.attempt), (known.state, len(known.runs))
    return "" if said == expected else f"{known} should be {expected} and is {said}"


def is_not_found(found: task_pb2.Task | timeball.TimeballError) -> bool:
    return isinstance(found, TaskNotFound)


def body(kind: Kind, number: int, due_ms: int | None) -> task_pb2.Task:
    """A task as the API takes it: three attempts, fifty seconds apart."""
    task = task_pb2.Task(
        handler=kind.value,
        payload=task_pb2.Payload(content_type="application/json", data=b'{"number":%d}' % number),
        retry=task_pb2.RetryPolicy(max_attempts=ATTEMPTS, coefficient=1.0, jitter=0.0),
    )
    task.retry.initial_delay.FromMilliseconds(RETRY_MS)
    if due_ms is not None:
        task.run_time.FromMilliseconds(due_ms)
    return task


def id_of(task: task_pb2.Task) -> str:
    return task.name.rpartition("/")[2]


def new_uuid(source: random.Random) -> str:
    return str(uuid.UUID(int=source.getrandbits(128), version=4))


@pytest.mark.timeout(60 + 15 * EXAMPLES)
def test_walks_through_the_api_end_where_the_model_does() -> None:
    # A walk takes real time: a failing one is shown as it was, not made smaller.
    walks = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, phases=(Phase.explicit, Phase.generate)
    )
    run_state_machine_as_test(Machine, settings=walks)
