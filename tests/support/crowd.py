"""The real engine over a crowd of due tasks and executors that work in virtual time.

Made for many tasks: the store says yes at once and keeps nothing, executors are queues of ends.
Every start is written down, so that a test can look at their order afterwards. One shard, one
node, no faults: what is judged here is who goes when, and where.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import CreateTask, Done
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.engine.node import handle, next_wake_ms
from timeball_server.core.engine.ready import ReadyQueue, Turn
from timeball_server.core.engine.state import Engine, EngineConfig
from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    Incarnation,
    NodeId,
    ShardId,
    TaskId,
    encode_id,
)
from timeball_server.core.journal import (
    Alarm,
    DueRow,
    EventKind,
    EventRef,
    EventRow,
    SpecDetail,
    State,
)
from timeball_server.core.messages import (
    Capacity,
    Dispatch,
    Fence,
    Finished,
    FromExecutor,
    Inventory,
    RunId,
    RunOrder,
    RunResult,
    Started,
    ToExecutor,
)
from timeball_server.core.model import Failure, Payload, RetryPolicy, TaskSpec

START_MS = 1_800_000_000_000 // 60_000 * 60_000
SHARD = ShardId(0)
EPOCH = Epoch(7)
_FORMER = Epoch(3)
_LEASE_MS = 24 * 3_600_000
_CHUNK = 1_000
_FAILURE = Failure(kind="ConnectionError", message="no")
_RESULT = Payload(data=b"1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Tasks alike. `fails` = attempts that fail before one succeeds.

    `takes_ms` is how long an attempt runs.
    """

    priority: int = 4
    fails: int = 0
    takes_ms: int = 500
    handler: str = "charge"
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(max_attempts=100))
    name: str = ""
    namespace: str = "shop"
    concurrency_key: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """One start, as the executor got it. `ms` counts from the beginning.

    `turn` is when its turn came: tasks that begin in one instant at several executors have been
    chosen one after the other. `number` is the task's.
    """

    turn: int
    kind: Kind
    number: int
    attempt: int
    ms: int
    due_ms: int
    priority: int
    executor: str
    end_ms: int

    @property
    def wait_ms(self) -> int:
        """How long after its due time, that is after its backoff, it started."""
        return self.ms - self.due_ms

    @property
    def is_retry(self) -> bool:
        """Whether an attempt failed before."""
        return self.attempt > 1


class Worker:
    """An executor. What it is sent starts at once and ends when its time is over.

    `speed` divides how long attempts take, `spread` is the share by which that varies. `outcome`
    may decide how an attempt ends; None = as its kind says. With `begins` False nothing that it is
    sent starts.
    """

    def __init__(
        self,
        name: str,
        *,
        slots: int,
        strength: int = 1,
        speed: float = 1.0,
        spread: float = 0.0,
        handlers: tuple[str, ...] = ("charge",),
        caps: tuple[tuple[str, int], ...] = (),
    ) -> None:
        self.facts = ExecutorFacts(
            node=NodeId(name),
            incarnation=Incarnation(1_000 + sum(map(ord, name)) * 31 + strength),
            strength=strength,
            slots=slots,
            labels=(),
            handlers=handlers,
            caps=caps,
        )
        self.speed = speed
        self.spread = spread
        self.busy_ms = 0
        self.ends: list[tuple[int, int, RunOrder]] = []
        self.outcome: Callable[[Start], Failure | None] | None = None
        self.begins = True

    @property
    def name(self) -> str:
        """Its node's name."""
        return self.facts.node

    @property
    def running(self) -> int:
        """Attempts under way."""
        return len(self.ends)


class Crowd:
    """A node with one shard, its executors, and a clock that the test moves.

    `stored` are tasks that an earlier owner has left: what they are and when they are due, in
    milliseconds from the beginning, at most 0. `wrong_ms` is what the node's wall clock shows
    beyond the time.
    """

    def __init__(
        self,
        *workers: Worker,
        stored: Iterable[tuple[Kind, int]] = (),
        seed: int = 1,
        config: EngineConfig | None = None,
    ) -> None:
        self.now_ms = START_MS
        self.wrong_ms = 0
        self._turns: dict[TaskId, int] = {}
        self._turns_made = 0
        ready = ReadyQueue(on_take=self._note_turn)
        self.engine = Engine("s1", 1, config or EngineConfig(), random.Random(seed), ready)
        self.workers = {worker.facts.incarnation: worker for worker in workers}
        self.kinds: list[Kind] = []
        self.starts: list[Start] = []
        self.waiting = 0
        self._by_id: dict[TaskId, int] = {}
        self._running: dict[RunId, Start] = {}
        self._specs: dict[Kind, TaskSpec] = {}
        self._numbers = count(1)
        self._chance = random.Random(seed)
        self._hints: list[DueRow] = []
        self._journals: dict[TaskId, list[EventRow]] = {}
        for kind, due_ms in stored:
            self._store(kind, START_MS + due_ms)
        self._feed(
            ev.LeaseProven(_LEASE_MS),
            ev.ShardAcquired(
                shard=SHARD,
                epoch=EPOCH,
                scan_from=minute_of(self.now_ms - 60_000),
                deleted_below=minute_of(0),
            ),
        )
        self._journals.clear()

    def _store(self, kind: Kind, due_ms: int) -> None:
        """A task that the shard's former owner has created, in the bucket of its due time."""
        task_id, _ = self._add(kind, due_ms)
        alarm = Alarm(due_ms, 1, _FORMER)
        self._hints.append(
            DueRow(
                minute=minute_of(due_ms),
                part=0,
                due_ms=due_ms,
                task_id=task_id,
                seq=1,
                epoch=_FORMER,
                handler=kind.handler,
                priority=kind.priority,
            )
        )
        row = EventRow(
            task_id=task_id,
            epoch=_FORMER,
            seq=1,
            kind=EventKind.CREATED,
            state=State.PENDING,
            alarm=alarm,
            attempt=0,
            run=None,
            executor=None,
            incarnation=Incarnation(0),
            prev_epoch=Epoch(0),
            spec_at=EventRef(1, _FORMER),
            revision=1,
            priority=kind.priority,
            unaccounted=(),
            request_id="",
            at_ms=due_ms,
            created_ms=due_ms,
            actor="clerk",
            detail=SpecDetail(spec=self._spec(kind)),
        )
        self._journals[task_id] = [row]

    def _add(self, kind: Kind, due_ms: int) -> tuple[TaskId, bytes]:
        """A number and an id for a task that waits from now on."""
        stamp = (self.now_ms + 3_600_000).to_bytes(6, "big")
        unique = stamp + bytes((0x70, 0)) + len(self.kinds).to_bytes(8, "big")
        task_id = encode_id(IdParts(Bucket(minute_of(due_ms), SHARD), unique))
        self._by_id[task_id] = len(self.kinds)
        self.kinds.append(kind)
        self.waiting += 1
        return task_id, unique

    def _spec(self, kind: Kind) -> TaskSpec:
        """One object for all tasks of a kind."""
        known = self._specs.get(kind)
        if known is None:
            known = self._specs[kind] = TaskSpec(
                namespace=kind.namespace,
                owner="clerk",
                handler=kind.handler,
                priority=kind.priority,
                retry=kind.retry,
                concurrency_key=kind.concurrency_key,
            )
        return known

    # Time and steps -----------------------------------------------------------------------------

    @property
    def ms(self) -> int:
        """Virtual time since the beginning."""
        return self.now_ms - START_MS

    def feed(self, *happened: ev.Event) -> None:
        """Something else happens."""
        self._feed(*happened)

    def _feed(self, *happened: ev.Event) -> None:
        """One step with these, then steps for all that follows at once."""
        queue = list(happened)
        while queue:
            wall_ms = self.now_ms + self.wrong_ms
            effects = handle(self.engine, queue, wall_ms=wall_ms, mono_ms=self.ms)
            queue = [event for effect in effects for event in self._perform(effect)]

    def _perform(self, effect: fx.Effect) -> Iterator[ev.Event]:
        match effect:
            case fx.Write():
                yield ev.Written((effect.token,))
            case fx.Send():
                worker = self.workers[effect.incarnation]
                for said in self._hear(worker, effect.message):
                    yield ev.ExecutorSaid(effect.incarnation, said)
            case fx.Reply():
                assert isinstance(effect.outcome, Done), effect.outcome
            case fx.LoadSlice():
                yield self._load(effect)
            case fx.SweepBucket():
                yield ev.BucketSwept(
                    shard=SHARD, epoch=EPOCH, minute=effect.minute, hints=(), journals={}
                )
            case fx.MoveScanFrom():
                yield ev.ScanFromMoved(SHARD, EPOCH, effect.new)
            case _:
                raise AssertionError(f"no fault is played here: {effect}")

    def _note_turn(self, turn: Turn) -> None:
        """Remember the order in which tasks were chosen."""
        self._turns_made += 1
        self._turns[turn.task.task_id] = self._turns_made

    def _load(self, effect: fx.LoadSlice) -> ev.SliceLoaded:
        within = [
            hint
            for hint in self._hints
            if hint.minute == effect.minute and effect.from_ms <= hint.due_ms < effect.to_ms
        ]
        return ev.SliceLoaded(
            shard=SHARD,
            epoch=EPOCH,
            number=effect.number,
            hints=within,
            journals={hint.task_id: self._journals[hint.task_id] for hint in within},
            last=True,
        )

    def _hear(self, worker: Worker, message: ToExecutor) -> Iterable[FromExecutor]:
        if isinstance(message, Fence):
            return [Inventory(message.number, ())]
        if not isinstance(message, Dispatch):
            return []
        for order in message.orders:
            self._begin(worker, order)
        if not worker.begins:
            return []
        return [Started(tuple((order.run, self.now_ms) for order in message.orders))]

    def _begin(self, worker: Worker, order: RunOrder) -> None:
        number = self._by_id[order.run.task_id]
        kind = self.kinds[number]
        drawn = 1 + worker.spread * (2 * self._chance.random() - 1)
        takes_ms = max(1, round(kind.takes_ms * drawn / worker.speed))
        start = Start(
            self._turns.get(order.run.task_id, 0),
            kind,
            number,
            order.attempt,
            self.ms,
            order.due_ms - START_MS,
            order.priority,
            worker.name,
            self.ms + takes_ms,
        )
        assert start.wait_ms >= 0, "early"
        self.starts.append(start)
        self.waiting -= 1
        self._running[order.run] = start
        if worker.begins:
            heapq.heappush(worker.ends, (self.now_ms + takes_ms, next(self._numbers), order))
            worker.busy_ms += takes_ms

    # What a test does ---------------------------------------------------------------------------

    def connect(self) -> None:
        """All executors are members and their streams are open."""
        self._feed(ev.ExecutorsSeen(tuple(worker.facts for worker in self.workers.values())))
        for incarnation in self.workers:
            self._feed(ev.StreamUp(incarnation))

    def tell(self, *happened: ev.Event) -> None:
        """Something else happens."""
        self._feed(*happened)

    def say(self, worker: Worker, message: FromExecutor) -> None:
        """An executor says something of its own accord."""
        self._feed(ev.ExecutorSaid(worker.facts.incarnation, message))

    def says_free(self, worker: Worker, free: int) -> None:
        """An executor tells how much room it has."""
        self.say(worker, Capacity(slots=worker.facts.slots, free=free))

    def in_turn(self) -> list[Start]:
        """All starts in the order in which the engine chose them."""
        return sorted(self.starts, key=lambda start: start.turn)

    def due_and_waiting(self) -> list[tuple[int, int]]:
        """Base priority and age, in ms, of tasks that are due and have been given to nobody."""
        classes = self.engine.ready.classes()
        waiting = [task for each in classes for task in each.tasks()]
        return [(task.spec.priority, self.now_ms - task.due_ms) for task in waiting]

    def create(self, kinds: Iterable[Kind], *, due_ms: int | None = None) -> None:
        """Tasks that are due now, or at `due_ms` from the beginning; in this order."""
        due = None if due_ms is None else START_MS + due_ms
        commands = [
            ev.CommandArrived(next(self._numbers), self._creation(kind, due)) for kind in kinds
        ]
        for first in range(0, len(commands), _CHUNK):
            self._feed(*commands[first : first + _CHUNK])

    def _creation(self, kind: Kind, due_ms: int | None) -> CreateTask:
        minute = minute_of(due_ms or self.now_ms)
        _, unique = self._add(kind, due_ms or self.now_ms)
        return CreateTask(
            minute=minute,
            shard=SHARD,
            unique=unique,
            spec=self._spec(kind),
            due_ms=due_ms,
            request_id="",
            actor="clerk",
        )

    def step(self, step_ms: int) -> None:
        """Move the clock, end what is over by then, and let the engine act."""
        self.now_ms += step_ms
        said: list[ev.Event] = []
        for incarnation, worker in self.workers.items():
            results = self._ended(worker)
            if results:
                said.append(ev.ExecutorSaid(incarnation, Finished(tuple(results))))
        if said or next_wake_ms(self.engine) <= self.now_ms + self.wrong_ms:
            self._feed(*said, ev.Tick())

    def _ended(self, worker: Worker) -> list[RunResult]:
        results: list[RunResult] = []
        while worker.ends and worker.ends[0][0] <= self.now_ms:
            ended_ms, _, order = heapq.heappop(worker.ends)
            start = self._running.pop(order.run)
            failure = _FAILURE if start.attempt <= start.kind.fails else None
            if worker.outcome is not None:
                failure = worker.outcome(start)
            if failure is not None:
                self.waiting += 1
            results.append(
                RunResult(
                    run=order.run,
                    shard=SHARD,
                    started_ms=START_MS + start.ms,
                    ended_ms=ended_ms,
                    result=None if failure else _RESULT,
                    failure=failure,
                )
            )
        return results

    def run(self, until_ms: int, step_ms: int = 50) -> None:
        """Let time pass."""
        while self.ms < until_ms:
            self.step(step_ms)

    def drain(self, most_ms: int, step_ms: int = 50) -> None:
        """Let time pass until every task has ended."""
        while self.waiting or any(worker.ends for worker in self.workers.values()):
            assert self.ms < most_ms, f"{self.waiting} tasks still wait"
            self.step(step_ms)
