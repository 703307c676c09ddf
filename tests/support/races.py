"""Races at the due instant: a caller's change of mind against the claim, the dispatch, the start.

One owner at a time with real executors; writes and messages take milliseconds, of virtual time. The
owner is killed in the middle of every wave and another one takes over: what it had been writing may
be durable or lost, what it had sent arrives.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from tests.support.engine_revisions import again, reschedule, update
from tests.support.engine_world import Call, Node, World
from timeball_server.core import executor_runs as xr
from timeball_server.core.commands import Done, RejectionReason
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.engine.node import next_wake_ms
from timeball_server.core.executor_state import ExecutorState
from timeball_server.core.ids import Incarnation, NodeId, TaskId
from timeball_server.core.messages import (
    FromExecutor,
    RunOrder,
    RunResult,
    StreamHello,
    ToExecutor,
)
from timeball_server.core.model import Payload

CLOSE_MS = 5
WORK_MS = 20
AHEAD_MS = 1_500
SPREAD_MS = 60
QUIET_MS = 130_000
"""Between waves: so long that a take-over need not read the last one again (rule R18)."""
WRITE_MS = (1, 6)
MESSAGE_MS = (0, 2)
SLOTS = 400
Action = Callable[[], None]


class Race(StrEnum):
    """What the caller wants at the last moment."""

    CANCEL = "cancel"
    UPDATE = "update"
    LATER = "later"
    NOW = "now"


@dataclass(slots=True, kw_only=True)
class Entry:
    """One race. `order` numbers what happened: starts and answers."""

    task_id: TaskId
    race: Race
    due_ms: int
    call: Call | None = None
    told: int = 0
    asked_ms: int = 0


@dataclass(frozen=True, slots=True)
class Begun:
    """A start as the sink saw it."""

    order: int
    at_ms: int
    payload: bytes
    due_ms: int


class Peer:
    """A real executor behind streams that take their time and keep their order."""

    def __init__(self, races: Races, name: str) -> None:
        self._races = races
        self.facts = ExecutorFacts(
            node=NodeId(name),
            incarnation=Incarnation(races.world.next_number()),
            strength=1,
            slots=SLOTS,
            labels=(),
            handlers=("charge",),
        )
        incarnation = self.facts.incarnation
        self._state = ExecutorState(incarnation=incarnation, slots=SLOTS, handlers=("charge",))
        self._nodes: dict[xr.StreamKey, Node] = {}
        self._last_ms: dict[tuple[xr.StreamKey, bool], int] = {}
        races.world.joined(self)

    def stream_opened(self, node: Node) -> None:
        """The node said hello."""
        key = xr.StreamKey(NodeId(node.engine.node), Incarnation(1), 1)
        self._nodes[key] = node
        hello = StreamHello(
            owner=key.owner,
            owner_incarnation=key.incarnation,
            number=key.number,
            executor_incarnation=self.facts.incarnation,
        )
        self._carry(key, True, lambda: self._perform(self._state.open_stream(hello)))

    def hear(self, node: Node, message: ToExecutor) -> None:
        """The node said something."""
        key = next(key for key, known in self._nodes.items() if known is node)
        self._carry(key, True, lambda: self._perform(self._state.receive(key, message)))

    def _carry(self, key: xr.StreamKey, inbound: bool, then: Action) -> None:
        races = self._races
        arrives_ms = races.world.wall_ms + races.rng.randint(*MESSAGE_MS)
        arrives_ms = max(arrives_ms, self._last_ms.get((key, inbound), 0))
        self._last_ms[key, inbound] = arrives_ms
        races.at(arrives_ms, then)

    def _perform(self, effects: list[xr.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, xr.Send):
                self._say(effect.stream, effect.message)
            elif isinstance(effect, xr.StartRuns):
                for order in effect.orders:
                    self._start(order)

    def _say(self, key: xr.StreamKey, message: FromExecutor) -> None:
        said = ev.ExecutorSaid(self.facts.incarnation, message)
        node = self._nodes[key]
        if node is not self._races.owner:
            return  # nobody is there to hear it
        self._carry(key, False, lambda: node.feed(said))

    def _start(self, order: RunOrder) -> None:
        races = self._races
        races.begun(order)
        self._state.started(order.run, races.world.wall_ms)
        races.at(races.world.wall_ms + WORK_MS, lambda: self._end(order))
        races.at(races.world.wall_ms, lambda: self._perform(self._state.flush()))

    def _end(self, order: RunOrder) -> None:
        now_ms = self._races.world.wall_ms
        result = RunResult(
            run=order.run,
            shard=order.shard,
            started_ms=now_ms - WORK_MS,
            ended_ms=now_ms,
            result=Payload(data=b"1"),
        )
        self._state.ended(result)
        self._perform(self._state.flush())


class Races:
    """Waves of races, one after another."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = World()
        self.starts: dict[TaskId, list[Begun]] = defaultdict(list)
        self._agenda: list[tuple[int, int, Action]] = []
        self._numbers = 0
        self._order = 0
        self._settling: set[int] = set()
        self._open: list[Entry] = []
        for name in ("x1", "x2"):
            Peer(self, name)
        self.owner = self._new_owner()

    def at(self, ms: int, action: Action) -> None:
        """Do this then."""
        self._numbers += 1
        heapq.heappush(self._agenda, (ms, self._numbers, action))

    def begun(self, order: RunOrder) -> None:
        """The sink is told before the handler does anything."""
        self._order += 1
        begun = Begun(self._order, self.world.wall_ms, order.payload.data, order.due_ms)
        self.starts[order.run.task_id].append(begun)

    def wave(self, races: int) -> list[Entry]:
        """So many races; in the middle of one of them the owner dies."""
        entries = [self._entered() for _ in range(races)]
        self._run(50)
        for entry in entries:
            at_ms = entry.due_ms + self.rng.randint(-CLOSE_MS, CLOSE_MS)
            self.at(at_ms, lambda entry=entry: self._race(entry))  # type: ignore[misc]
        victim = self.rng.choice(entries)
        self.at(victim.due_ms + self.rng.randint(-CLOSE_MS, CLOSE_MS + 3), self._kill)
        self._run(QUIET_MS)
        return entries

    def _entered(self) -> Entry:
        in_ms = AHEAD_MS + self.rng.randint(0, SPREAD_MS)
        call = self.owner.create(in_ms=in_ms)
        race = self.rng.choice(list(Race))
        return Entry(task_id=call.task_id, race=race, due_ms=self.world.wall_ms + in_ms)

    def _race(self, entry: Entry) -> None:
        entry.asked_ms = self.world.wall_ms
        entry.call = self._asked(entry)
        self._open.append(entry)

    def _asked(self, entry: Entry) -> Call:
        match entry.race:
            case Race.CANCEL:
                return self.owner.cancel(entry.task_id)
            case Race.UPDATE:
                return update(self.owner, entry.task_id, b"new")
            case Race.LATER:
                return reschedule(self.owner, entry.task_id, self.rng.randint(100, 2_000))
            case Race.NOW:
                return reschedule(self.owner, entry.task_id, delay_ms=self.rng.randint(0, 3))

    def _kill(self) -> None:
        """The owner is gone, half of what it was writing too; another one takes the shard."""
        old = self.owner
        old.frozen = True
        self.world.nodes.remove(old)
        for write in list(old.writes):
            if self.rng.random() < 0.5:
                self.world.disk.append(write.rows)
        old.writes.clear()
        self.owner = self._new_owner()

    def _new_owner(self) -> Node:
        self._numbers += 1
        node = self.world.node(f"s{self._numbers}")
        node.hold_writes = True
        node.acquire()
        return node

    def _note(self) -> None:
        """Answers are heard as they come; who has none from a dead owner asks the next one."""
        open_, self._open = self._open, []
        for entry in open_:
            call = entry.call
            if call is None:
                raise AssertionError("only what was asked is open")
            outcome = call.outcome
            unknown = (
                outcome is not None
                and not isinstance(outcome, Done)
                and (call.refusal in (RejectionReason.UNKNOWN, RejectionReason.NOT_OWNED))
            )
            if unknown or (outcome is None and call.node is not self.owner):
                entry.call = again(call, self.owner)
            if unknown or outcome is None:
                self._open.append(entry)
            else:
                self._order += 1
                entry.told = self._order

    def _run(self, ms: int) -> None:
        end_ms = self.world.wall_ms + ms
        while self.world.wall_ms < end_ms or (self._agenda and self._agenda[0][0] <= end_ms):
            self._act()
            soon_ms = min([end_ms, next_wake_ms(self.owner.engine), *self._next()])
            self.world.jump(max(1, soon_ms - self.world.wall_ms))
            self._settle_later()
            self._note()

    def _act(self) -> None:
        """All that happens in a millisecond is one step of the owner, as in a turn of its loop."""
        owner, now_ms = self.owner, self.world.wall_ms
        while self._agenda and self._agenda[0][0] <= now_ms:
            owner.frozen = True
            heapq.heappop(self._agenda)[2]()
        if owner is self.owner and owner.frozen:
            owner.frozen = False
            owner.feed()
        self._settle_later()
        self._note()

    def _next(self) -> Iterator[int]:
        if self._agenda:
            yield self._agenda[0][0]

    def _settle_later(self) -> None:
        """What was written becomes durable some milliseconds later, in any order."""
        node = self.owner
        for write in node.writes:
            if id(write) not in self._settling:
                self._settling.add(id(write))
                at_ms = self.world.wall_ms + self.rng.randint(*WRITE_MS)
                self.at(at_ms, lambda write=write: self._settle(node, write))  # type: ignore[misc]

    def _settle(self, node: Node, write: fx.Write) -> None:
        self._settling.discard(id(write))
        for index, each in enumerate(node.writes):
            if each is write:
                node.settle_one(index)
                return
