"""`timeball cluster`: who is alive, and who owns what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from timeball.cli.output import as_json, instant, output_option, print_json, print_table
from timeball.cli.session import Session

if TYPE_CHECKING:
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


def _summary(cluster: admin_service_pb2.GetClusterResponse) -> tuple[str, ...]:
    return (cluster.leader, cluster.store, str(cluster.assignment_version), cluster.version)


def _node(node: admin_service_pb2.Node) -> tuple[str, ...]:
    return (
        node.name,
        node.role + (" (leader)" if node.leader else ""),
        node.address,
        str(node.strength or ""),
        str(node.slots or ""),
        instant(node.start_time, node.HasField("start_time")),
        node.version,
    )
