"""The operators' messages, made from records field by field. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from timeball.errors import TimeballError
from timeball.v1 import admin_service_pb2 as pb

from coordinator.dead_letters import Letter
from coordinator.overview import Overview, ShardOverview
from coordinator.redrive import Redriven
from coordinator.task_messages import item_error
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.ports.coordination import Member, Role
from timeball_server.ports.owners import ShardFigures
from timeball_server.rpc.convert import CAUSES, set_duration, set_timestamp, task_name


def node_message(
    member: Member,
    overview: Overview | None = None,
    now_ms: int | None = None,
    left_out: Sequence[tuple[NodeId, str]] = (),
) -> pb.Node:
    """A member; leader, shards and uptime where the rest of the cluster is known.

    `left_out` are the scheduler nodes that give an executor no work now, and why.
    """
    node = pb.Node(
        name=member.node,
        role=member.role.value,
        address=member.address,
        incarnation=member.incarnation,
        strength=member.strength,
        slots=member.slots,
        handlers=member.handlers,
        version=member.version,
        draining=member.draining,
        caps=dict(member.caps),
        left_out_by=[node for node, _ in left_out],
        left_out_reason=left_out[0][1] if left_out else "",
    )
    if member.started_ms:
        set_timestamp(node.start_time, member.started_ms)
        if now_ms is not None:
            set_duration(node.uptime, max(0, now_ms - member.started_ms))
    if overview is not None:
        node.leader = member.role is Role.COORDINATOR and member.node == overview.leader
        if member.role is Role.SCHEDULER_NODE:
            node.owned_shards.extend(
                each.shard for each in overview.shards if each.owner == member.node
            )
    return node


def shard_message(shard: ShardOverview, figures: Mapping[ShardId, ShardFigures]) -> pb.Shard:
    """A shard, with figures if its owner answered."""
    message = pb.Shard(
        shard=shard.shard,
        owner=shard.owner or "",
        epoch=shard.epoch,
        assigned=shard.assigned or "",
        reason=shard.reason,
        pinned=shard.pinned or "",
    )
    known = figures.get(shard.shard)
    if known is not None:
        message.answered = True
        message.tasks, message.waiting = known.tasks, known.waiting
        message.due_now, message.starts = known.due_now, known.starts
        if known.late_p50_ms is not None:
            set_duration(message.lateness_p50, known.late_p50_ms)
        if known.late_p99_ms is not None:
            set_duration(message.lateness_p99, known.late_p99_ms)
    return message


def redrive_message(each: Redriven, namespace: str) -> pb.RedriveResult:
    """What became of one dead letter."""
    result = pb.RedriveResult(dead_letter=task_name(namespace, each.old))
    if isinstance(each.result, TimeballError):
        result.error.CopyFrom(item_error(each.result))
    else:
        result.task = task_name(namespace, each.result.task_id)
    return result


def letter_message(letter: Letter) -> pb.DeadLetter:
    """A dead letter as its task's journal has it."""
    task = letter.task
    message = pb.DeadLetter(
        task=task_name(task.spec.namespace, task.task_id),
        handler=task.spec.handler,
        owner=task.spec.owner,
        message=task.failure.message if task.failure is not None else "",
        attempts=task.attempt,
    )
    if task.cause is not None:
        message.cause = CAUSES[task.cause]
    set_timestamp(message.fail_time, letter.failed_ms)
    if letter.redriven_as is not None:
        message.redriven_as = task_name(task.spec.namespace, letter.redriven_as)
    return message
