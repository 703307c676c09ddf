"""`timeball node`: look at the processes of a cluster and steer them."""

from __future__ import annotations

import click

from timeball.cli.cluster import NODES, node_row
from timeball.cli.output import (
    as_json,
    output_option,
    print_json,
    print_table,
    request_id_option,
)
from timeball.cli.session import Session


@click.group()
def group() -> None:
    """Look at nodes and steer them."""


@group.command("list")
@click.option(
    "--role",
    type=click.Choice(["coordinator", "scheduler_node", "executor"]),
    help="Only nodes of this role.",
)
@output_option
@click.pass_obj
def list_nodes(session: Session, role: str | None, output: str) -> None:
    """List living processes by role and name."""
    found = session.client.admin.nodes(role=role or "")
    if output == "json":
        print_json({"nodes": [as_json(node) for node in found]})
    else:
        print_table(NODES, [node_row(node) for node in found])


@group.command()
@click.argument("name")
@request_id_option
@output_option
@click.pass_obj
def drain(session: Session, name: str, request_id: str | None, output: str) -> None:
    """Give the scheduler node NAME no more work.

    Its shards move to others within moments and it keeps running; `timeball node list` shows when
    it owns none. Until its process ends there is no way back.
    """
    node = session.client.drain_node(name, request_id=request_id)
    if output == "json":
        print_json(as_json(node))
    else:
        print_table(NODES, [node_row(node)])
