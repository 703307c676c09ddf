"""The engine among real executors, late writes, broken streams and frozen owners, step by step.

Everything that can be late is a queue that the test moves. What was promised is written down when
it is said, and every later fact is held against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.engine_revisions import again, delete, reschedule, update
from tests.support.engine_versions import Versions
from tests.support.engine_world import SHARD, START_MS, Call, Node, World
from timeball_server.core import executor_runs as xr
from timeball_server.core.commands import (
    CancelTask,
    Done,
    Rejected,
    RejectionReason,
    RescheduleTask,
    UpdateTask,
)
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.executor_state import ExecutorState
from timeball_server.core.ids import Incarnation, NodeId, TaskId
from timeball_server.core.journal import CLOSED, TERMINAL, State
from timeball_server.core.messages import (
    FromExecutor,
    RunOrder,
    RunResult,
    StreamHello,
    ToExecutor,
)
from timeball_server.core.model import DeliveryMode, Failure, Payload, PublicState, RetryPolicy

CONFIG = EngineConfig(renew_after_ms=4_000, renew_ahead_ms=15_000, sweep_every_ms=5_000)
SESSION_MS = 6_000
STOPPED = (PublicState.CANCELLED, PublicState.TERMINATED)


@dataclass(slots=True)
class Promises:
    """What callers were told, and what started."""

    created: set[TaskId] = field(default_factory=set)
    stopped: set[TaskId] = field(default_factory=set)
    ended: dict[TaskId, PublicState] = field(default_factory=dict)
    at_most_once: set[TaskId] = field(default_factory=set)
    starts: dict[TaskId, int] = field(default_factory=dict)
    reported: dict[TaskId, int] = field(default_factory=dict)
    hidden: set[TaskId] = field(default_factory=set)
    versions: Versions = field(default_factory=Versions)

    def hear(self, call: Call) -> None:
        """Take an answer down."""
        outcome = call.outcome
        self.versions.heard(call)
        if isinstance(outcome, Done):
            task = outcome.task
            self.created.add(task.task_id)
            if task.terminal:
                known = self.ended.setdefault(task.task_id, task.state)
                assert known is task.state, "an end was undone"
            if task.state in STOPPED and not task.unaccounted:
                self.stopped.add(task.task_id)
        elif isinstance(outcome, Rejected) and outcome.reason is RejectionReason.NOT_FOUND:
            gone = call.task_id in self.hidden or call.task_id not in self.created
            assert gone, "an acknowledged task is not found"
            if isinstance(call.command, CancelTask):
                self.stopped.add(call.task_id)

    def start(self, order: RunOrder, now_ms: int) -> None:
        """A handler begins."""
        task_id = order.run.task_id
        assert order.due_ms <= now_ms, "early"
        assert task_id not in self.stopped, "a start after an acknowledged cancellation"
        self.versions.starts(order, now_ms)
        self.starts[task_id] = self.starts.get(task_id, 0) + 1
        if task_id in self.at_most_once:
            assert self.starts[task_id] <= 1 + self.reported.get(task_id, 0), "twice"

    def report(self, order: RunOrder) -> None:
        """A handler said that it failed: the task may be started once more, whatever its mode."""
        task_id = order.run.task_id
        self.reported[task_id] = self.reported.get(task_id, 0) + 1


class ModelExecutor:
    """A real executor state behind queues. After its session's end it may live on as a zombie."""

    def __init__(self, model: Model, name: str) -> None:
        self.model = model
        incarnation = Incarnation(model.world.next_number())
        self.facts = ExecutorFacts(
            node=NodeId(name),
            incarnation=incarnation,
            strength=1,
            slots=2,
            labels=(),
            handlers=("charge",),
        )
        self.state = ExecutorState(incarnation=incarnation, slots=2, handlers=("charge",))
        self.numbers: dict[str, int] = {}
        self.inbox: list[tuple[xr.StreamKey, ToExecutor | None]] = []
        self.outbox: list[tuple[xr.StreamKey, FromExecutor]] = []
        self.running: list[RunOrder] = []
        model.world.joined(self)

    def _key(self, node: Node) -> xr.StreamKey:
        name = node.engine.node
        return xr.StreamKey(NodeId(name), Incarnation(1), self.numbers[name])

    def stream_opened(self, node: Node) -> None:
        name = node.engine.node
        self.numbers[name] = self.numbers.get(name, 0) + 1
        self.inbox.append((self._key(node), None))

    def hear(self, node: Node, message: ToExecutor) -> None:
        self.inbox.append((self._key(node), message))

    def take_in(self, position: int = 0) -> None:
        """One message arrives: any stream's first one."""
        streams = list(dict.fromkeys(stream for stream, _ in self.inbox))
        if not streams:
            return
        chosen = streams[position % len(streams)]
        index = next(i for i, (stream, _) in enumerate(self.inbox) if stream == chosen)
        stream, message = self.inbox.pop(index)
        if message is None:
            hello = StreamHello(
                owner=stream.owner,
                owner_incarnation=stream.incarnation,
                number=stream.number,
                executor_incarnation=self.facts.incarnation,
            )
            self._perform(self.state.open_stream(hello))
        else:
            self._perform(self.state.receive(stream, message))

    def lose(self, stream: xr.StreamKey) -> None:
        """Nothing of this stream arrives any more."""
        self.inbox = [
            (key, message) for key, message in self.inbox if key != stream or message is None
        ]
        self.outbox = [(key, message) for key, message in self.outbox if key != stream]

    def speak(self) -> None:
        """One message reaches its node, if its stream still stands."""
        if not self.outbox:
            return
        stream, message = self.outbox.pop(0)
        for node in self.model.world.nodes:
            open_here = node.engine.node == stream.owner and self.facts.incarnation in node.open
            if open_here and self.numbers[stream.owner] == stream.number:
                node.feed(ev.ExecutorSaid(self.facts.incarnation, message))

    def end(self, order: RunOrder, how: str) -> None:
        """A handler ends."""
        self.running.remove(order)
        now_ms = self.model.world.wall_ms
        failure = Failure(kind="ConnectionError", message="no", delay_ms=500)
        result = RunResult(
            run=order.run,
            shard=order.shard,
            started_ms=now_ms,
            ended_ms=now_ms,
            result=Payload(data=b"1") if how == "succeeds" else None,
            failure=failure if how in ("fails", "snoozes") else None,
            interrupted=how == "interrupted",
            uncounted=how == "snoozes",
        )
        if failure is result.failure:
            self.model.promises.report(order)
        self.state.ended(result)
        self._perform(self.state.flush())

    def _perform(self, effects: list[xr.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, xr.Send):
                self.outbox.append((effect.stream, effect.message))
            elif isinstance(effect, xr.StartRuns):
                for order in effect.orders:
                    self._start(order)

    def _start(self, order: RunOrder) -> None:
        now_ms = self.model.world.wall_ms
        self.model.promises.start(order, now_ms)
        self.running.append(order)
        self.state.started(order.run, now_ms)


class Model:
    """The whole: one shard, owners one after another, executors that come and go."""

    def __init__(self) -> None:
        self.world = World()
        self.promises = Promises()
        self.executors: list[ModelExecutor] = []
        self.calls: list[Call] = []
        self.heard: set[int] = set()
        self.joined = 0
        self.join()
        self.join()
        self.owner = self._new_owner()

    # What can happen ----------------------------------------------------------------------------

    def create(self, choice: int) -> None:
        """A caller creates a task: now, soon, later or in the past; either mode."""
        in_ms = (None, None, 0, -2_000, 700, 3_000, 12_000, 35_000)[choice % 8]
        mode = (DeliveryMode.AT_LEAST_ONCE, DeliveryMode.AT_MOST_ONCE)[choice // 8 % 2]
        retry = RetryPolicy(max_attempts=1 + choice // 16 % 3)
        call = self.owner.create(in_ms=in_ms, mode=mode, retry=retry)
        if mode is DeliveryMode.AT_MOST_ONCE:
            self.promises.at_most_once.add(call.task_id)
        self._note(call)

    def _note(self, call: Call) -> None:
        self.calls.append(call)
        self.promises.versions.asked(call, self.world.wall_ms)

    def again(self, choice: int) -> None:
        """A caller repeats a creation."""
        creations = [call for call in self.calls if hasattr(call.command, "unique")]
        if creations:
            self.calls.append(self.owner.repeat(creations[choice % len(creations)]))

    def cancel(self, choice: int) -> None:
        """A caller cancels a task."""
        if self.calls:
            self.calls.append(self.owner.cancel(self.calls[choice % len(self.calls)].task_id))

    def terminate(self, choice: int) -> None:
        """A caller ends a task by force."""
        if self.calls:
            self.calls.append(self.owner.terminate(self.calls[choice % len(self.calls)].task_id))

    def update(self, choice: int) -> None:
        """A caller changes what a task does."""
        if self.calls:
            task_id = self.calls[choice % len(self.calls)].task_id
            data = b"%d" % len(self.calls)
            revision = (None, 1, 2)[choice // 100 % 3]
            self._note(update(self.owner, task_id, data, revision=revision, request_id=str(data)))

    def move(self, choice: int) -> None:
        """A caller changes when a task is due: now, soon, later, in another minute."""
        if self.calls:
            task_id = self.calls[choice % len(self.calls)].task_id
            in_ms = (None, 5, 700, 3_000, 12_000, 70_000)[choice // 100 % 6]
            request_id = f"move {len(self.calls)}"
            self._note(reschedule(self.owner, task_id, in_ms, request_id=request_id))

    def again_changed(self, choice: int) -> None:
        """A caller repeats an update or a move, whose outcome it may know or not."""
        changes = [c for c in self.calls if isinstance(c.command, UpdateTask | RescheduleTask)]
        if changes:
            self.promises.versions.repeated(changes[choice % len(changes)])
            self.calls.append(again(changes[choice % len(changes)], self.owner))

    def delete(self, choice: int) -> None:
        """A caller deletes a task."""
        if self.calls:
            task_id = self.calls[choice % len(self.calls)].task_id
            self.promises.hidden.add(task_id)
            request_id = f"delete {len(self.calls)}"
            self.calls.append(delete(self.owner, task_id, request_id=request_id))

    def look(self, choice: int) -> None:
        """A caller reads a task, or waits for its end."""
        if self.calls:
            task_id = self.calls[choice % len(self.calls)].task_id
            ask = self.owner.read if choice % 2 else self.owner.wait
            self.calls.append(ask(task_id))

    def settle(self, choice: int) -> None:
        """One write of any owner becomes durable, in any order; a frozen owner is not told."""
        writers = [node for node in self.world.nodes if node.writes]
        if not writers:
            return
        node = writers[choice % len(writers)]
        node.settle_one(choice // 8 % len(node.writes))

    def settle_all(self, choice: int) -> None:
        """The store catches up with the owner."""
        for _ in range(20):
            if not self.owner.writes:
                break
            self.owner.settle_one()

    def read_all(self, choice: int) -> None:
        """The owner's reads are answered with what they saw when they were made."""
        self.owner.deliver_reads()
        self.owner.hold_reads = choice % 3 == 0

    def carry(self, choice: int) -> None:
        """Messages move, some or many."""
        for executor in self.executors:
            for _ in range(1 + choice % 7):
                executor.take_in(choice // 7)
                executor.speak()

    def end(self, choice: int) -> None:
        """A handler ends, one way or another."""
        busy = [executor for executor in self.executors if executor.running]
        if busy:
            executor = busy[choice % len(busy)]
            how = ("succeeds", "fails", "fails", "snoozes", "interrupted")[choice // 4 % 5]
            executor.end(executor.running[choice // 20 % len(executor.running)], how)

    def tick(self, choice: int) -> None:
        """Time passes."""
        self.world.jump((1, 50, 300, 1_000, 3_000, 9_000)[choice % 6])

    def break_stream(self, choice: int) -> None:
        """The owner's stream to an executor breaks; what was under way may be lost."""
        living = [x for x in self.executors if x.facts.incarnation in self.owner.open]
        if living:
            executor = living[choice % len(living)]
            if choice // 4 % 2:
                executor.lose(executor._key(self.owner))
            self.owner.disconnect(executor)

    def mend_streams(self, choice: int) -> None:
        """The owner opens what is broken."""
        for executor in list(self.world.executors.values()):
            if executor.facts.incarnation not in self.owner.open:
                self.owner.connect(executor)

    def join(self, choice: int = 0) -> None:
        """An executor joins."""
        if len(self.world.executors) < 3:
            self.joined += 1
            self.executors.append(ModelExecutor(self, f"x{self.joined}"))

    def vanish(self, choice: int) -> None:
        """An executor's session ends; it is dead, or a zombie that still runs what it has."""
        living = [x for x in self.executors if x.facts.incarnation in self.world.executors]
        if living:
            executor = living[choice % len(living)]
            if choice // 4 % 2:
                self.executors.remove(executor)
            self.world.vanished(executor)

    def take_over(self, choice: int) -> None:
        """The owner freezes, its session ends, another one takes the shard."""
        old = self.owner
        old.frozen, old.renews = True, False
        self.world.jump(SESSION_MS)
        self.owner = self._new_owner()

    def thaw(self, choice: int) -> None:
        """A frozen owner goes on, without its lease."""
        frozen = [node for node in self.world.nodes if node.frozen]
        if frozen:
            node = frozen[choice % len(frozen)]
            node.frozen = False
            node.feed()
            assert node.engine.shards == {}

    def _new_owner(self) -> Node:
        node = self.world.node(f"s{len(self.world.nodes) + 1}", CONFIG)
        node.hold_writes = True
        node.acquire()
        return node

    # What must hold -----------------------------------------------------------------------------

    def check(self) -> None:
        """Every answer so far, held against every other."""
        for index, call in enumerate(self.calls):
            if index not in self.heard and call.outcome is not None:
                self.heard.add(index)
                self.promises.hear(call)

    def heal(self) -> None:
        """Everything works again, handlers succeed, and time passes."""
        self.take_over(0)
        self.owner.hold_writes = False
        self.owner.settle()
        self.owner.deliver_reads()
        self.mend_streams(0)
        self.join()
        for _ in range(240):
            self._calm()
            self.world.run(1_000)
            self.check()
        self._calm()
        self.check()

    def _calm(self) -> None:
        for executor in self.executors:
            for _ in range(100):
                if not (executor.inbox or executor.outbox or executor.running):
                    break
                executor.take_in()
                for order in list(executor.running):
                    executor.end(order, "succeeds")
                executor.speak()

    def check_the_end(self) -> None:
        """Nothing acknowledged is lost, nothing that ended is undone, no memory is left."""
        disk = self.world.disk
        heads = {task_id: disk.history(task_id).head for task_id in disk.journal}
        lost = [t for t in self.promises.created if t not in heads]
        assert lost == []
        # A write that lands below every scan was never acknowledged; its repetition would find it.
        still_open = [head for head in heads.values() if head.state not in CLOSED]
        assert all(head.epoch < disk.epochs[SHARD] for head in still_open)
        for task_id in self.promises.created:
            gone = heads[task_id].state is State.DELETED and task_id in self.promises.hidden
            assert gone or heads[task_id].state in TERMINAL, heads[task_id]
        for task_id, state in self.promises.ended.items():
            call = self.owner.read(task_id)
            if isinstance(call.outcome, Done) or task_id not in self.promises.hidden:
                assert call.view.state is state, "an end was undone"
        self._check_memory()

    def _check_memory(self) -> None:
        engine = self.owner.engine
        shard = engine.shards[SHARD]
        assert shard.tasks == {}
        assert shard.watchers == {}
        assert engine.inflight == {}
        assert engine.ready.count() == 0
        for executor in engine.executors.values():
            assert executor.reserved == 0
            assert executor.runs == {}
        unanswered = [c for c in self.calls if c.outcome is None and not c.node.frozen]
        assert unanswered == []
        assert self.world.disk.scan_from[SHARD] > START_MS // 60_000
