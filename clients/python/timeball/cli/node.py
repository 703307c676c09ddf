"""`timeball node`: steer the processes of a cluster."""

from __future__ import annotations

import click

from timeball.cli.cluster import NODES, node_row
from timeball.cli.output import as_json, output_option, print_json, print_table
from timeball.cli.session import Session


@click.group()
def group() -> None:
    """Steer nodes."""


@group.command()
@click.argument("name")
@click.option("--request-id", metavar="UUID", help="For the audit log; by default a fresh one.")
@output_option
@click.pass_obj
def drain(session: Session, name: str, request_id: str | None, output: str) -> None:
    """Give the scheduler node NAME no more work.

    Its shards move to others within moments and it keeps running; `timeball cluster nodes` shows
    when it owns none. Until its process ends there is no way back.
    """
    node = session.client.drain_node(name, request_id=request_id)
    if output == "json":
        print_json(as_json(node))
    else:
        print_table(NODES, [node_row(node)])
