"""What users change of a living schedule: another specification, a pause, an end.

Rule S6: each is an event of the one writer. What is due by then gets its verdict before, so that
an edit neither creates a nominal time before itself nor hides one.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final

from timeball_server.core.commands import (
    EndSchedule,
    PauseSchedule,
    Rejected,
    RejectionReason,
    ResumeSchedule,
    ScheduleDone,
    UpdateSchedule,
)
from timeball_server.core.engine import launching, occurrences, schedules, ticking
from timeball_server.core.engine.pinning import answer, refuse
from timeball_server.core.engine.reading import Standing
from timeball_server.core.engine.state import (
    Engine,
    ScheduleState,
    ShardState,
)
from timeball_server.core.engine.verdicts import Decision, Move, Verdict, span
from timeball_server.core.ids import Epoch, TaskId
from timeball_server.core.journal import EventKind, Row, ScheduleDetail
from timeball_server.core.model import PausedBy, ScheduleSpec
from timeball_server.core.schedules.problems import SpecProblem

MOST_REQUESTS: Final = 20
"""Requests that a schedule remembers, to answer a repetition as the first time."""
Change = UpdateSchedule | PauseSchedule | ResumeSchedule | EndSchedule
_WHEN: Final = ("calendar", "delay_ms", "every_ms", "phase_ms", "start_ms", "end_ms")
"""What of a specification says when; it is changed as a whole."""


def update(
    engine: Engine, shard: ShardState, task: ScheduleState, token: int, command: UpdateSchedule
) -> None:
    """Put another specification in force from now on; one that says the same changes nothing."""
    detail = launching.detail_of(task)
    spec = _merged(detail.spec, command)
    stale = command.revision is not None and command.revision != task.head.revision
    known = command.request_id in detail.requests
    if known or stale or spec == detail.spec:
        outcome = _stale(task) if stale and not known else _unchanged(task)
        answer(engine, shard, task, token, command, outcome)
        return
    if _what_is_due_first(engine, shard, task, token, command):
        return
    changed = _with_spec(engine, shard, task, spec)
    if changed is None:
        message = "the schedule would never fire: it has no nominal time after now"
        rejected = Rejected(RejectionReason.HORIZON, message)
        refuse(engine, shard, task, token, command, rejected)
        return
    ahead = (schedules.version_row(shard, task, changed, command.actor),)
    _append(engine, shard, task, token, command, changed, EventKind.SCHEDULE_UPDATED, ahead)


def _merged(spec: ScheduleSpec, command: UpdateSchedule) -> ScheduleSpec:
    """The specification with the fields that are to change; a name never does."""
    wished = replace(command.spec, name=spec.name)
    names = command.fields
    if names is None:
        return wished
    changing = set(names) | set(_WHEN if set(names) & set(_WHEN) else ())
    kept = {each.name: getattr(spec, each.name) for each in fields(spec)}
    return replace(wished, **{name: kept[name] for name in kept if name not in changing})


def _with_spec(
    engine: Engine, shard: ShardState, task: ScheduleState, spec: ScheduleSpec
) -> ScheduleDetail | None:
    """The head's words with another specification; None = it would never fire.

    A nominal time that stays in hand stays the one that an earlier owner may have launched.
    """
    detail = launching.quiet(launching.detail_of(task))
    last_ms = launching.named_until_ms(engine, detail)
    changed = replace(
        detail,
        spec=spec,
        version=detail.version + 1,
        version_after_ms=last_ms,
        elder=launching.elder_versions(detail),
        updated_ms=engine.now_ms,
    )
    hand_ms = occurrences.hand_ms(task)
    waits_for_run = spec.delay_ms is not None and hand_ms is None and bool(detail.open)
    taken = changed.runs + len(changed.buffered)
    next_ms = None
    if not waits_for_run:
        next_ms = launching.following_ms(engine, task, spec, last_ms, taken=taken, launched=False)
    if next_ms is None and not waits_for_run:
        return None
    epoch = occurrences.hand_epoch(task) if next_ms == hand_ms else shard.epoch
    return replace(changed, next_ms=next_ms, hand_epoch=epoch)


def pause(
    engine: Engine, shard: ShardState, task: ScheduleState, token: int, command: PauseSchedule
) -> None:
    """Launch nothing from now on. Pausing what is paused changes nothing, nor does a repetition."""
    detail = launching.detail_of(task)
    if detail.paused is not None or command.request_id in detail.requests:
        answer(engine, shard, task, token, command, _unchanged(task))
        return
    if _what_is_due_first(engine, shard, task, token, command):
        return
    paused = PausedBy(reason=command.reason, actor=command.actor, at_ms=engine.now_ms)
    changed = replace(_same_hand(task), paused=paused, updated_ms=engine.now_ms)
    _append(engine, shard, task, token, command, changed, EventKind.SCHEDULE_PAUSED)


def resume(
    engine: Engine, shard: ShardState, task: ScheduleState, token: int, command: ResumeSchedule
) -> None:
    """Go on; what was due until now is PAUSED in the ledger before."""
    detail = launching.detail_of(task)
    if detail.paused is None or command.request_id in detail.requests:
        answer(engine, shard, task, token, command, _unchanged(task))
        return
    if _what_is_due_first(engine, shard, task, token, command):
        return
    changed = replace(_same_hand(task), paused=None, updated_ms=engine.now_ms)
    _append(engine, shard, task, token, command, changed, EventKind.SCHEDULE_RESUMED)


def end(
    engine: Engine, shard: ShardState, task: ScheduleState, token: int, command: EndSchedule
) -> None:
    """Nothing is launched after the answer, and what is due by now gets its verdict.

    A repetition that arrives when the name is in use again ends nothing.
    """
    if command.request_id in launching.detail_of(task).requests:
        answer(engine, shard, task, token, command, _unchanged(task))
        return
    for run, epoch in occurrences.in_hand(task):
        if not _surely_ours(engine, shard, task, run, epoch):
            task.waiting.insert(0, (token, command))
            return
    try:
        waits = _cancels_first(engine, shard, task)
    except SpecProblem:  # as in `_what_is_due_first`
        engine.counters.schedules_held += 1
        waits = False
    if waits:
        task.waiting.insert(0, (token, command))
        return
    detail = launching.quiet(launching.detail_of(task))
    ended = replace(detail, next_ms=None, hand_epoch=shard.epoch, backfills=())
    _append(engine, shard, task, token, command, ended, EventKind.SCHEDULE_ENDED)


def _surely_ours(
    engine: Engine, shard: ShardState, task: ScheduleState, run: TaskId, epoch: Epoch
) -> bool:
    """Whether no earlier owner can launch this run any more; if not, that is seen to first."""
    standing = ticking.look_at(engine, shard, task, run)
    if standing is Standing.UNKNOWN:
        return False
    if occurrences.needs_fence(shard, epoch, standing):
        ticking.fence_first(engine, shard, task, run)
        return False
    return True


def _cancels_first(engine: Engine, shard: ShardState, task: ScheduleState) -> bool:
    """Give one time that waits, or those that are due, their verdicts: cancelled, or launched."""
    detail, hand_ms = launching.detail_of(task), occurrences.hand_ms(task)
    times = [*detail.buffered]
    if hand_ms is not None:
        times.append((hand_ms, occurrences.hand_epoch(task)))
    for at_ms, epoch in times:
        standing = occurrences.standing(shard, task, occurrences.occurrence_id(task, at_ms))
        if standing is Standing.EXISTS:
            found = Decision(move=Move.RECORD, cause="fail-over", last_ms=at_ms)
            ticking.carry_out(engine, shard, task, at_ms, epoch, found)
            return True
        if at_ms <= engine.now_ms:
            ticking.carry_out(engine, shard, task, at_ms, epoch, _cancelled(engine, task, at_ms))
            return True
    return False


def _cancelled(engine: Engine, task: ScheduleState, at_ms: int) -> Decision:
    """From a nominal time that waits, that alone; from the one in hand, all that are due."""
    last_ms, times = at_ms, 1
    if at_ms == occurrences.hand_ms(task):
        last_ms, times = span(launching.detail_of(task).spec, at_ms, engine.now_ms)
    return Decision(
        move=Move.PASS, verdict=Verdict.CANCELLED, cause="ended", last_ms=last_ms, times=times
    )


def _what_is_due_first(
    engine: Engine, shard: ShardState, task: ScheduleState, token: int, command: Change
) -> bool:
    """Whether the change has to wait, because something gets its verdict before."""
    hand_ms = occurrences.hand_ms(task)
    if hand_ms is None:
        return False
    standing = ticking.look_at(engine, shard, task, occurrences.occurrence_id(task, hand_ms))
    if standing is Standing.UNKNOWN:
        task.waiting.insert(0, (token, command))
        return True
    if hand_ms > engine.now_ms and standing is not Standing.EXISTS:
        return False
    try:
        ticking.tick(engine, shard, task, hurried=True)
    except SpecProblem:  # what is due cannot be computed any more, and must not be in the way
        engine.counters.schedules_held += 1
        return False
    task.waiting.insert(0, (token, command))
    return True


def _same_hand(task: ScheduleState) -> ScheduleDetail:
    """The head's words with what is in hand written out, whatever version of us wrote it."""
    detail = launching.quiet(launching.detail_of(task))
    return replace(
        detail, next_ms=occurrences.hand_ms(task), hand_epoch=occurrences.hand_epoch(task)
    )


def _append(
    engine: Engine,
    shard: ShardState,
    task: ScheduleState,
    token: int,
    command: Change,
    detail: ScheduleDetail,
    kind: EventKind,
    ahead: tuple[Row, ...] = (),
) -> None:
    requests = (command.request_id, *detail.requests)[:MOST_REQUESTS]
    detail = replace(detail, requests=requests)

    def go_on() -> None:
        schedules.append_asked(engine, shard, task, token, command, detail, kind)

    ticking.after(engine, shard, task, ahead, go_on, token)


def _unchanged(task: ScheduleState) -> ScheduleDone:
    return ScheduleDone(schedules.view_of(task), fresh=False)


def _stale(task: ScheduleState) -> Rejected:
    message = f"the schedule has etag {task.head.revision} by now; read it and try again"
    return Rejected(RejectionReason.STALE_ETAG, message)
