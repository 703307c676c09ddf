"""`timeball schedule`: recurring work, from creation to ledger."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from timeball.cli.instants import time_option
from timeball.cli.lazy import VerbGroup
from timeball.cli.output import (
    as_json,
    output_option,
    print_json,
    print_table,
    request_id_option,
    short,
)
from timeball.cli.schedule_words import (
    says_when,
    task_options,
    task_options_of,
    timing_of,
    timing_options,
    words_of,
)
from timeball.cli.session import Session
from timeball.cli.task import read_arguments

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.message import Message

    from timeball.v1 import schedule_service_pb2 as pb


class _Group(VerbGroup):
    """The verbs here, one that is imported when it is run, and those of other distributions."""

    joining = "timeball.schedule_commands"
    own = {  # noqa: RUF012 - never changed
        "apply": (
            "timeball.cli.schedule_apply:apply",
            "Apply schedules declared in a TOML file or in code.",
        ),
    }
    elsewhere = {  # noqa: RUF012 - never changed
        "audit": ("timeball-server", "Count every nominal time again and compare the ledger."),
    }


@click.group(cls=_Group)
def group() -> None:
    """Run tasks again and again: by cron, at intervals, or after each completion."""


@group.command()
@click.argument("name")
@click.argument("handler")
@click.argument("arguments", metavar="[JSON]", default="{}")
@timing_options
@task_options
@request_id_option
@output_option
@click.pass_obj
def create(
    session: Session, /, name: str, handler: str, arguments: str, output: str, **said: Any
) -> None:
    """Create the schedule NAME, which runs HANDLER with the named arguments of the JSON object.

    Example: timeball schedule create nightly billing.charge '{"user": "u1"}' --cron '0 9 * * 1-5'
    --tz Europe/Berlin
    """
    named = read_arguments(sys.stdin.read() if arguments == "-" else arguments)
    request_id = said.pop("request_id")
    words = words_of(said)
    if not says_when(words):
        raise click.UsageError("say when: --cron, --every or --after-completion")
    options = task_options_of(words)
    if request_id:
        options["request_id"] = request_id
    made = session.client.schedules.create(timing_of(words), handler, named, name=name, **options)
    show(made.last_seen, output)


@group.command()
@click.argument("name")
@output_option
@click.pass_obj
def get(session: Session, name: str, output: str) -> None:
    """Show a schedule: when, what, where it stands, its last tasks."""
    from timeball.cli.schedule_tables import describe

    found = session.client.schedules.get(name)
    if output == "json":
        print_json(as_json(found))
    else:
        describe(found)


@group.command("list")
@click.option("--state", "states", multiple=True, metavar="STATE", help="Repeatable.")
@click.option("--handler", default="", help="Only those that run this handler.")
@click.option("--label", default="", metavar="KEY=VALUE", help="Only those with this label.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@output_option
@click.pass_obj
def list_schedules(session: Session, /, output: str, **said: Any) -> None:
    """List schedules; by default those that are ACTIVE or PAUSED."""
    from timeball.cli.schedule_tables import SCHEDULES, schedule_row

    found = session.client.schedules.list(**said)
    print_all("schedules", found, SCHEDULES, [schedule_row(each) for each in found], output)


@group.command()
@click.argument("name")
@click.option("--arguments", metavar="JSON", help="Named arguments of its tasks from now on.")
@timing_options
@task_options
@click.option("--etag", default="", help="Refuse if somebody changed it since it was read.")
@request_id_option
@output_option
@click.pass_obj
def update(
    session: Session, /, name: str, arguments: str | None, etag: str, output: str, **said: Any
) -> None:
    """Change what the options say; the rest stays.

    What is due by then keeps its verdict. Crons, intervals, gap, fold and exclusions are one thing:
    they are replaced together. So are labels.
    """
    from timeball._timings import named_fields, timing_message

    request_id = said.pop("request_id")
    words = words_of(said)
    says_when(words)
    timing = timing_of(words)
    wished, fields = timing_message(timing), named_fields(timing)
    if arguments is not None or task_options_of(words):
        known = session.client.schedules.get(name)
        change_task(known, arguments, words)
        wished.task.CopyFrom(known.task)
        fields, etag = [*fields, "task"], etag or known.etag
    if not fields:
        raise click.UsageError("say what to change")
    changed = session.client.schedules.patch(
        name, wished, fields=fields, etag=etag, request_id=request_id
    )
    show(changed, output)


def change_task(schedule: pb.Schedule, arguments: str | None, words: dict[str, Any]) -> None:
    """Changes in a schedule's task what options say."""
    from timeball._requests import task_of
    from timeball.options import submission

    task = schedule.task
    named = None if arguments is None else read_arguments(arguments)
    wished = task_of(submission(task.handler, named, **task_options_of(words)))
    if arguments is None:
        wished.ClearField("payload")
    for name in ("labels", "selector"):
        if getattr(wished, name):
            task.ClearField(name)
    task.MergeFrom(wished)


@group.command()
@click.argument("name")
@request_id_option
@click.pass_obj
def delete(session: Session, name: str, request_id: str | None) -> None:
    """End a schedule: no nominal time after the answer is launched; its name is free again."""
    session.client.schedules.delete(name, request_id=request_id)
    click.echo(f"{name} is deleted", err=True)


@group.command()
@click.argument("name")
@click.option("--reason", default="", help="Why; shown until it is resumed.")
@request_id_option
@output_option
@click.pass_obj
def pause(session: Session, /, name: str, output: str, **said: Any) -> None:
    """Launch nothing until it is resumed."""
    show(session.client.schedules.pause(name, **said), output)


@group.command()
@click.argument("name")
@click.option("--reason", default="", help="Why, for the journal.")
@request_id_option
@output_option
@click.pass_obj
def resume(session: Session, /, name: str, output: str, **said: Any) -> None:
    """Go on with the next nominal time."""
    show(session.client.schedules.resume(name, **said), output)


@group.command()
@click.argument("name")
@request_id_option
@output_option
@click.pass_obj
def trigger(session: Session, name: str, request_id: str | None, output: str) -> None:
    """Launch a run now, also while it is paused; prints the id of its task."""
    answer = session.client.schedules.trigger(name, request_id=request_id)
    if output == "json":
        print_json(as_json(answer))
    else:
        click.echo(short(answer.task))


@group.command()
@click.argument("name")
@time_option("--from", "begin", say="First instant, included.")
@time_option("--to", "end", say="Last instant, included; not in the future.")
@click.option("--id", "backfill_id", default="", help="The same id never does it twice.")
@click.option("--show", "shown", metavar="ID", help="Instead: how far a backfill is.")
@click.option("--stop", "stopped", metavar="ID", help="Instead: launch no more of a backfill.")
@output_option
@click.pass_obj
def backfill(
    session: Session,
    /,
    name: str,
    begin: datetime | None,
    end: datetime | None,
    output: str,
    **said: Any,
) -> None:
    """Launch the nominal times of a past range once more; or look at it, or stop it."""
    from timeball.cli.schedule_tables import BACKFILLS, backfill_row

    schedules = session.client.schedules
    if said["shown"]:
        found = schedules.get_backfill(name, said["shown"])
    elif said["stopped"]:
        found = schedules.stop_backfill(name, said["stopped"])
    elif begin is None or end is None:
        raise click.UsageError("say --from and --to; or --show ID; or --stop ID")
    else:
        found = schedules.backfill(name, begin, end, backfill_id=said["backfill_id"])
    print_one(found, BACKFILLS, backfill_row(found), output)


@group.command()
@click.argument("name", required=False, default="")
@timing_options
@click.option("--count", type=click.IntRange(1, 1_000), default=10, show_default=True)
@time_option("--after", say="Strictly after then; default: now.")
@time_option("--missed-since", say="Instead: what catch-up would do.")
@output_option
@click.pass_obj
def preview(session: Session, /, name: str, count: int, output: str, **said: Any) -> None:
    """Show the next nominal times of a schedule, or of the options if they say when.

    Marks say what a change of the clocks did: MOVED, FIRST_PASS, SECOND_PASS. Local times that do
    not fire because of one are listed below. With options, NAME is what H is hashed from.
    """
    from timeball._timings import timing_message
    from timeball.cli.schedule_tables import print_preview, zone_of

    bounds: Any = {each: said.pop(each) for each in ("after", "missed_since")}
    words = words_of(said)
    if not name and not says_when(words):
        raise click.UsageError("name a schedule, or say --cron, --every or --after-completion")
    schedules = session.client.schedules
    if words and says_when(words):
        timing = timing_of(words)
        answer = schedules.preview(timing, name=name, count=count, **bounds)
        shape = timing_message(timing)
    elif words:
        raise click.UsageError("say --cron, --every or --after-completion too, or NAME alone")
    else:
        answer = schedules.preview(name, count=count, **bounds)
        shape = timing_message(timing_of({})) if output == "json" else schedules.get(name)
    if output == "json":
        print_json(as_json(answer))
    else:
        print_preview(answer, zone_of(shape))


@group.command()
@click.argument("name")
@time_option("--from", "start", say="Nominal times from then on.")
@time_option("--to", "end", say="Nominal times before then; default: now.")
@click.option("--verdict", "verdicts", multiple=True, metavar="WORD", help="Repeatable.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@output_option
@click.pass_obj
def occurrences(session: Session, /, name: str, output: str, **said: Any) -> None:
    """Show the ledger: what became of every nominal time, in their order."""
    from timeball.cli.schedule_tables import OCCURRENCES, occurrence_row

    found = session.client.schedules.occurrences(name, **said)
    rows = [occurrence_row(each) for each in found]
    print_all("occurrences", found, OCCURRENCES, rows, output)


def show(schedule: pb.Schedule, output: str) -> None:
    """Prints one schedule."""
    from timeball.cli.schedule_tables import SCHEDULES, schedule_row

    print_one(schedule, SCHEDULES, schedule_row(schedule), output)


def print_one(message: Message, header: Sequence[str], row: Sequence[str], output: str) -> None:
    """Prints a resource."""
    if output == "json":
        print_json(as_json(message))
    else:
        print_table(header, [row])


def print_all(
    name: str,
    found: Sequence[Message],
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    output: str,
) -> None:
    """Prints resources."""
    if output == "json":
        print_json({name: [as_json(each) for each in found]})
    else:
        print_table(header, rows)
