"""What an owner says holds a task back, asked at once."""

from __future__ import annotations

from tests.support.engine_world import Node
from timeball_server.core.commands import Explained, ExplainTask
from timeball_server.core.explanation import BlockingCause, Explanation, Reason
from timeball_server.core.ids import TaskId


def explanation(node: Node, task_id: TaskId) -> Explanation:
    """What the node says, at once."""
    outcome = node.ask(ExplainTask(task_id=task_id, namespace="shop"), task_id).outcome
    assert isinstance(outcome, Explained), outcome
    assert outcome.explanation.task_id == task_id
    assert outcome.explanation.at_ms == node.world.wall_ms
    return outcome.explanation


def causes(node: Node, task_id: TaskId) -> list[BlockingCause]:
    """The causes, the blocking one first."""
    return [reason.cause for reason in explanation(node, task_id).reasons]


def blocking(node: Node, task_id: TaskId, cause: BlockingCause) -> Reason:
    """The first reason, which must have this cause."""
    reason = explanation(node, task_id).blocking
    assert reason.cause is cause, reason
    return reason


def fact(reason: Reason, key: str) -> str | None:
    """One of the details."""
    return dict(reason.details).get(key)
