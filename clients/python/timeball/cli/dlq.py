"""`timeball dlq`: tasks that failed for good, to look at and to do again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from timeball._clock import SystemClock
from timeball.cli.failures import OTHER
from timeball.cli.instants import time_option
from timeball.cli.output import (
    as_json,
    output_option,
    print_json,
    print_table,
    request_id_option,
    short,
    time_of,
    word,
)
from timeball.cli.session import Session

if TYPE_CHECKING:
    from timeball.v1 import admin_service_pb2

LETTERS = ("id", "handler", "owner", "cause", "attempts", "failed", "redriven as", "message")
PAGE_MOST = 1_000


@click.group()
def group() -> None:
    """Look at tasks that failed for good, and do them again."""


@group.command("list")
@time_option("--from", "begin", say="Failed then or later; default: 7 days ago.")
@time_option("--to", "end", say="Failed before then; default: now.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@output_option
@click.pass_obj
def list_letters(
    session: Session, begin: datetime | None, end: datetime | None, limit: int, output: str
) -> None:
    """List them, newest first; `timeball task get ID` shows one with its attempts."""
    found = session.client.dead_letters(
        failed_from=begin,
        failed_to=end,
        page_size=min(limit, PAGE_MOST),
        limit=limit,
    )
    if output == "json":
        print_json({"deadLetters": [as_json(each) for each in found]})
    else:
        print_table(LETTERS, [_row(each) for each in found])


@group.command()
@click.argument("tasks", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Those that the options choose.")
@click.option("--handler", default="", help="With --all: only tasks of this handler.")
@time_option("--from", "begin", say="With --all; default: 7 days ago.")
@time_option("--to", "end", say="With --all; default: now.")
@click.option("--limit", type=click.IntRange(min=1), default=1_000, show_default=True)
@request_id_option
@output_option
@click.pass_obj
def redrive(
    session: Session, /, tasks: tuple[str, ...], limit: int, output: str, **said: Any
) -> None:
    """Do tasks again: each becomes a new task that names the old one, once.

    Redriving one again answers the same new task. Exit code 1 when one of them was refused.
    """
    if bool(tasks) == said["everything"]:
        raise click.UsageError("name tasks, or say --all")
    end = said["end"]
    if said["everything"] and not (said["handler"] or said["begin"] or end):
        # The service takes no empty wish for all of them.
        end = datetime.fromtimestamp(SystemClock().wall_ms() / 1_000, UTC)
    found = session.client.admin.redrive(
        tasks,
        handler=said["handler"],
        failed_from=said["begin"],
        failed_to=end,
        limit=limit,
        request_id=said["request_id"],
    )
    if output == "json":
        print_json({"results": [as_json(each) for each in found]})
    else:
        print_table(("dead letter", "new task", "refused"), [_redriven(each) for each in found])
    if any(each.HasField("error") for each in found):
        click.get_current_context().exit(OTHER)


def _redriven(result: admin_service_pb2.RedriveResult) -> tuple[str, ...]:
    return (
        short(result.dead_letter),
        short(result.task),
        result.error.message,
    )


def _row(letter: admin_service_pb2.DeadLetter) -> tuple[str, ...]:
    return (
        short(letter.task),
        letter.handler,
        letter.owner,
        word(letter.DESCRIPTOR, "cause", letter.cause),
        str(letter.attempts),
        time_of(letter, "fail_time"),
        short(letter.redriven_as),
        letter.message,
    )
