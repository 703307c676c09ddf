"""Claiming ahead of the instant and handing out at it.

Rules R10 (held tasks are not dispatched), R11 (only to the executor that the durable claim
names), R12 (marking and sending are one step). Never early: nothing is handed out before its due
time by the owner's wall clock.
"""

from __future__ import annotations

import heapq
from typing import Final

from timeball_server.core.engine import beating, health, placing, ticking
from timeball_server.core.engine.choice import SPILL_UP_MS, choose, serves, without_left_out
from timeball_server.core.engine.gate import Place
from timeball_server.core.engine.ready import Turn, WaitingClass, start_expired
from timeball_server.core.engine.state import (
    Engine,
    ExecutorState,
    Mutation,
    Phase,
    ScheduleState,
    ShardState,
    TaskState,
)
from timeball_server.core.engine.writing import begin, following_event
from timeball_server.core.journal import EventKind, OutcomeDetail, State
from timeball_server.core.messages import RunOrder
from timeball_server.core.model import Failure, FailureCause, TaskSpec

MOST_SCHEDULES_IN_A_STEP: Final = 200
"""Schedules that act in one step; each costs some tenths of a millisecond."""
Eligible = dict[tuple[str, tuple[tuple[str, str], ...]], list[ExecutorState]]


def advance(engine: Engine) -> None:
    """Act on everything whose time has come, then match waiting work and free executors.

    Of schedules some in a step: when very many are due at one instant, leases are proven, results
    are taken and live work starts in between. The others stay due, in their order.
    """
    if engine.suspended or not engine.lease_holds:
        return
    _look_at_health(engine)
    timeline, schedules = engine.timeline, 0
    while timeline and timeline[0][0] <= engine.now_ms and schedules < MOST_SCHEDULES_IN_A_STEP:
        _, _, stamp, task = heapq.heappop(timeline)
        shard = engine.owned(task)
        if stamp == task.stamp and task.idle and shard is not None:
            schedules += isinstance(task, ScheduleState)
            _act(engine, shard, task)
    for task in engine.ready.expired(engine.now_ms):
        shard = engine.owned(task)
        if shard is not None and shard.phase is not Phase.RELEASING and task.idle:
            task.waits = False
            _expire(engine, shard, task)
    _match(engine)


def _look_at_health(engine: Engine) -> None:
    """Once a second: who does far worse than the others is left out (core/engine/health.py)."""
    late_ms = engine.now_ms - engine.next_health_ms
    if late_ms < 0:
        return
    engine.next_health_ms = engine.now_ms + health.LOOK_EVERY_MS
    awake = late_ms < health.LOOK_EVERY_MS
    left_out = health.judge(engine.executors.values(), engine.now_ms, awake=awake)
    engine.counters.left_out += len(left_out)


def _act(engine: Engine, shard: ShardState, task: TaskState) -> None:
    if shard.phase is Phase.RELEASING or task.waits:
        return
    if isinstance(task, ScheduleState):
        ticking.act(engine, shard, task)
    elif task.sent:
        if not beating.looked(engine, shard, task):
            beating.renew(engine, shard, task)
    elif task.due_ms <= engine.now_ms:
        if engine.gates.concerns(task.spec):
            engine.gates.arrive(engine, task)
        else:
            engine.ready.push(task)
    elif task.state is State.PENDING:
        _claim_ahead(engine, shard, task)
    else:
        engine.at(task, task.due_ms)


def eligible_for(engine: Engine, spec: TaskSpec) -> list[ExecutorState]:
    """Executors that may run this kind of task, whether or not they have room."""
    serving = [executor for executor in engine.executors.values() if serves(executor, spec)]
    return without_left_out(serving)


def choose_now(engine: Engine, task: TaskState, due_ms: int) -> ExecutorState | None:
    """An executor with room for a task that is due as it is created; None if others wait."""
    gated = engine.gates.concerns(task.spec)
    if gated and not engine.gates.lets_newcomer(task, engine.mono_ms):
        return None
    executor = _free_executor(engine, task, due_ms)
    if gated and executor is not None:
        engine.gates.start(task, engine.mono_ms)
    return executor


def _free_executor(engine: Engine, task: TaskState, due_ms: int) -> ExecutorState | None:
    """An executor with room for a newcomer, unless somebody waits whom it could run."""
    if not any(executor.free > 0 for executor in engine.executors.values()):
        return None  # as most of the time when very many are due at one instant
    if any(_has_room(eligible_for(engine, each.spec), each) for each in engine.ready.classes()):
        return None
    return choose(
        eligible_for(engine, task.spec),
        handler=task.spec.handler,
        effective_priority=task.effective_priority,
        waited_ms=max(0, engine.now_ms - due_ms),
        need_free=True,
        rng=engine.rng,
    )


def _claim_ahead(engine: Engine, shard: ShardState, task: TaskState) -> None:
    executor = choose(
        eligible_for(engine, task.spec),
        handler=task.spec.handler,
        effective_priority=task.refresh_priority(engine.now_ms),
        waited_ms=0,
        need_free=False,
        rng=engine.rng,
    )
    if executor is None:
        engine.at(task, task.due_ms)
    else:
        _claim(engine, shard, task, executor, reserve=False)


def _claim(
    engine: Engine, shard: ShardState, task: TaskState, executor: ExecutorState, *, reserve: bool
) -> None:
    if task.state is State.CLAIMED:
        engine.counters.reclaims += 1
    facts = executor.facts
    row = following_event(
        engine,
        shard,
        task,
        EventKind.CLAIMED,
        actor=engine.node,
        executor=(facts.node, facts.incarnation),
    )
    engine.counters.claims += 1
    begin(engine, shard, task, row, then=_claimed, reserved=executor if reserve else None)


def _claimed(engine: Engine, mutation: Mutation) -> None:
    if mutation.reserved is not None:
        hand_out(engine, mutation.task, mutation.reserved)


def _match(engine: Engine) -> None:
    """Serve waiting tasks in order for as long as somebody suitable has room."""
    engine.spill_at_ms = None
    if not any(executor.free > 0 for executor in engine.executors.values()):
        return
    engine.gates.open(engine)
    eligible: Eligible = {}
    blocked: set[WaitingClass] = set()

    def usable(waiting: WaitingClass) -> bool:
        if waiting in blocked:
            return False
        known = eligible.get(waiting.key)
        if known is None:
            known = eligible[waiting.key] = eligible_for(engine, waiting.spec)
        return _has_room(known, waiting)

    turns = engine.ready.round(usable, engine.now_ms)
    while (turn := turns.next()) is not None:
        if not _serve(engine, turn, eligible[turn.waiting.key]):
            blocked.add(turn.waiting)


def _has_room(eligible: list[ExecutorState], waiting: WaitingClass) -> bool:
    """Whether anybody could take a task of the class now."""
    handler = waiting.spec.handler
    return any(executor.has_room(handler) for executor in eligible)


def _serve(engine: Engine, turn: Turn, eligible: list[ExecutorState]) -> bool:
    """Give the task to somebody; False = its turn comes when it may spill upwards."""
    task = turn.task
    shard = engine.owned(task)
    if shard is None or shard.phase is Phase.RELEASING or not task.idle:
        engine.ready.drop(turn)
        return True
    if start_expired(task, engine.now_ms):
        engine.ready.drop(turn)
        _expire(engine, shard, task)
        return True
    gated = engine.gates.concerns(task.spec)
    if gated and not engine.gates.may_start(task, engine.mono_ms):
        engine.ready.drop(turn)
        engine.gates.arrive(engine, task)
        return True
    executor = _target(engine, task, eligible)
    if executor is None:
        spill_at_ms = task.due_ms + SPILL_UP_MS
        engine.spill_at_ms = min(engine.spill_at_ms or spill_at_ms, spill_at_ms)
        return False
    engine.ready.take(turn)
    if gated:
        engine.gates.start(task, engine.mono_ms)
    if task.state is State.CLAIMED and task.head.incarnation == executor.facts.incarnation:
        hand_out(engine, task, executor)
        placing.place(engine, shard, task)
    else:
        _claim(engine, shard, task, executor, reserve=True)
    return True


def _target(engine: Engine, task: TaskState, eligible: list[ExecutorState]) -> ExecutorState | None:
    """The claimed executor if it has room, otherwise a fresh choice (rule R11)."""
    claimed = engine.executors.get(task.head.incarnation)
    handler = task.spec.handler
    if task.state is State.CLAIMED and claimed in eligible and claimed.has_room(handler):
        return claimed
    return choose(
        eligible,
        handler=handler,
        effective_priority=task.refresh_priority(engine.now_ms),
        waited_ms=engine.now_ms - task.due_ms,
        need_free=True,
        rng=engine.rng,
    )


def _may_be_sent(engine: Engine, task: TaskState, executor: ExecutorState) -> bool:
    if not executor.stream_open or executor.facts.incarnation != task.head.incarnation:
        return False
    return not engine.suspended and engine.lease_holds and task.due_ms <= engine.now_ms


def hand_out(engine: Engine, task: TaskState, executor: ExecutorState) -> None:
    """Mark the run as sent and queue its order: one step, nothing in between (rule R12)."""
    run = task.run_id
    shard = engine.owned(task)
    if run is None or shard is None or task.pending is not None:
        raise AssertionError("only a durable claim that nothing holds is handed out")
    keyed = bool(task.spec.concurrency_key)
    if not _may_be_sent(engine, task, executor):
        if keyed:
            engine.gates.not_sent(task)
        return
    if keyed:
        place = Place(executor.facts.node, executor.facts.incarnation)
        engine.gates.sent(task, run, place, engine.mono_ms)
    task.sent, task.sent_ms = True, engine.now_ms
    executor.runs[run] = task
    engine.counters.dispatched += 1
    engine.outbox.setdefault(executor.facts.incarnation, []).append(_order(engine, shard, task))


def _run_limit_ms(engine: Engine, task: TaskState) -> int | None:
    """How long the attempt may run: start-to-close, cut by what is left of schedule-to-close."""
    limit_ms, close_by_ms = task.spec.timeouts.start_to_close_ms, task.close_by_ms
    if close_by_ms is None:
        return limit_ms
    left_ms = max(1, close_by_ms - engine.now_ms)
    return left_ms if limit_ms is None else min(limit_ms, left_ms)


def _order(engine: Engine, shard: ShardState, task: TaskState) -> RunOrder:
    head, spec, run = task.head, task.spec, task.run_id
    if run is None:
        raise AssertionError("an order names a run")
    return RunOrder(
        run=run,
        shard=shard.shard,
        epoch=shard.epoch,
        attempt=head.attempt,
        handler=spec.handler,
        payload=spec.payload,
        priority=head.priority,
        due_ms=task.due_ms,
        start_to_close_ms=_run_limit_ms(engine, task),
        namespace=spec.namespace,
        owner=spec.owner,
        nominal_ms=spec.nominal_ms,
        heartbeat_ms=spec.timeouts.heartbeat_ms,
        checkpoint=beating.checkpoint_for(task),
        concurrency_key=spec.concurrency_key,
    )


def _expire(engine: Engine, shard: ShardState, task: TaskState) -> None:
    failure = Failure(
        kind="SCHEDULE_TO_START",
        message="no attempt could start before the schedule-to-start or -close timeout",
        retriable=False,
    )
    row = following_event(
        engine,
        shard,
        task,
        EventKind.DEAD,
        actor=engine.node,
        detail=OutcomeDetail(failure=failure, cause=FailureCause.EXPIRED),
    )
    engine.counters.dead += 1
    begin(engine, shard, task, row)
