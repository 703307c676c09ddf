"""A schedule's time has come: looking, deciding, and the one event that says what was decided.

Rules S2 (the next hint is durable before the instant, the tick is one batch), S3 (the event is the
decision), S4 (what is not launched although an earlier owner may have launched it is voided
first), S5 (next is strictly later; what was passed over is durable before the event).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from timeball_server.core.buckets import minute_of, start_ms
from timeball_server.core.engine import backfilling, launching, occurrences, overlapping, placing
from timeball_server.core.engine.reading import Standing
from timeball_server.core.engine.state import (
    Engine,
    Loading,
    Mutation,
    ScheduleState,
    ShardState,
)
from timeball_server.core.engine.verdicts import WAIT, Decision, Facts, Move, decide
from timeball_server.core.engine.writing import (
    Then,
    begin,
    due_row,
    following_event,
    open_part,
    scan_floor,
    write_rows,
)
from timeball_server.core.ids import Epoch, TaskId
from timeball_server.core.journal import (
    Alarm,
    DueRow,
    EventKind,
    EventRef,
    EventRow,
    Row,
    ScheduleDetail,
)
from timeball_server.core.schedule_view import why_over
from timeball_server.core.schedules.problems import SpecProblem

BLOCKED_LOOK_MS: Final = 60_000
"""A schedule that waits for a run to end is found by a new owner after this at the latest."""
PAUSED_LOOK_MS: Final = 3_600_000
"""The ledger of a paused schedule is at most this far behind."""
HELD_LOOK_MS: Final = 60_000
"""A schedule whose calendar cannot be evaluated is tried again after this."""
LONG_ABSENCE_MS: Final = 60_000
"""What was missed for longer than this is caught up at a limited rate, live work goes first."""


def alarm_ms(engine: Engine, detail: ScheduleDetail) -> int | None:
    """When the schedule must be looked at again after an event; None = never, it has ended."""
    now_ms, next_ms = engine.now_ms, detail.next_ms
    times = [] if next_ms is None else [next_ms]
    if detail.paused is not None and (times or detail.buffered or backfilling.running(detail)):
        behind = next_ms is not None and next_ms <= now_ms
        return now_ms if behind else max(next_ms or 0, now_ms + PAUSED_LOOK_MS)
    if detail.buffered or (detail.spec.delay_ms is not None and not times and detail.open):
        times.append(now_ms + BLOCKED_LOOK_MS)
    if backfilling.running(detail):
        times.append(now_ms + backfilling.PACE_MS)
    return min(times, default=None)


def look_ms(engine: Engine, shard: ShardState, task: ScheduleState) -> int:
    """When a schedule that nothing holds should act: a second ahead for its hint, or now."""
    if _can_go_on(shard, task):
        return engine.now_ms
    return max(engine.now_ms, task.due_ms - engine.config.preclaim_ms)


def _can_go_on(shard: ShardState, task: ScheduleState) -> bool:
    """Whether what it waits for is over: the end of runs."""
    paused = task.detail is not None and task.detail.paused is not None
    waits = overlapping.waits_for_runs(task) and not paused
    return waits and not overlapping.open_runs(shard, task)


def act(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    """A schedule's time has come: hint ahead in the last second, decide at the instant.

    One whose calendar cannot be evaluated any more (its zone is gone from the zone data) is held:
    nobody guesses another zone. Readers see it; an update or an end helps.
    """
    try:
        _act(engine, shard, task)
    except SpecProblem:
        engine.counters.schedules_held += 1
        engine.at(task, engine.now_ms + HELD_LOOK_MS)


def _act(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    if task.due_ms <= engine.now_ms or _can_go_on(shard, task):
        tick(engine, shard, task)
        return
    engine.at(task, task.due_ms)
    _hint_ahead(engine, shard, task)


def _hint_ahead(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    """Make the hint of the next tick durable before this one: a guess, most often a good one."""
    detail = launching.detail_of(task)
    if occurrences.hand_ms(task) != task.due_ms or detail.spec.delay_ms is not None:
        return
    following_ms = launching.next_ms_of(task, detail.spec, task.due_ms)
    alarm = Alarm(following_ms or 0, task.head.seq + 1, shard.epoch)
    if following_ms is None or task.hinted == alarm:
        return

    def hinted(engine: Engine, mutation: Mutation) -> None:
        task.hinted = alarm

    minute = max(minute_of(following_ms), scan_floor(shard))
    hint = DueRow(
        minute=minute,
        part=open_part(shard, minute),
        due_ms=following_ms,
        task_id=task.task_id,
        seq=alarm.seq,
        epoch=alarm.epoch,
        handler=detail.spec.task.handler,
        priority=task.head.priority,
    )
    write_rows(engine, shard, task, (hint,), hinted)


def tick(engine: Engine, shard: ShardState, task: ScheduleState, *, hurried: bool = False) -> None:
    """Decide one thing: what waits, the nominal time in hand, a backfill; or look again later.

    Args:
        hurried: a caller waits for this, so it takes no turn behind others that catch up.
    """
    found = _decision(engine, shard, task)
    if found is None:
        return
    at_ms, epoch, decision = found
    if overlapping.asks_them_to_end(task):
        overlapping.stop_runs(engine, shard, task, terminate=False)
    if decision.move is Move.WAIT:
        _idle_tick(engine, shard, task)
        return
    if not hurried and _waits_its_turn(engine, shard, task, at_ms):
        return
    carry_out(engine, shard, task, at_ms, epoch, decision)


def carry_out(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    at_ms: int,
    epoch: Epoch,
    decision: Decision,
) -> None:
    """Write what was decided, its fence before everything else.

    Args:
        at_ms: the nominal time that it is about.
        epoch: that in which it came in hand.
    """
    if decision.move is Move.PASS:
        run = occurrences.occurrence_id(task, at_ms)
        if occurrences.needs_fence(shard, epoch, occurrences.standing(shard, task, run)):
            task.fenced_for = (at_ms, decision.verdict, decision.cause)
            fence_first(engine, shard, task, run)
            return
    engine.counters.ticks += 1
    task.turn_ms = None
    launch = _MOVES[decision.move](engine, shard, task, at_ms, decision)
    after(engine, shard, task, launch.ahead, lambda: append(engine, shard, task, launch))


def _decision(
    engine: Engine, shard: ShardState, task: ScheduleState
) -> tuple[int, Epoch, Decision] | None:
    """The first time that waits, else the one in hand; None = it must be looked for first."""
    detail = launching.detail_of(task)
    candidates = [(*waiting, True) for waiting in detail.buffered[:1]]
    hand_ms = occurrences.hand_ms(task)
    if hand_ms is not None:
        candidates.append((hand_ms, occurrences.hand_epoch(task), False))
    for at_ms, epoch, buffered in candidates:
        standing = look_at(engine, shard, task, occurrences.occurrence_id(task, at_ms))
        if standing is Standing.UNKNOWN:
            return None
        decision = decide(_facts(engine, shard, task, at_ms, standing, buffered=buffered))
        old = decision.move is Move.LAUNCH and buffered and epoch != shard.epoch
        if old and _looks_once_more(engine, shard, task, occurrences.occurrence_id(task, at_ms)):
            return None
        if decision.move is not Move.WAIT:
            return at_ms, epoch, decision
    return engine.now_ms, shard.epoch, WAIT


def _looks_once_more(engine: Engine, shard: ShardState, task: ScheduleState, run: TaskId) -> bool:
    """Whether a run that has waited since an earlier owner must be looked for before its launch.

    It may have waited for long; what that owner wrote late may have come and gone meanwhile.
    """
    if task.looked == run:
        task.looked = None
        return False
    task.looked = run
    occurrences.look_for(engine, shard, task, (run,))
    if task.idle:  # it was in memory
        engine.at(task, engine.now_ms)
    return True


def _facts(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    at_ms: int,
    standing: Standing,
    *,
    buffered: bool,
) -> Facts:
    detail = launching.detail_of(task)
    return Facts(
        spec=detail.spec,
        at_ms=at_ms,
        now_ms=engine.now_ms,
        absent_until_ms=launching.absent_until_ms(engine, shard),
        standing=standing,
        runs=len(overlapping.open_runs(shard, task)),
        waiting=len(detail.buffered),
        paused=detail.paused is not None,
        buffered=buffered,
        kept_from_ms=start_ms(shard.expired_below),
        fenced_for=_fenced_for(task, at_ms),
    )


def _fenced_for(task: ScheduleState, at_ms: int) -> tuple[str, str] | None:
    """For what verdict we fenced the id of a nominal time off, and why; None = we did not."""
    if task.fenced_for is None or task.fenced_for[0] != at_ms:
        return None
    return task.fenced_for[1:]


def look_at(engine: Engine, shard: ShardState, task: ScheduleState, run: TaskId) -> Standing:
    """What stands in the place of a run; UNKNOWN = the schedule is held to look."""
    standing = occurrences.standing(shard, task, run)
    if standing is Standing.UNKNOWN:
        occurrences.look_for(engine, shard, task, (run,))
    return standing


def fence_first(engine: Engine, shard: ShardState, task: ScheduleState, run: TaskId) -> None:
    """Nothing is decided before the fence is durable; then all is looked at again (rule S4)."""
    task.loading = Loading.UNRESOLVED

    def fenced(engine: Engine, mutation: Mutation) -> None:
        task.known[run] = Standing.FENCED
        task.loading = Loading.PRESENT
        placing.free(engine, shard, task)

    occurrences.fence(engine, shard, task, run, fenced)


def _waits_its_turn(engine: Engine, shard: ShardState, task: ScheduleState, at_ms: int) -> bool:
    """Whether this belongs to a long absence, and others that catch up go before it.

    Each takes its turn once, so that it is looked at once, however many there are.
    """
    if launching.absent_until_ms(engine, shard) - at_ms <= LONG_ABSENCE_MS:
        return False
    if task.turn_ms is None:
        task.turn_ms = max(engine.now_ms, engine.next_turn_ms)
        engine.next_turn_ms = task.turn_ms + max(1, 1_000 // engine.config.catch_up_per_s)
    if task.turn_ms <= engine.now_ms:
        return False
    engine.at(task, task.turn_ms)
    return True


# Moves look into `launching` when they are made: it may be imported first, and import us half-way.
def _launch(
    engine: Engine, shard: ShardState, task: ScheduleState, at_ms: int, decision: Decision
) -> launching.Launch:
    return launching.launched(engine, shard, task, at_ms, decision)


def _record(
    engine: Engine, shard: ShardState, task: ScheduleState, at_ms: int, decision: Decision
) -> launching.Launch:
    return launching.recorded(engine, shard, task, at_ms, decision)


def _pass(
    engine: Engine, shard: ShardState, task: ScheduleState, at_ms: int, decision: Decision
) -> launching.Launch:
    return launching.passed(engine, shard, task, at_ms, decision)


def _terminate(
    engine: Engine, shard: ShardState, task: ScheduleState, at_ms: int, decision: Decision
) -> launching.Launch:
    overlapping.stop_runs(engine, shard, task, terminate=True)
    return launching.launched(engine, shard, task, at_ms, decision)


def _buffer(
    engine: Engine, shard: ShardState, task: ScheduleState, at_ms: int, decision: Decision
) -> launching.Launch:
    return launching.buffered(engine, shard, task)


def _cancel(
    engine: Engine, shard: ShardState, task: ScheduleState, at_ms: int, decision: Decision
) -> launching.Launch:
    overlapping.stop_runs(engine, shard, task, terminate=False)
    return launching.buffered(engine, shard, task)


_MOVES: Final = {
    Move.LAUNCH: _launch,
    Move.TERMINATE: _terminate,
    Move.RECORD: _record,
    Move.PASS: _pass,
    Move.BUFFER: _buffer,
    Move.CANCEL: _cancel,
}


def _idle_tick(engine: Engine, shard: ShardState, task: ScheduleState) -> None:
    """Nothing is due: plan the time after a run, go on with a backfill, or look again later."""
    detail = launching.detail_of(task)
    unplanned = detail.spec.delay_ms is not None and occurrences.hand_ms(task) is None
    if unplanned and not overlapping.open_runs(shard, task):
        plain = launching.quiet(detail)
        next_ms = launching.following_ms(
            engine, task, plain.spec, detail.nominal_ms or 0, taken=plain.runs, launched=False
        )
        planned = replace(plain, next_ms=next_ms, hand_epoch=shard.epoch, open=())
        append(engine, shard, task, launching.only(planned), kind=EventKind.LOOKED)
    elif backfilling.step(engine, shard, task):
        return
    elif task.due_ms <= engine.now_ms:
        append(engine, shard, task, launching.only(launching.quiet(detail)), kind=EventKind.LOOKED)


def after(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    ahead: tuple[Row, ...],
    go_on: Callable[[], None],
    token: int | None = None,
) -> None:
    """Append an event once the rows ahead of it are durable; the schedule is held until then."""
    if not ahead:
        go_on()
        return
    task.loading = Loading.UNRESOLVED

    def durable(engine: Engine, mutation: Mutation) -> None:
        task.loading = Loading.PRESENT
        go_on()

    write_rows(engine, shard, task, ahead, durable, token=token)


def append(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    launch: launching.Launch,
    *,
    kind: EventKind = EventKind.TICK,
    actor: str = "",
    request_id: str = "",
    token: int | None = None,
    then: Then | None = None,
    soon: bool = False,
) -> None:
    """Write the event that says what was decided, with what it launches.

    Args:
        kind: becomes LAST_TICK when there is nothing left to wait for.
        then: what follows besides what the launch asks for.
        soon: look again in a second, so that a take-over finds a run that was launched by hand.
    """
    detail, due_ms = launch.detail, alarm_ms(engine, launch.detail)
    if due_ms is None:
        kind = kind if kind is EventKind.SCHEDULE_ENDED else EventKind.LAST_TICK
        detail = replace(detail, ended_ms=engine.now_ms, ended_cause=_why(detail, kind, actor))
    elif soon:
        due_ms = min(due_ms, engine.now_ms + 1_000)
    row = _event(engine, shard, task, kind, detail, due_ms, actor, request_id)
    hint, minute = _hint(shard, task, row)

    def decided(engine: Engine, mutation: Mutation) -> None:
        task.alarm_minute = minute
        launch.then(engine, mutation)
        if then is not None:
            then(engine, mutation)

    begin(
        engine,
        shard,
        task,
        row,
        hint=hint,
        token=token,
        then=decided,
        reserved=launch.executor,
        also=launch.rows,
    )


def _why(detail: ScheduleDetail, kind: EventKind, actor: str) -> str:
    """What a schedule ends for."""
    if kind is EventKind.SCHEDULE_ENDED:
        return f"deleted by {actor}"
    return why_over(detail.spec, detail.nominal_ms or 0, detail.runs)


_USER_KINDS: Final = frozenset(
    {
        EventKind.SCHEDULE_CREATED,
        EventKind.SCHEDULE_UPDATED,
        EventKind.SCHEDULE_PAUSED,
        EventKind.SCHEDULE_RESUMED,
        EventKind.SCHEDULE_ENDED,
    }
)


def _event(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    kind: EventKind,
    detail: ScheduleDetail,
    due_ms: int | None,
    actor: str,
    request_id: str,
) -> EventRow:
    row = following_event(
        engine,
        shard,
        task,
        kind,
        actor=actor or engine.node,
        request_id=request_id,
        due_ms=due_ms,
        detail=detail,
    )
    if kind is EventKind.SCHEDULE_CREATED:  # once more, under a name that was free again
        row = replace(row, created_ms=engine.now_ms, spec_at=EventRef(row.seq, row.epoch))
    return replace(row, revision=row.revision + 1) if kind in _USER_KINDS else row


def _hint(shard: ShardState, task: ScheduleState, row: EventRow) -> tuple[DueRow | None, int]:
    """The hint of the event's alarm, unless it is durable already, and the bucket where it lies."""
    if row.alarm is None:
        return None, task.alarm_minute
    minute = max(minute_of(row.alarm.due_ms), scan_floor(shard))
    if row.alarm == task.hinted:
        return None, minute
    hint = due_row(shard, task, row, minute)
    if isinstance(row.detail, ScheduleDetail):  # whoever adopts the event writes the same hint
        hint = replace(hint, handler=row.detail.spec.task.handler)
    return hint, minute
