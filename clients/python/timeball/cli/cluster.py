"""`timeball cluster`: who is alive, and who owns what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from timeball.cli.output import as_json, output_option, print_json, print_table, time_of
from timeball.cli.session import Session

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from timeball.v1 import admin_service_pb2


@click.group()
def group() -> None:
    """Look at nodes and shards."""


@group.command()
@output_option
@click.pass_obj
def status(session: Session, output: str) -> None:
    """Nodes, shards and their owners at one moment."""
    cluster = session.client.cluster()
    if output == "json":
        print_json(as_json(cluster))
        return
    print_table(("leader", "store", "assignment", "version"), [_summary(cluster)])
    click.echo()
    print_table(
        ("name", "role", "address", "strength", "slots", "started", "version"),
        [_node(node) for node in cluster.nodes],
    )
    click.echo()
    print_table(
        ("shard", "owner", "epoch", "assigned", "reason"),
        [(str(s.shard), s.owner, str(s.epoch), s.assigned, s.reason) for s in cluster.shards],
    )


@group.command()
@output_option
@click.pass_obj
def nodes(session: Session, output: str) -> None:
    """Living processes: who leads, who owns which shards, who takes no more work."""
    cluster = session.client.cluster()
    if output == "json":
        print_json({"nodes": [as_json(node) for node in cluster.nodes]})
    else:
        print_table(NODES, [node_row(node) for node in cluster.nodes])


@group.command()
@output_option
@click.pass_obj
def shards(session: Session, output: str) -> None:
    """Shards: owner, epoch, backlog, lateness of the last minute, and why it is where it is.

    A shard whose owner did not answer in time shows "no answer" and no figures.
    """
    cluster = session.client.cluster()
    if output == "json":
        print_json({"shards": [as_json(shard) for shard in cluster.shards]})
    else:
        print_table(SHARDS, [shard_row(shard) for shard in cluster.shards])


NODES = (
    *("name", "role", "address", "incarnation", "strength", "slots", "shards", "state", "uptime"),
)
SHARDS = (
    *("shard", "owner", "epoch", "assigned", "pinned", "tasks", "waiting", "due", "starts"),
    *("p50", "p99", "reason"),
)


def node_row(node: admin_service_pb2.Node) -> tuple[str, ...]:
    """One line of the list of nodes."""
    is_owner = node.role == "scheduler_node"
    return (
        node.name,
        node.role + (" (leader)" if node.leader else ""),
        node.address,
        str(node.incarnation),
        str(node.strength or ""),
        str(node.slots or ""),
        " ".join(map(str, node.owned_shards)) if is_owner else "",
        _state(node),
        _uptime(node.uptime.seconds) if node.HasField("uptime") else "",
    )


def _state(node: admin_service_pb2.Node) -> str:
    """What keeps work from it, in a few words."""
    if node.draining:
        return "draining"
    if node.left_out_by:
        return f"left out by {' '.join(node.left_out_by)}: {node.left_out_reason}"
    return "ok"


def shard_row(shard: admin_service_pb2.Shard) -> tuple[str, ...]:
    """One line of the list of shards."""
    place = (str(shard.shard), shard.owner, str(shard.epoch or ""), shard.assigned, shard.pinned)
    if not shard.answered:
        silent = "no answer" if shard.owner else "no owner"
        return (*place, silent, *[""] * 5, shard.reason)
    counts = (shard.tasks, shard.waiting, shard.due_now, shard.starts)
    late = (
        _late(shard.lateness_p50, shard.HasField("lateness_p50")),
        _late(shard.lateness_p99, shard.HasField("lateness_p99")),
    )
    return (*place, *map(str, counts), *late, shard.reason)


def _late(late: Duration, is_set: bool) -> str:
    return f"{late.ToMilliseconds()} ms" if is_set else ""


def _uptime(seconds: int) -> str:
    """The two largest units: people look for restarts."""
    parts: list[str] = []
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")):
        count, seconds = divmod(seconds, unit)
        if count or parts or name == "s":
            parts.append(f"{count}{name}")
    return " ".join(parts[:2])


def _summary(cluster: admin_service_pb2.GetClusterResponse) -> tuple[str, ...]:
    return (cluster.leader, cluster.store, str(cluster.assignment_version), cluster.version)


def _node(node: admin_service_pb2.Node) -> tuple[str, ...]:
    return (
        node.name,
        node.role + (" (leader)" if node.leader else ""),
        node.address,
        str(node.strength or ""),
        str(node.slots or ""),
        time_of(node, "start_time"),
        node.version,
    )
