"""Changing a task of the engine's world: update, reschedule, delete, and what was handed out."""

from __future__ import annotations

from typing import Any

from tests.support.engine_world import Call, Node, task_spec
from timeball_server.core.commands import DeleteTask, RescheduleTask, UpdateTask
from timeball_server.core.ids import TaskId
from timeball_server.core.messages import RunOrder
from timeball_server.core.model import Payload


def update(
    node: Node,
    task_id: TaskId,
    data: bytes = b"2",
    *,
    revision: int | None = None,
    request_id: str = "update",
    resend: bool = False,
    fields: tuple[str, ...] = ("payload",),
    **spec: Any,
) -> Call:
    """Give the task another payload, or what else `fields` and `spec` say."""
    command = UpdateTask(
        task_id=task_id,
        namespace="shop",
        spec=task_spec(payload=Payload(data=data), **spec),
        fields=fields,
        revision=revision,
        request_id=request_id,
        actor="clerk",
        resend=resend,
    )
    return node.ask(command, task_id)


def reschedule(
    node: Node,
    task_id: TaskId,
    in_ms: int | None = None,
    *,
    delay_ms: int = 0,
    revision: int | None = None,
    request_id: str = "reschedule",
    resend: bool = False,
) -> Call:
    """Make the task due so many milliseconds from now, or by the owner's now (None)."""
    command = RescheduleTask(
        task_id=task_id,
        namespace="shop",
        due_ms=None if in_ms is None else node.world.wall_ms + in_ms,
        delay_ms=delay_ms,
        revision=revision,
        request_id=request_id,
        actor="clerk",
        resend=resend,
    )
    return node.ask(command, task_id)


def delete(
    node: Node,
    task_id: TaskId,
    *,
    revision: int | None = None,
    request_id: str = "delete",
    resend: bool = False,
    namespace: str = "shop",
) -> Call:
    """Delete the task."""
    command = DeleteTask(
        task_id=task_id,
        namespace=namespace,
        revision=revision,
        request_id=request_id,
        actor="clerk",
        resend=resend,
    )
    return node.ask(command, task_id)


def again(call: Call, node: Node | None = None) -> Call:
    """Send a command once more, marked as a repetition; to another node, if one is named."""
    values = {name: getattr(call.command, name) for name in type(call.command).__slots__}
    repeated = type(call.command)(**{**values, "resend": True})
    return (node or call.node).ask(repeated, call.task_id)


def ran(orders: list[RunOrder]) -> list[bytes]:
    """The payloads that were handed out, in order."""
    return [order.payload.data for order in orders]
