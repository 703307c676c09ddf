"""The gates of a node: which limits a task has to pass, and who holds the places of its key.

A place is taken when the start is decided and given back when the attempt is known to be over:
its executor said so, or proved that it never had it, or vouches for its predecessor. Whatever is
not known counts as running (ADR 16). Must never let a key's task start before the owner knows all
that an earlier owner may have left running.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from timeball_server.core.engine.gate import Gate, Place, Subject
from timeball_server.core.ids import Incarnation, NodeId, ShardId
from timeball_server.core.limit_rules import (
    UNSET_CONCURRENCY,
    LimitKind,
    LimitRule,
    LimitTable,
    TokenBucket,
)
from timeball_server.core.messages import RunId
from timeball_server.core.model import TaskSpec

if TYPE_CHECKING:
    from timeball_server.core.engine.state import Engine, ShardState, TaskState


class Gates:
    """All gates of a node.

    Attributes:
        gone: executors that vanished with attempts of keys, and until when those are in doubt, by
            the monotonic clock.
        unsettled: shards whose keys wait for what an earlier owner left running.
    """

    def __init__(self) -> None:
        self.table = LimitTable()
        self.gone: dict[Incarnation, int] = {}
        self.unsettled: dict[ShardId, set[Incarnation] | None] = {}
        self._acquired: dict[ShardId, int] = {}
        self._gates: dict[tuple[ShardId | None, str, str], Gate] = {}
        self._rule_of_handler: dict[tuple[str, str], LimitRule | None] = {}
        self._of_run: dict[RunId, Gate] = {}
        self._dirty: dict[Gate, None] = {}
        self._rated: dict[Gate, None] = {}
        self._timers: list[tuple[int, int, Gate]] = []
        self._number = 0
        self._limits_handlers = False
        self._shard_count = 1
        self._since_mono_ms: int | None = None

    # Which gates --------------------------------------------------------------------------------

    def concerns(self, spec: TaskSpec) -> bool:
        """Whether a task has any gate to pass."""
        if spec.concurrency_key:
            return True
        return self._limits_handlers and self._rule_of(spec) is not None

    def _rule_of(self, spec: TaskSpec) -> LimitRule | None:
        """The rule of a task's handler; remembered, because every step of every task asks."""
        name = (spec.namespace, spec.handler)
        try:
            return self._rule_of_handler[name]
        except KeyError:
            rule = self.table.rule(LimitKind.HANDLER, *name)
            self._rule_of_handler[name] = rule
            return rule

    def key_gate(self, task: TaskState, mono_ms: int) -> Gate | None:
        """The gate of the task's key; None = it has none."""
        spec = task.spec
        if not spec.concurrency_key:
            return None
        name = (task.shard, spec.namespace, spec.concurrency_key)
        return self._gates.get(name) or self._gate(Subject(*name), mono_ms)

    def handler_gate(self, spec: TaskSpec, mono_ms: int) -> Gate | None:
        """The gate of the task's handler; None = it has none."""
        if not self._limits_handlers:
            return None
        rule = self._rule_of(spec)
        if rule is None or rule.rate is None:
            return None
        return self._gate(Subject(None, spec.namespace, spec.handler), mono_ms)

    def _gate(self, subject: Subject, mono_ms: int) -> Gate:
        gate = self._gates.get(subject)
        if gate is None:
            gate = self._gates[subject] = Gate(subject)
            self._set(gate, mono_ms)
            self._dirty[gate] = None  # nobody may come to need it
        return gate

    def known(self, subject: Subject) -> Gate | None:
        """The gate of a key or handler, if there is one now."""
        return self._gates.get(subject)

    # Rules --------------------------------------------------------------------------------------

    def set_rules(self, rules: Iterable[LimitRule], shard_count: int, mono_ms: int) -> None:
        """Other rules hold from now on. What runs goes on, even where it is too much now."""
        self.table = LimitTable(rules)
        self._limits_handlers = self.table.limits_handlers
        self._rule_of_handler.clear()
        self._shard_count = max(1, shard_count)
        if self._since_mono_ms is None:
            self._since_mono_ms = mono_ms
        for gate in self._gates.values():
            self._set(gate, mono_ms)
            self._dirty[gate] = None

    def _set(self, gate: Gate, mono_ms: int) -> None:
        """What the rules say of a gate now."""
        shard, namespace, name = gate.subject
        kind = LimitKind.HANDLER if shard is None else LimitKind.KEY
        rule = self.table.rule(kind, namespace, name)
        gate.look_ms = None
        if shard is not None:
            gate.most = UNSET_CONCURRENCY if rule is None else rule.concurrency
        if rule is None or rule.rate is None:
            gate.bucket = None
            self._rated.pop(gate, None)
            return
        share = (1, 1) if shard is not None else (len(self._acquired), self._shard_count)
        if gate.bucket is None:
            since_ms = self._since_mono_ms if shard is None else self._acquired.get(shard)
            since_ms = mono_ms if since_ms is None else since_ms
            gate.bucket = TokenBucket(rule.rate, since_ms, share)
            self._rated[gate] = None
        else:
            gate.bucket.change(rule.rate, mono_ms, share)

    def _share_again(self, mono_ms: int) -> None:
        """A rate of a handler is for all shards together; this node owns more or fewer now."""
        for gate in self._rated:
            if gate.subject.shard is None:
                self._set(gate, mono_ms)

    # Shards -------------------------------------------------------------------------------------

    def acquired(self, shard: ShardId, mono_ms: int) -> None:
        """A shard was taken: whatever ran before in its keys is not known yet."""
        self._acquired[shard] = mono_ms
        self.unsettled[shard] = None
        self._share_again(mono_ms)

    def dropped(self, shard: ShardId, mono_ms: int) -> None:
        """A shard is not ours any more: its keys are somebody else's matter."""
        if self._acquired.pop(shard, None) is None:
            return
        self.unsettled.pop(shard, None)
        for gate in [each for each in self._gates.values() if each.subject.shard == shard]:
            del self._gates[gate.subject]
            self._dirty.pop(gate, None)
            self._rated.pop(gate, None)
            for run in gate.runs:
                del self._of_run[run]
        for gate in self._gates.values():  # those of handlers had let some of its tasks go on
            for task in [each for each in gate.posted if each.shard == shard]:
                self._left(task, gate)
        self._share_again(mono_ms)

    def settle(self, engine: Engine, shard: ShardState, *, all_read: bool) -> None:
        """Let a shard's keys go once all that may still run in them is known.

        That is when the past has been read and everybody who was there at the take-over has said
        what he runs, or is gone, or has been silent for as long as a doubt lasts.
        """
        if engine.members_known and self.unsettled[shard.shard] is None:
            self.unsettled[shard.shard] = set(engine.executors)
        unheard = self.unsettled[shard.shard]
        if unheard is None or not all_read:
            return
        unheard.intersection_update(engine.executors)
        unheard.difference_update(shard.inventories)
        given_up = engine.mono_ms >= self._acquired[shard.shard] + engine.config.key_doubt_ms
        if not unheard or given_up:
            del self.unsettled[shard.shard]
            mine = (gate for gate in self._gates.values() if gate.subject.shard == shard.shard)
            self._dirty.update(dict.fromkeys(mine))

    # Places -------------------------------------------------------------------------------------

    def may_start(self, task: TaskState, mono_ms: int) -> bool:
        """Whether every gate lets one more through, now."""
        key = self.key_gate(task, mono_ms)
        if key is not None and (task.shard in self.unsettled or key.free(mono_ms) <= 0):
            return False
        handler = self.handler_gate(task.spec, mono_ms)
        return handler is None or handler.free(mono_ms) > 0

    def lets_newcomer(self, task: TaskState, mono_ms: int) -> bool:
        """Whether a task that is being created may start at once: nobody waits before it."""
        gates = (self.key_gate(task, mono_ms), self.handler_gate(task.spec, mono_ms))
        taken = any(gate is not None and (gate.posted or gate.lines) for gate in gates)
        return not taken and self.may_start(task, mono_ms)

    def start(self, task: TaskState, mono_ms: int) -> None:
        """It is decided that the task starts: it takes its place, and counts for the rates."""
        handler = self.handler_gate(task.spec, mono_ms)
        key = self.key_gate(task, mono_ms)
        for gate in (key, handler):
            if gate is None:
                continue
            gate.posted.pop(task, None)
            if gate.bucket is not None:
                gate.bucket.take()
                self._dirty[gate] = None
        if key is not None:
            key.reserved.add(task.task_id)

    def sent(self, task: TaskState, run: RunId, place: Place, mono_ms: int) -> None:
        """The attempt was sent, or found there: it holds a place until it is known to be over."""
        gate = self.key_gate(task, mono_ms)
        if gate is not None:
            gate.reserved.discard(task.task_id)
            gate.runs[run] = place
            self._of_run[run] = gate

    def found(self, subject: Subject, run: RunId, place: Place, mono_ms: int) -> None:
        """An executor runs something of a key, of which this owner may have no memory."""
        gate = self._gate(subject, mono_ms)
        gate.runs.setdefault(run, place)
        self._of_run[run] = gate

    def not_sent(self, task: TaskState) -> None:
        """The start came to nothing: the place is free again."""
        gate = self._gates.get(Subject(task.shard, task.spec.namespace, task.spec.concurrency_key))
        if gate is not None:
            gate.reserved.discard(task.task_id)
            self._dirty[gate] = None

    def over(self, run: RunId) -> None:
        """The attempt does not run, and never will."""
        gate = self._of_run.pop(run, None)
        if gate is not None:
            del gate.runs[run]
            self._dirty[gate] = None

    def runs_at(self, incarnation: Incarnation, shards: set[ShardId] | None = None) -> set[RunId]:
        """Attempts of keys that this executor may be running, of some shards or of all."""
        return {
            run
            for run, gate in self._of_run.items()
            if gate.runs[run].incarnation == incarnation
            and (shards is None or gate.subject.shard in shards)
        }

    def runs_of(self, node: NodeId, shards: set[ShardId]) -> dict[RunId, Incarnation]:
        """Attempts of keys that incarnations of a node may be running, of some shards."""
        return {
            run: gate.runs[run].incarnation
            for run, gate in self._of_run.items()
            if gate.runs[run].node == node and gate.subject.shard in shards
        }

    def in_doubt(self, engine: Engine, incarnation: Incarnation) -> bool:
        """Whether attempts of an executor that vanished count as running still."""
        end_ms = engine.mono_ms + engine.config.key_doubt_ms
        return engine.mono_ms < self.gone.setdefault(incarnation, end_ms)

    @property
    def size(self) -> int:
        """Gates that are kept."""
        return len(self._gates)

    @property
    def counts(self) -> bool:
        """Whether any attempt of a key is counted."""
        return bool(self._of_run)

    # Lines --------------------------------------------------------------------------------------

    def arrive(self, engine: Engine, task: TaskState) -> None:
        """A task is due: it waits at its key's gate, or its handler's."""
        key = self.key_gate(task, engine.mono_ms)
        handler = self.handler_gate(task.spec, engine.mono_ms)
        self._left(task, key)
        self._left(task, handler)
        gate = key or handler
        if gate is None:
            engine.ready.push(task)
            return
        engine.ready.stand(task)
        gate.park(task, (task.spec.handler, task.spec.selector))
        self._dirty[gate] = None

    def touched(self, task: TaskState) -> None:
        """Something became of a task: if it was let go on, somebody else may be."""
        spec = task.spec
        self._left(task, self._gates.get((task.shard, spec.namespace, spec.concurrency_key)))
        self._left(task, self._gates.get((None, spec.namespace, spec.handler)))

    def _left(self, task: TaskState, gate: Gate | None) -> None:
        if gate is not None and gate.posted.pop(task, None) is not None:
            self._dirty[gate] = None

    def open(self, engine: Engine) -> None:
        """Let go on who may start, of keys first: they may find their handler's gate closed."""
        while self._timers and self._timers[0][0] <= engine.mono_ms:
            gate = heapq.heappop(self._timers)[2]
            gate.look_ms = None
            self._dirty[gate] = None
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, {}
        for gate in dirty:
            if gate.subject.shard is not None and gate.subject.shard not in self.unsettled:
                gate.post(engine.now_ms, engine.mono_ms, lambda task: self._past_key(engine, task))
        for gate in [*dirty, *self._dirty]:
            if gate.subject.shard is None:
                gate.post(engine.now_ms, engine.mono_ms, engine.ready.push)
        for gate in [*dirty, *self._dirty]:
            self._look_again(gate, engine.mono_ms)
        self._dirty = {}

    def _past_key(self, engine: Engine, task: TaskState) -> None:
        gate = self.handler_gate(task.spec, engine.mono_ms)
        if gate is None:
            engine.ready.push(task)
        else:
            engine.ready.stand(task)
            gate.park(task, (task.spec.handler, task.spec.selector))
            self._dirty[gate] = None

    def _look_again(self, gate: Gate, mono_ms: int) -> None:
        """Whether the gate is needed any longer, and when its rate lets the next one through."""
        if self._gates.get(gate.subject) is not gate:
            return
        if gate.bucket is None and gate.subject.shard is None:
            gate.posted.clear()  # nobody passes it any more, so nobody would tell that he has left
        if gate.bucket is not None:
            wait_ms = gate.bucket.wait_ms(mono_ms) if gate.lines else gate.bucket.full_ms(mono_ms)
            at_ms = mono_ms + (wait_ms or 0)
            if wait_ms and (gate.look_ms is None or at_ms < gate.look_ms):
                self._number += 1
                gate.look_ms = at_ms
                heapq.heappush(self._timers, (at_ms, self._number, gate))
        if gate.idle(mono_ms):
            del self._gates[gate.subject]
            self._rated.pop(gate, None)

    def count(self) -> int:
        """How many wait in the lines of gates."""
        return sum(1 for _ in self.waiting())

    @property
    def places(self) -> int:
        """Attempts that hold a place of a key."""
        return len(self._of_run)

    def waiting(self) -> Iterator[TaskState]:
        """Everybody in the lines of gates, in no order."""
        for gate in self._gates.values():
            yield from gate.waiting()

    def next_ms(self, engine: Engine) -> int | None:
        """The wall-clock instant at which a rate lets the next one through, or a doubt ends."""
        times = list(self.gone.values())
        if self._timers:
            times.append(self._timers[0][0])
        return engine.now_ms + max(1, min(times) - engine.mono_ms) if times else None
