"""A synchronous world around the engine: a store, owners and executors that a test moves by hand.

Writes, reads and streams are carried out at once unless the test holds them. The store is shared
by all nodes, so a second engine can take a shard over while the first one is frozen.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Protocol

from tests.support.engine_disk import Disk
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import (
    CancelTask,
    CreateTask,
    Done,
    Outcome,
    ReadTask,
    Rejected,
    RejectionReason,
    WatchTask,
)
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.engine.node import handle, next_wake_ms
from timeball_server.core.engine.ready import ReadyQueue
from timeball_server.core.engine.state import AnyCommand, Engine, EngineConfig, TaskState
from timeball_server.core.ids import (
    Bucket,
    Epoch,
    IdParts,
    Incarnation,
    Minute,
    ShardId,
    TaskId,
    decode_id,
    encode_id,
)
from timeball_server.core.messages import ToExecutor
from timeball_server.core.model import TaskSpec, TaskView
from timeball_server.core.retention import EMPTY, with_heads

START_MS = 1_800_000_000_000
SHARD = ShardId(3)
LEASE_MS = 4_000
_LONGEST_STEP_MS = 1_000


class Peer(Protocol):
    """An executor, as far as a node's streams are concerned."""

    facts: ExecutorFacts

    def hear(self, node: Node, message: ToExecutor) -> None:
        """Take a message that came over the node's current stream."""

    def stream_opened(self, node: Node) -> None:
        """The node said hello on a new stream."""


@dataclass(slots=True)
class Call:
    """A command on its way, and its answer."""

    node: Node
    token: int
    command: AnyCommand
    task_id: TaskId

    @property
    def outcome(self) -> Outcome | None:
        """The answer, None while there is none."""
        return self.node.answers.get(self.token)

    @property
    def view(self) -> TaskView:
        """The task of a command that holds."""
        assert isinstance(self.outcome, Done), self.outcome
        return self.outcome.task

    @property
    def refusal(self) -> RejectionReason:
        """Why the command does not hold."""
        assert isinstance(self.outcome, Rejected), self.outcome
        return self.outcome.reason


class Node:
    """One scheduler node: an engine, and a shell that the test can hold at every gap."""

    def __init__(self, world: World, name: str, config: EngineConfig, seed: int) -> None:
        self.world = world
        self.engine = Engine(name, 1, config, random.Random(seed), ReadyQueue())
        self.answers: dict[int, Outcome] = {}
        self.watching: set[int] = set()
        self.writes: list[fx.Write] = []
        self.reads: list[ev.Event] = []
        self.log: list[fx.Effect] = []
        self.hold_writes = False
        self.hold_reads = False
        self.frozen = False
        self.renews = True
        self.open: set[Incarnation] = set()
        self._tokens = 0
        self._queue: list[ev.Event] = []
        self._busy = False

    # Stepping -----------------------------------------------------------------------------------

    def feed(self, *happened: ev.Event) -> None:
        """One step with these events, then steps for everything that follows at once."""
        self._queue += happened
        if self._busy or self.frozen:
            return
        self._busy = True
        while self._queue:
            self.step()
        self._busy = False

    def step(self) -> None:
        """Exactly one step with everything that is queued."""
        queue, self._queue = self._queue, []
        if self.renews:
            queue.insert(0, ev.LeaseProven(self.world.mono_ms + LEASE_MS))
        world = self.world
        happened = handle(self.engine, queue, wall_ms=world.wall_ms, mono_ms=world.mono_ms)
        self.log += happened
        for effect in happened:
            self._perform(effect)

    def _perform(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Write():
                self.writes.append(effect)
                if not self.hold_writes:
                    self._settle_now()
            case fx.Reply():
                self._hear(effect.token, effect.outcome)
            case fx.Send():
                self._send(effect)
            case fx.HeldBack():
                """Only noted; the log has it."""
            case fx.ShardQuiet() | fx.GiveUp():
                self.writes = [w for w in self.writes if w.shard != effect.shard]
            case _:
                self._read(effect)

    def _hear(self, token: int, outcome: Outcome) -> None:
        """An answer; only those who watch get several, and none after the last."""
        before = self.answers.get(token)
        again = isinstance(before, Done) and not before.task.terminal and token in self.watching
        assert before is None or again, "two answers to one call"
        self.answers[token] = outcome

    def _send(self, effect: fx.Send) -> None:
        peer = self.world.executors.get(effect.incarnation)
        if peer is not None and effect.incarnation in self.open:
            peer.hear(self, effect.message)

    def _read(self, effect: fx.Effect) -> None:
        answer = _answer_read(self.world.disk, effect)
        if self.hold_reads:
            self.reads.append(answer)
        else:
            self._queue.append(answer)

    # The store's answers ------------------------------------------------------------------------

    def settle(self) -> None:
        """Everything written so far becomes durable, and what follows from it."""
        held, self.hold_writes = self.hold_writes, False
        self._settle_now()
        self.feed()
        self.hold_writes = held

    def release_writes(self) -> None:
        """Writes become durable at once again, the held ones first."""
        self.hold_writes = False
        self.settle()

    def _settle_now(self) -> None:
        writes, self.writes = self.writes, []
        for write in writes:
            self.world.disk.append(write.rows)
            self._queue.append(ev.Written((write.token,)))

    def settle_one(self, index: int = 0) -> None:
        """One held write becomes durable."""
        write = self.writes.pop(index)
        self.world.disk.append(write.rows)
        self.feed(ev.Written((write.token,)))

    def land_unheard(self, index: int = 0) -> fx.Write:
        """A held write reaches the store, but nobody is told."""
        write = self.writes.pop(index)
        self.world.disk.append(write.rows)
        return write

    def deliver_reads(self) -> None:
        """Answer the reads that were held, with what they saw when they were made."""
        self.hold_reads = False
        reads, self.reads = self.reads, []
        self.feed(*reads)

    # Commands -----------------------------------------------------------------------------------

    def ask(self, command: AnyCommand, task_id: TaskId) -> Call:
        """Send a command and step."""
        self._tokens += 1
        call = Call(self, self._tokens, command, task_id)
        if isinstance(command, WatchTask):
            self.watching.add(call.token)
        self.feed(ev.CommandArrived(call.token, command))
        return call

    def create(
        self,
        *,
        in_ms: int | None = None,
        minute: int | None = None,
        shard: ShardId = SHARD,
        unique: bytes | None = None,
        resend: bool = False,
        **spec: Any,
    ) -> Call:
        """Create a task that is due now (None) or so many milliseconds from now."""
        world = self.world
        due_ms = None if in_ms is None else world.wall_ms + in_ms
        home = minute_of(due_ms or world.wall_ms) if minute is None else Minute(minute)
        command = CreateTask(
            minute=home,
            shard=shard,
            unique=world.unique() if unique is None else unique,
            spec=task_spec(**spec),
            due_ms=due_ms,
            request_id="request",
            actor="clerk",
            resend=resend,
        )
        return self.ask(command, encode_id(IdParts(Bucket(home, shard), command.unique)))

    def repeat(self, call: Call) -> Call:
        """Send a creation again, marked as a repetition (rule R8)."""
        assert isinstance(call.command, CreateTask)
        values = {name: getattr(call.command, name) for name in CreateTask.__dataclass_fields__}
        return self.ask(CreateTask(**{**values, "resend": True}), call.task_id)

    def cancel(self, task_id: TaskId, namespace: str = "shop") -> Call:
        """Cancel a task."""
        command = CancelTask(
            task_id=task_id, namespace=namespace, request_id="cancel", actor="clerk"
        )
        return self.ask(command, task_id)

    def terminate(self, task_id: TaskId) -> Call:
        """Cancel a task and fence its attempt."""
        command = CancelTask(
            task_id=task_id, namespace="shop", request_id="end", actor="clerk", terminate=True
        )
        return self.ask(command, task_id)

    def read(self, task_id: TaskId, namespace: str = "shop") -> Call:
        """Read a task."""
        return self.ask(ReadTask(task_id=task_id, namespace=namespace), task_id)

    def wait(self, task_id: TaskId) -> Call:
        """Wait for a task's end."""
        return self.ask(WatchTask(task_id=task_id, namespace="shop", every=False), task_id)

    # Streams and shards -------------------------------------------------------------------------

    def connect(self, peer: Peer) -> None:
        """See the members and open a stream to this one."""
        self.see_executors()
        self.open.add(peer.facts.incarnation)
        peer.stream_opened(self)
        self.feed(ev.StreamUp(peer.facts.incarnation))

    def disconnect(self, peer: Peer) -> None:
        """The stream breaks."""
        self.open.discard(peer.facts.incarnation)
        self.feed(ev.StreamDown(peer.facts.incarnation))

    def see_executors(self) -> None:
        """A snapshot of the living."""
        living = tuple(peer.facts for peer in self.world.executors.values())
        self.open &= {facts.incarnation for facts in living}
        self.feed(ev.ExecutorsSeen(living))

    def acquire(self, shard: ShardId = SHARD) -> Epoch:
        """Take a shard in a fresh epoch."""
        epoch = self.world.next_epoch(shard)
        self.feed(self.world.acquired(shard, epoch))
        return epoch

    def task(self, task_id: TaskId) -> TaskState | None:
        """The task in this node's memory."""
        shard = self.engine.shards.get(decode_id(task_id).home.shard)
        return None if shard is None else shard.tasks.get(task_id)


def _answer_read(disk: Disk, effect: fx.Effect) -> ev.Event:
    """What the store answers to a read at this moment."""
    match effect:
        case fx.LoadSlice():
            hints = disk.hints(effect.minute, effect.shard, effect.from_ms, effect.to_ms)
            return ev.SliceLoaded(
                shard=effect.shard,
                epoch=effect.epoch,
                number=effect.number,
                hints=hints,
                journals=disk.journals(hint.task_id for hint in hints),
                last=True,
            )
        case fx.SweepBucket():
            hints = disk.hints(effect.minute, effect.shard, 0, 2**62)
            return ev.BucketSwept(
                shard=effect.shard,
                epoch=effect.epoch,
                minute=effect.minute,
                hints=hints,
                journals=disk.journals(hint.task_id for hint in hints),
            )
        case fx.ReadTasks():
            journals = disk.journals(effect.task_ids)
            return ev.TasksRead(effect.shard, effect.epoch, effect.task_ids, journals)
        case fx.FindTask():
            rows = disk.find(effect.home, effect.unique)
            return ev.TaskFound(effect.shard, effect.epoch, effect.unique, rows)
        case fx.MoveScanFrom():
            return _move(disk, effect)
        case fx.ReadForRemoval() | fx.MoveDeletedBelow() | fx.RemoveBuckets():
            return _answer_removal(disk, effect)
        case _:
            raise AssertionError(f"not a read: {effect}")


def _move(disk: Disk, effect: fx.MoveScanFrom) -> ev.ScanFromMoved:
    mine = disk.epochs.get(effect.shard) == effect.epoch
    if not mine or disk.scan_from[effect.shard] != effect.old:
        return ev.ScanFromMoved(effect.shard, effect.epoch, None)
    disk.scan_from[effect.shard] = effect.new
    return ev.ScanFromMoved(effect.shard, effect.epoch, effect.new)


def _answer_removal(
    disk: Disk, effect: fx.ReadForRemoval | fx.MoveDeletedBelow | fx.RemoveBuckets
) -> ev.Event:
    shard, epoch = effect.shard, effect.epoch
    match effect:
        case fx.ReadForRemoval():
            contents = with_heads(EMPTY, disk.heads(effect.minute, shard))
            return ev.BucketRead(shard, epoch, effect.minute, contents)
        case fx.MoveDeletedBelow():
            stands = (disk.epochs.get(shard), disk.deleted_below.get(shard))
            if stands != (epoch, effect.old):
                return ev.DeletedBelowMoved(shard, epoch, None)
            disk.deleted_below[shard] = effect.new
            return ev.DeletedBelowMoved(shard, epoch, effect.new)
        case fx.RemoveBuckets():
            for minute in range(effect.first, effect.below):
                disk.remove(minute, shard)
            return ev.BucketsRemoved(shard, epoch, effect.first, effect.below)


def task_spec(**values: Any) -> TaskSpec:
    """A plain specification with some fields changed."""
    return TaskSpec(**{"namespace": "shop", "owner": "clerk", "handler": "charge", **values})


class World:
    """Clock, store, membership and the nodes of a test."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self.wall_ms = start_ms
        self.mono_ms = 50_000
        self.disk = Disk()
        self.executors: dict[Incarnation, Peer] = {}
        self.nodes: list[Node] = []
        self._epochs = 100
        self._uniques = 0

    def node(self, name: str = "s1", config: EngineConfig | None = None) -> Node:
        """A node that sees the present executors and owns nothing yet."""
        node = Node(self, name, config or EngineConfig(), seed=len(self.nodes))
        self.nodes.append(node)
        for peer in list(self.executors.values()):
            node.connect(peer)
        node.see_executors()
        return node

    def owner(self, config: EngineConfig | None = None) -> Node:
        """A node that owns the test's shard."""
        node = self.node(f"s{len(self.nodes) + 1}", config)
        node.acquire()
        return node

    def unique(self) -> bytes:
        """A fresh unique number, of a request that no epoch of the test can have missed."""
        self._uniques += 1
        stamp = (self.wall_ms + 3_600_000).to_bytes(6, "big")
        return stamp + bytes((0x70, 0)) + self._uniques.to_bytes(8, "big")

    def next_number(self) -> int:
        """A fresh epoch or incarnation: both are numbers of one counter (rule R1)."""
        self._epochs += 1
        return self._epochs

    def next_epoch(self, shard: ShardId) -> Epoch:
        """Raise the shard's epoch in the store."""
        epoch = self.disk.epochs[shard] = Epoch(self.next_number())
        return epoch

    def acquired(self, shard: ShardId, epoch: Epoch) -> ev.ShardAcquired:
        """The event that a new owner starts from."""
        first = self.disk.scan_from.setdefault(shard, minute_of(self.wall_ms))
        deleted_below = self.disk.deleted_below.get(shard, Minute(0))
        return ev.ShardAcquired(
            shard=shard, epoch=epoch, scan_from=first, deleted_below=deleted_below
        )

    def joined(self, peer: Peer) -> None:
        """An executor is a member now; every node that is awake connects to it."""
        self.executors[peer.facts.incarnation] = peer
        for node in self.nodes:
            node.connect(peer)

    def vanished(self, peer: Peer) -> None:
        """An executor's session has ended."""
        del self.executors[peer.facts.incarnation]
        for node in self.nodes:
            node.see_executors()

    def run(self, ms: int) -> None:
        """Let time pass; every node steps whenever it asked to."""
        end_ms = self.wall_ms + ms
        while self.wall_ms < end_ms:
            awake = [node for node in self.nodes if not node.frozen]
            wanted = [next_wake_ms(node.engine) for node in awake]
            step_ms = min([end_ms, self.wall_ms + _LONGEST_STEP_MS, *wanted]) - self.wall_ms
            self.jump(max(1, step_ms))
            assert all(next_wake_ms(node.engine) > self.wall_ms for node in awake), "it spins"

    def jump(self, ms: int) -> None:
        """Move the wall clock at once, backwards too, and step."""
        self.wall_ms += ms
        self.mono_ms += max(0, ms)
        for node in self.nodes:
            node.feed(ev.Tick())
