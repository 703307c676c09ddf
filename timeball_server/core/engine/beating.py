"""Heartbeats: what the owner knows of long attempts, when they are silent, and what it writes down.

An owner that has heard nothing for a run's heartbeat timeout asks its executor, who knows when the
handler spoke last, to give the run up; its result is then a failure like any other (rule R14: only
the executor can say what a run does, and unknown is not failed). Whoever has just taken over, or
could not be told anything, gives a full period first. Silence is measured by the clock that never
steps.

Checkpoints are kept by the executor while the run lives and come back with its failure. Against the
loss of both, one is written to the journal now and then, so seldom that an attempt leaves few
events: it is at most a minute, or a quarter of the attempt's age until then, behind.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from timeball_server.core.engine.pulse import LEAST_SAVE_MS, Pulse
from timeball_server.core.engine.state import Engine, ExecutorState, Phase, ShardState, TaskState
from timeball_server.core.engine.writing import begin, following_event, moved_hint
from timeball_server.core.ids import home_of
from timeball_server.core.journal import EventKind, ProgressDetail
from timeball_server.core.messages import Beat, Beats, CancelRun, RunId
from timeball_server.core.model import Payload, Progress
from timeball_server.core.view import checkpoint_of

_AGE_SHARE: Final = 4
"""The next one waits for at least this part of the time since the first."""


def watch(engine: Engine, task: TaskState) -> None:
    """A run was handed out, adopted, or has a new event: judge its silence from now on."""
    limit_ms = task.spec.timeouts.heartbeat_ms
    if limit_ms is None:
        return
    if task.pulse is None:
        task.pulse = Pulse(begun_mono_ms=engine.mono_ms)
    _look_in(engine, task, task.pulse, limit_ms)


def _look_in(engine: Engine, task: TaskState, pulse: Pulse, wait_ms: int) -> None:
    pulse.look_ms = engine.now_ms + wait_ms
    engine.at(task, pulse.look_ms)


def looked(engine: Engine, shard: ShardState, task: TaskState) -> bool:
    """Look whether a run is silent if that is what its time has come for; False = it is not."""
    pulse, limit_ms = task.pulse, task.spec.timeouts.heartbeat_ms
    if pulse is None or limit_ms is None or pulse.look_ms > engine.now_ms:
        return False
    executor = engine.reached(task)
    if task.started_ms is None or executor is None or not executor.ready:
        pulse.judged_mono_ms = engine.mono_ms  # nobody could have been heard
    silent_ms = engine.mono_ms - pulse.judged_mono_ms
    if silent_ms >= limit_ms:
        _ask(engine, shard, task, pulse)
        silent_ms = 0
    _look_in(engine, task, pulse, limit_ms - silent_ms)
    return True


def _ask(engine: Engine, shard: ShardState, task: TaskState, pulse: Pulse) -> None:
    """Have the run given up if its handler has been silent; asked again after another period."""
    run = task.run_id
    if run is None:
        raise AssertionError("a claimed task has a run")
    pulse.judged_mono_ms = engine.mono_ms
    engine.counters.silent += 1
    order = CancelRun(run, shard.shard, shard.epoch, if_silent=True)
    engine.send(task.head.incarnation, order)


def silent_ms(engine: Engine, task: TaskState) -> int | None:
    """When the run will be asked about unless it is heard before; None = never."""
    limit_ms, pulse = task.spec.timeouts.heartbeat_ms, task.pulse
    if limit_ms is None or pulse is None:
        return None
    return engine.now_ms + max(0, pulse.judged_mono_ms + limit_ms - engine.mono_ms)


def judge_from_now(engine: Engine, task: TaskState) -> None:
    """The run has begun, or can be heard again: it has a full period from now on."""
    if task.pulse is not None:
        task.pulse.judged_mono_ms = engine.mono_ms


def said(engine: Engine, executor: ExecutorState, message: Beats) -> None:
    """Handlers said that they live."""
    for beat in message.beats:
        task = executor.runs.get(beat.run)
        shard = None if task is None else engine.owned(task)
        if task is not None and shard is not None and task.run_id == beat.run:
            _heard(engine, shard, task, beat)
        elif task is None:
            _keep_for_later(engine, executor, beat)


def _keep_for_later(engine: Engine, executor: ExecutorState, beat: Beat) -> None:
    """The run is in an inventory, and its task not in memory yet: it will ask for this."""
    shard = engine.shards.get(home_of(beat.run.task_id).shard)
    if shard is None or beat.run not in shard.inventories.get(executor.facts.incarnation, {}):
        return
    known = shard.beats.get(beat.run)
    if known is not None and beat.checkpoint is None:
        beat = replace(beat, checkpoint=known.checkpoint)
    shard.beats[beat.run] = beat


def adopt(engine: Engine, shard: ShardState, task: TaskState, run: RunId) -> None:
    """A run that an earlier owner handed out is ours: what it said to us before we knew it."""
    beat = shard.beats.pop(run, None)
    if beat is not None:
        _heard(engine, shard, task, beat)


def _heard(engine: Engine, shard: ShardState, task: TaskState, beat: Beat) -> None:
    pulse = task.pulse
    if pulse is None:
        pulse = task.pulse = Pulse(begun_mono_ms=engine.mono_ms)
    pulse.heard(beat, wall_ms=engine.now_ms, mono_ms=engine.mono_ms)
    if task.task_id in shard.watchers:
        engine.changed[task.task_id] = task
    if pulse.is_due(engine.mono_ms) and _is_free(shard, task):
        renew(engine, shard, task)


def _is_free(shard: ShardState, task: TaskState) -> bool:
    return task.idle and task.sent and not task.revokes and shard.phase is not Phase.RELEASING


def renew(engine: Engine, shard: ShardState, task: TaskState) -> None:
    """A long run moves its alarm ahead, so that take-over never reads far back (rule R18).

    The event takes along how far the run has come, if there is a checkpoint to be kept. For that
    alone no alarm is moved: if owner and executor are lost at once, nobody looks before it rings.
    """
    pulse = task.pulse
    progress = pulse.progress if pulse is not None and pulse.is_due(engine.mono_ms) else None
    moves = progress is None or _is_long(engine, task)
    row = following_event(
        engine,
        shard,
        task,
        EventKind.RENEWED,
        actor=engine.node,
        due_ms=engine.now_ms + engine.config.renew_ahead_ms if moves else None,
        detail=None if progress is None else ProgressDetail(progress=progress),
    )
    if pulse is not None and progress is not None:
        age_ms = engine.mono_ms - pulse.begun_mono_ms
        pulse.saved(engine.mono_ms + max(LEAST_SAVE_MS, age_ms // _AGE_SHARE))
    begin(engine, shard, task, row, hint=moved_hint(engine, shard, task, row))


def _is_long(engine: Engine, task: TaskState) -> bool:
    """Whether it is time for the alarm to move, since the run was due or since it moved last."""
    config, alarm = engine.config, task.head.alarm
    since_ms = 0 if alarm is None else alarm.due_ms - task.renewed * config.renew_ahead_ms
    return engine.now_ms >= since_ms + config.renew_after_ms


def left_behind(task: TaskState, checkpoint: Payload | None = None) -> Progress | None:
    """How far an attempt had come that did not succeed; its checkpoint if the journal lacks it.

    Args:
        checkpoint: what its executor said with the result.
    """
    progress = None if task.pulse is None else task.pulse.progress
    newest = checkpoint or (None if progress is None else progress.checkpoint)
    if newest is not None and newest == checkpoint_of(task.chain):
        newest = None
    if progress is None and newest is None:
        return None
    return replace(progress or Progress(), checkpoint=newest)


def checkpoint_for(task: TaskState) -> Payload | None:
    """What the attempt that is handed out goes on from. Most tasks have had no attempt before."""
    return checkpoint_of(task.chain) if len(task.chain) > 2 else None
