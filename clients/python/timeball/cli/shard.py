"""`timeball shard`: who owns what, and moving shards by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from timeball.cli.cluster import SHARDS, shard_row
from timeball.cli.output import (
    as_json,
    output_option,
    print_json,
    print_table,
    request_id_option,
)
from timeball.cli.session import Session

if TYPE_CHECKING:
    from timeball.v1 import admin_service_pb2


@click.group()
def group() -> None:
    """Look at shards and move them."""


@group.command("list")
@click.option("--owner", default="", metavar="NODE", help="Only shards of this scheduler node.")
@output_option
@click.pass_obj
def list_shards(session: Session, owner: str, output: str) -> None:
    """List shards: owner, epoch, backlog, lateness, and why each is where it is."""
    found = session.client.admin.shards(owner=owner, limit=65_536)
    if output == "json":
        print_json({"shards": [as_json(shard) for shard in found]})
    else:
        print_table(SHARDS, [shard_row(shard) for shard in found])


@group.command()
@click.argument("shard", type=click.IntRange(0, 65_535))
@click.argument("node")
@request_id_option
@output_option
@click.pass_obj
def move(session: Session, shard: int, node: str, request_id: str | None, output: str) -> None:
    """Wish SHARD on the scheduler node NODE.

    The leader moves it within moments and leaves it there; `timeball shard unpin` takes the wish
    back. While NODE is away the shard is placed like any other.
    """
    show(session.client.admin.move_shard(shard, node, request_id=request_id), output)


@group.command()
@click.argument("shard", type=click.IntRange(0, 65_535))
@request_id_option
@output_option
@click.pass_obj
def unpin(session: Session, shard: int, request_id: str | None, output: str) -> None:
    """Let the leader place SHARD as it likes again."""
    show(session.client.admin.unpin_shard(shard, request_id=request_id), output)


def show(shard: admin_service_pb2.Shard, output: str) -> None:
    """Prints one shard."""
    if output == "json":
        print_json(as_json(shard))
    else:
        print_table(SHARDS, [shard_row(shard)])
