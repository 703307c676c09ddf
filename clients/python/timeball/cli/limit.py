"""`timeball limit`: what namespaces allow of keys, handlers and themselves, for administrators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from timeball.cli.output import (
    as_json,
    output_option,
    print_json,
    print_table,
    request_id_option,
    time_of,
    word,
)
from timeball.cli.session import Session

if TYPE_CHECKING:
    from timeball.v1 import admin_service_pb2

HEADER = ("kind", "pattern", "at once", "rate", "burst", "weight", "set by", "at", "reason")
_KIND = click.Choice(("key", "handler", "namespace"))
_OF_NAMESPACE = click.option(
    *("--in", "--namespace", "namespace"),
    default="",
    metavar="NAMESPACE",
    help="Default: the key's own.",
)


@click.group()
def group() -> None:
    """How many tasks of a key run at once, how many start, and whose share is how large."""


@group.command("set")
@click.argument("kind", type=_KIND)
@click.argument("pattern", default="")
@click.option("--concurrency", type=int, metavar="N", help="Of a key: most at once.")
@click.option("--rate", metavar="N/TIME", help="Of a key or handler: 10/s, 600/min, 5/30s.")
@click.option("--burst", type=int, metavar="N", help="So many at once after a pause (1).")
@click.option("--weight", type=int, metavar="N", help="Of a namespace: its share (1).")
@click.option("--reason", default="", help="Why, for those who look at it later.")
@_OF_NAMESPACE
@request_id_option
@output_option
@click.pass_obj
def set_limit(session: Session, /, kind: str, pattern: str, output: str, **said: Any) -> None:
    """Set what is allowed of PATTERN, a key or handler; one that ends in * is for each of them."""
    made = session.client.admin.set_limit(kind, pattern, **said)
    if output == "json":
        print_json(as_json(made))
    else:
        table([made])


@group.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=1_000, show_default=True)
@_OF_NAMESPACE
@output_option
@click.pass_obj
def list_limits(session: Session, limit: int, namespace: str, output: str) -> None:
    """List what is set."""
    found = session.client.admin.limits(namespace=namespace, limit=limit)
    if output == "json":
        print_json({"limits": [as_json(each) for each in found]})
    else:
        table(found)


@group.command()
@click.argument("kind", type=_KIND)
@click.argument("pattern", default="")
@_OF_NAMESPACE
@request_id_option
@click.pass_obj
def delete(
    session: Session, kind: str, pattern: str, namespace: str, request_id: str | None
) -> None:
    """Take a limit back: a key that no other rule names has one place again."""
    session.client.admin.delete_limit(kind, pattern, namespace=namespace, request_id=request_id)
    click.echo(f"{kind} {pattern}: no limit is set any more".replace("  ", " "))


def table(found: Sequence[admin_service_pb2.Limit]) -> None:
    """Prints limits line by line."""
    print_table(HEADER, [_row(each) for each in found])


def _row(limit: admin_service_pb2.Limit) -> tuple[str, ...]:
    rate, per_s = limit.rate, limit.rate.per.ToMilliseconds() / 1_000
    has_rate = limit.HasField("rate")
    return (
        word(limit.DESCRIPTOR, "kind", limit.kind).lower(),
        limit.pattern,
        str(limit.concurrency) if limit.HasField("concurrency") else "",
        f"{rate.starts}/{per_s:g}s" if has_rate else "",
        str(rate.burst) if has_rate else "",
        str(limit.weight) if limit.HasField("weight") else "",
        limit.actor,
        time_of(limit, "update_time"),
        limit.reason,
    )
