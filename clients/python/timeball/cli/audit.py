"""`timeball audit`: who changed what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from timeball.cli.instants import time_option
from timeball.cli.output import as_json, output_option, print_json, print_table, time_of
from timeball.cli.session import Session

if TYPE_CHECKING:
    from datetime import datetime

    from timeball.v1 import admin_service_pb2

HEADER = ("time", "actor", "action", "target", "outcome", "detail", "request")


@click.group()
def group() -> None:
    """Who changed what."""


@group.command("list")
@click.option("--in", "namespace", metavar="NAMESPACE", help="Default: the cluster as a whole.")
@click.option("--actor", default="", help="Only what this subject or node did.")
@click.option("--action", default="", help="Only this action, such as RevokeKey.")
@time_option("--from", "begin", say="Noted then or later; default: 7 days ago.")
@time_option("--to", "end", say="Noted before then; default: now.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@output_option
@click.pass_obj
def list_entries(
    session: Session,
    namespace: str | None,
    actor: str,
    action: str,
    begin: datetime | None,
    end: datetime | None,
    limit: int,
    output: str,
) -> None:
    """List entries, newest first. What happens to tasks stands in `timeball task get ID`."""
    found = session.client.admin.audit(
        namespace=namespace,
        actor=actor,
        action=action,
        noted_from=begin,
        noted_to=end,
        limit=limit,
    )
    if output == "json":
        print_json({"entries": [as_json(each) for each in found]})
    else:
        print_table(HEADER, [_row(each) for each in found])


def _row(entry: admin_service_pb2.AuditEntry) -> tuple[str, ...]:
    return (
        time_of(entry, "time"),
        entry.actor,
        entry.action,
        entry.target,
        entry.outcome,
        entry.detail,
        entry.request_id,
    )
