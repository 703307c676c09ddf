"""Backfills: nominal times of the past that are launched once more, one after another.

A backfill's runs have ids of their own, and no verdicts: the ledger has said what became of their
nominal times. They start beside the calendar, whatever the overlap rule says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from timeball_server.core.commands import (
    BackfillSchedule,
    Rejected,
    RejectionReason,
    ScheduleDone,
    StopBackfill,
)
from timeball_server.core.engine import launching, occurrences, schedules, ticking
from timeball_server.core.engine.pinning import answer
from timeball_server.core.engine.reading import Standing
from timeball_server.core.engine.state import (
    Engine,
    ScheduleState,
    ShardState,
)
from timeball_server.core.ids import Epoch
from timeball_server.core.journal import EventKind, ScheduleDetail
from timeball_server.core.model import Backfill, BackfillState
from timeball_server.core.schedules.calendars import next_nominal_ms

PACE_MS: Final = 50
"""From one run of a backfill to the next."""
MOST_REMEMBERED: Final = 10


def begin(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    token: int,
    command: BackfillSchedule,
) -> None:
    """Begin a backfill, or answer as the first time."""
    detail = launching.detail_of(task)
    known = _find(detail, command.backfill_id)
    if known is not None:
        answer(engine, shard, task, token, command, _again(task, known, command))
        return
    refusal = _refusal(engine, detail, command)
    if refusal is not None:
        answer(engine, shard, task, token, command, refusal)
        return
    next_ms = next_nominal_ms(detail.spec.when, command.from_ms - 1)
    some = next_ms is not None and next_ms <= command.to_ms
    made = Backfill(
        backfill_id=command.backfill_id,
        from_ms=command.from_ms,
        to_ms=command.to_ms,
        next_ms=next_ms if some else None,
        state=BackfillState.RUNNING if some else BackfillState.DONE,
        actor=command.actor,
        created_ms=engine.now_ms,
        hand_epoch=shard.epoch,
    )
    changed = replace(launching.quiet(detail), backfills=_remember(detail, made))
    kind = EventKind.BACKFILL_BEGUN
    schedules.append_asked(engine, shard, task, token, command, changed, kind)


def _again(
    task: ScheduleState, known: Backfill, command: BackfillSchedule
) -> ScheduleDone | Rejected:
    if (known.from_ms, known.to_ms) == (command.from_ms, command.to_ms):
        return ScheduleDone(schedules.view_of(task), fresh=False)
    message = f"there is a backfill {known.backfill_id} with another range; choose another id"
    return Rejected(RejectionReason.VOIDED, message)


def _refusal(engine: Engine, detail: ScheduleDetail, command: BackfillSchedule) -> Rejected | None:
    if detail.spec.delay_ms is not None:
        message = "a schedule with a delay after completion has no nominal times in the past"
        return Rejected(RejectionReason.PRECONDITION, message)
    if command.to_ms > engine.now_ms:
        message = "a backfill ends in the past; what is to come is launched by the schedule"
        return Rejected(RejectionReason.PRECONDITION, message)
    if len(running(detail)) >= MOST_REMEMBERED:
        message = f"{MOST_REMEMBERED} backfills of this schedule are running; stop one, or wait"
        return Rejected(RejectionReason.PRECONDITION, message)
    return None


def stop(
    engine: Engine, shard: ShardState, task: ScheduleState, token: int, command: StopBackfill
) -> None:
    """Stop a backfill: what it has in hand is never launched after the answer."""
    detail = launching.detail_of(task)
    known = _find(detail, command.backfill_id)
    if known is None or known.next_ms is None:
        missing = f"the schedule remembers no backfill {command.backfill_id}"
        rejected = Rejected(RejectionReason.NOT_FOUND, missing)
        done = ScheduleDone(schedules.view_of(task), fresh=False)
        answer(engine, shard, task, token, command, rejected if known is None else done)
        return
    run = occurrences.backfill_run_id(task, known, known.next_ms)
    standing = ticking.look_at(engine, shard, task, run)
    fenced = not occurrences.needs_fence(shard, Epoch(known.hand_epoch), standing)
    if standing is Standing.UNKNOWN or not fenced:
        task.waiting.insert(0, (token, command))
        if standing is not Standing.UNKNOWN:
            ticking.fence_first(engine, shard, task, run)
        return
    stopped = replace(known, next_ms=None, state=BackfillState.STOPPED)
    if standing is Standing.EXISTS:
        stopped = replace(stopped, launched=known.launched + 1)
    changed = replace(launching.quiet(detail), backfills=_put(detail, stopped))
    kind = EventKind.BACKFILL_STOPPED
    schedules.append_asked(engine, shard, task, token, command, changed, kind)


def step(engine: Engine, shard: ShardState, task: ScheduleState) -> bool:
    """Launch the next run of the first backfill that runs; False = there is none, or a pause."""
    detail = launching.detail_of(task)
    begun = running(detail)
    if not begun or detail.paused is not None or task.due_ms > engine.now_ms:
        return False
    backfill = begun[0]
    nominal_ms = backfill.next_ms
    if nominal_ms is None:
        raise AssertionError("a backfill that runs has a next nominal time")
    run = occurrences.backfill_run_id(task, backfill, nominal_ms)
    standing = ticking.look_at(engine, shard, task, run)
    if standing is Standing.UNKNOWN:
        return True
    moved = _moved(shard, detail, backfill, nominal_ms, launched=_launches(standing))
    if standing is Standing.ABSENT:
        due_ms = engine.now_ms
        words = launching.with_run(shard, task, run, nominal_ms, due_ms)
        words = replace(words, backfills=moved, open=detail.open)
        launch = launching.started(engine, shard, task, words)
    else:
        words = replace(launching.quiet(detail), backfills=moved)
        launch = launching.only(words)
    ticking.append(engine, shard, task, launch, kind=EventKind.BACKFILLED)
    return True


def _launches(standing: Standing) -> bool:
    """Whether the run is there, or will be; what was voided is left out."""
    return standing in (Standing.ABSENT, Standing.EXISTS)


def _moved(
    shard: ShardState, detail: ScheduleDetail, backfill: Backfill, after_ms: int, *, launched: bool
) -> tuple[Backfill, ...]:
    next_ms = next_nominal_ms(detail.spec.when, after_ms)
    over = next_ms is None or next_ms > backfill.to_ms
    moved = replace(
        backfill,
        next_ms=None if over else next_ms,
        state=BackfillState.DONE if over else BackfillState.RUNNING,
        launched=backfill.launched + launched,
        hand_epoch=shard.epoch,
    )
    return _put(detail, moved)


def running(detail: ScheduleDetail) -> tuple[Backfill, ...]:
    """Those that have runs to launch, the oldest first."""
    return tuple(one for one in detail.backfills if one.state is BackfillState.RUNNING)


def _find(detail: ScheduleDetail, backfill_id: str) -> Backfill | None:
    return next((one for one in detail.backfills if one.backfill_id == backfill_id), None)


def _put(detail: ScheduleDetail, changed: Backfill) -> tuple[Backfill, ...]:
    return tuple(
        changed if one.backfill_id == changed.backfill_id else one for one in detail.backfills
    )


def _remember(detail: ScheduleDetail, made: Backfill) -> tuple[Backfill, ...]:
    """The new one, all that run, and the last of those that are over."""
    over = [one for one in detail.backfills if one.state is not BackfillState.RUNNING]
    forgotten = over[: max(0, len(detail.backfills) + 1 - MOST_REMEMBERED)]
    return (*(one for one in detail.backfills if one not in forgotten), made)
