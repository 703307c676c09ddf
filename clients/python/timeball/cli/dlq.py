"""`timeball dlq`: tasks that failed for good and that people must look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from timeball.cli.output import as_json, instant, output_option, print_json, print_table
from timeball.cli.session import Session
from timeball.durations import parse_instant

if TYPE_CHECKING:
    from timeball.v1 import admin_service_pb2

LETTERS = ("id", "handler", "owner", "cause", "attempts", "failed", "message")
PAGE_MOST = 1_000


@click.group()
def group() -> None:
    """Look at tasks that failed for good."""


@group.command("list")
@click.option("--from", "begin", metavar="TIME", help="Failed then or later; default: 7 days ago.")
@click.option("--to", "end", metavar="TIME", help="Failed before then; default: now.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@output_option
@click.pass_obj
def list_letters(
    session: Session, begin: str | None, end: str | None, limit: int, output: str
) -> None:
    """List them, newest first; `timeball task get ID` shows one with its attempts."""
    found = session.client.dead_letters(
        failed_from=None if begin is None else parse_instant(begin, field="--from"),
        failed_to=None if end is None else parse_instant(end, field="--to"),
        page_size=min(limit, PAGE_MOST),
        limit=limit,
    )
    if output == "json":
        print_json({"deadLetters": [as_json(each) for each in found]})
    else:
        print_table(LETTERS, [_row(each) for each in found])


def _row(letter: admin_service_pb2.DeadLetter) -> tuple[str, ...]:
    from timeball.v1 import task_pb2

    causes = task_pb2.FailureCause
    cause = causes.Name(letter.cause) if letter.cause in causes.values() else str(letter.cause)
    return (
        letter.task.rpartition("/")[2],
        letter.handler,
        letter.owner,
        cause.removeprefix("FAILURE_CAUSE_") if letter.cause else "",
        str(letter.attempts),
        instant(letter.fail_time, letter.HasField("fail_time")),
        letter.message,
    )
