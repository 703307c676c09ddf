"""Runs that were sent: only their executor can say whether they have begun (rule R14).

Who wants to cancel or change such a task is held until the answer, then decided as if he came now.
Without an answer nothing is written, and the outcome is unknown.
"""

from __future__ import annotations

from timeball_server.core.commands import ChangeTask, Rejected, RejectionReason
from timeball_server.core.engine import commands, placing
from timeball_server.core.engine.state import Engine, Fate, ShardState, TaskState
from timeball_server.core.engine.writing import reply, unknown
from timeball_server.core.journal_text import instant_text
from timeball_server.core.messages import Revoke, RevokeAnswer, RevokeReply


def ask(
    engine: Engine, shard: ShardState, task: TaskState, token: int, command: ChangeTask
) -> None:
    """Ask for the run back and hold the command until its executor has answered."""
    executor = engine.reached(task)
    if executor is None:
        why = f"attempt {task.head.attempt} was sent to {task.head.executor}, which cannot be asked"
        reply(engine, token, unknown(why))
        return
    run = task.run_id
    if run is None:
        raise AssertionError("a claimed task has a run")
    task.revokes.append((token, command))
    if len(task.revokes) == 1:
        task.revoke_asked_ms = engine.now_ms
        engine.send(executor.facts.incarnation, Revoke(run, shard.shard, shard.epoch))


def answered(engine: Engine, shard: ShardState, task: TaskState, said: RevokeReply) -> None:
    """The executor answered: not begun = it may be changed, begun = too late."""
    if said.answer is RevokeAnswer.FINISHED:
        come_too_late(engine, task, said.started_ms)
        return
    if said.answer is RevokeAnswer.RUNNING:
        task.started_ms = said.started_ms or task.started_ms or engine.now_ms
    elif task.revokes:
        placing.unsend(engine, task)
    else:
        task.results.append((task.head.incarnation, (said.run, Fate.UNSEEN)))
    go_on(task)
    placing.free(engine, shard, task)


def go_on(task: TaskState) -> None:
    """What became of the run is known: those who asked are next in line."""
    asked, task.revokes = task.revokes, []
    task.waiting[:0] = asked


def come_too_late(engine: Engine, task: TaskState, started_ms: int | None) -> None:
    """The run has ended before it could be revoked."""
    asked, task.revokes = task.revokes, []
    if asked:
        task.started_ms = started_ms or task.started_ms
    for token, _ in asked:
        reply(engine, token, too_late(task))


def unanswered(engine: Engine, task: TaskState) -> None:
    """The stream broke before the executor answered: nothing is written, all else unknown."""
    asked, task.revokes = task.revokes, []
    for token, _ in asked:
        why = f"{task.head.executor} did not say whether attempt {task.head.attempt} had begun"
        reply(engine, token, unknown(why))


def too_late(task: TaskState) -> Rejected:
    """An attempt has begun: it is not changed any more."""
    started = "" if task.started_ms is None else f" at {instant_text(task.started_ms)}"
    message = f"attempt {task.head.attempt} has started{started}; nothing was changed"
    return Rejected(RejectionReason.TOO_LATE, message, commands.view_of(task))
