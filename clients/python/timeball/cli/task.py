"""`timeball task`: create, get, list, cancel, wait, watch.

The verbs that change a task are in task_change.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from timeball.cli.failures import exit_code, task_code
from timeball.cli.instants import length_option, time_option
from timeball.cli.lazy import VerbGroup
from timeball.cli.output import as_json, instant, output_option, print_json, print_table
from timeball.cli.patience import told_of_outages
from timeball.cli.session import Session
from timeball.cli.tables import HEADER, describe, row, tell_end

if TYPE_CHECKING:
    from datetime import timedelta

    from timeball.changes import Change
    from timeball.options import SubmitOptions
    from timeball.v1 import task_pb2

_AS_THEY_ARE: Final = (
    "heartbeat_within",
    "owner",
    "request_id",
    "concurrency_key",
    "chosen_name",
    "while_open",
    "after_end",
)
"""Options that the SDK calls the same."""


class _Group(VerbGroup):
    """The verbs here, and those that are imported when they are run."""

    joining = "timeball.task_commands"
    own = {  # noqa: RUF012 - never changed
        "explain": ("timeball.cli.explain:explain", "Say why a task is not running."),
        "update": ("timeball.cli.task_change:update", "Change what a task that waits will do."),
        "reschedule": ("timeball.cli.task_change:reschedule", "Move a task that waits."),
        "retry": ("timeball.cli.task_change:retry", "Have tasks done now."),
        "delete": ("timeball.cli.task_change:delete", "Remove tasks that have ended."),
    }


@click.group(cls=_Group)
def group() -> None:
    """Create, read, await, change and cancel tasks."""


@group.command()
@click.argument("handler")
@click.argument("arguments", metavar="[JSON]", default="{}")
@time_option("--at", say="Start then: ISO 8601 with a zone, 2030-01-31T09:00Z.")
@length_option("--in", "delay", say="Start after so long: 30s, 1h30m.")
@click.option("--priority", type=int, help="Urgency, 0 to 9, 9 = most urgent.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Repeatable.")
@click.option("--selector", multiple=True, metavar="KEY=VALUE", help="Label of the executor.")
@click.option("--max-attempts", type=int, help="Attempts in all, the first included.")
@length_option("--attempt-timeout", say="Longest run of one attempt.")
@length_option("--heartbeat-within", say="Longest silence of an attempt.")
@click.option("--concurrency-key", metavar="KEY", help="No more of one key run than its limit.")
@click.option("--at-most-once", is_flag=True, help="Never repeat an attempt of unknown fate.")
@click.option("--owner", help="User whose list shows it.")
@click.option("--request-id", metavar="UUID", help="Repeating it gives the same answer.")
@click.option("--name", "chosen_name", help="At most one open task has it.")
@click.option("--while-open", help="fail (default), use_existing or replace_pending.")
@click.option("--after-end", help="allow (default), allow_if_failed or reject.")
@click.option("--wait", is_flag=True, help="Wait for the end; exit codes as `task wait`.")
@output_option
@click.pass_obj
def create(session: Session, /, handler: str, arguments: str, output: str, **said: Any) -> None:
    """Promise to run HANDLER with the named arguments of the JSON object ("-" reads them)."""
    named = read_arguments(sys.stdin.read() if arguments == "-" else arguments)
    handle = session.client.submit(handler, named, **options(**said))
    if said["wait"]:
        click.echo(f"waiting for {handle.id}", err=True)  # so that whoever stops waiting has it
        wait_for(session, handle.name, None, output)
    show(handle.last_seen, output)


@group.command()
@click.argument("task", metavar="ID")
@output_option
@click.pass_obj
def get(session: Session, task: str, output: str) -> None:
    """Show a task with its attempts and journal."""
    found = session.client.get(task)
    if output == "json":
        print_json(as_json(found))
    else:
        describe(found)


@group.command("list")
@click.option("--owner", default="", help="User; default: the API key's own.")
@click.option("--everybody", is_flag=True, help="Of all users; needs --state.")
@click.option("--handler", default="", help="Only tasks of this handler.")
@click.option("--state", "states", multiple=True, metavar="STATE", help="Repeatable.")
@click.option("--label", default="", metavar="KEY=VALUE", help="Only tasks with this label.")
@time_option("--from", "created_from", say="Created then or later; default: 7 days ago.")
@time_option("--to", "created_to", say="Created before then; default: now.")
@time_option("--due-from", say="Due then or later.")
@time_option("--due-to", say="Due before then.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@output_option
@click.pass_obj
def list_tasks(session: Session, /, limit: int, output: str, **said: Any) -> None:
    """List tasks, newest first; by default those created in the last 7 days.

    With --everybody they come in the order in which they came to their state.
    """
    if said["everybody"] and said["owner"]:
        raise click.UsageError("say --owner or --everybody, not both")
    found = session.client.list(
        owner="-" if said["everybody"] else said["owner"],
        handler=said["handler"],
        states=said["states"],
        label=said["label"],
        **{name: said[name] for name in ("created_from", "created_to", "due_from", "due_to")},
        page_size=min(limit, 1_000),
        limit=limit,
    )
    if output == "json":
        print_json({"tasks": [as_json(task) for task in found]})
    else:
        print_table(HEADER, [row(task) for task in found], empty=_empty(said))


def _empty(said: dict[str, Any]) -> str:
    """What an empty list says: what was looked through without anybody saying so."""
    whose = "" if said["owner"] or said["everybody"] else " of yours"
    if said["created_from"] or said["created_to"]:
        return f"no tasks{whose}" + ("; see --owner" if whose else "")
    return f"no tasks{whose} in the last 7 days; see --from" + (" and --owner" if whose else "")


@group.command()
@click.argument("task", metavar="ID")
@click.option("--reason", default="", help="Why, for the journal.")
@click.option("--terminate", is_flag=True, help="End it by force: fence a running attempt too.")
@output_option
@click.pass_obj
def cancel(session: Session, task: str, reason: str, terminate: bool, output: str) -> None:
    """Stop attempts of a task that have not started.

    With --terminate also one that runs: nothing it says counts any more, and it is asked to stop.
    """
    show(session.client.cancel(task, reason=reason, terminate=terminate), output)


@group.command()
@click.argument("task", metavar="ID")
@length_option("--timeout", say="Wait no longer; then exit code 124.")
@output_option
@click.pass_obj
def wait(session: Session, task: str, timeout: timedelta | None, output: str) -> None:
    """Wait for a task's end.

    Exit code: 0 succeeded, 10 failed, 11 cancelled, 12 expired, 124 timeout.
    """
    wait_for(session, task, timeout, output)


def wait_for(session: Session, task: str, timeout: timedelta | None, output: str) -> None:
    """Waits, tells of outages meanwhile, prints the end, and leaves with its exit code."""
    with told_of_outages():
        ended = session.client.wait(task, timeout=timeout)
    finish(ended, output)


@group.command()
@click.argument("tasks", metavar="ID...", nargs=-1, required=True)
@length_option("--timeout", say="Watch no longer; then exit code 124.")
@output_option
@click.pass_obj
def watch(session: Session, tasks: Sequence[str], timeout: timedelta | None, output: str) -> None:
    """Tell how tasks stand now and whenever they change, until all have ended.

    A line per change; with -o json a JSON object per line. Exit code: as `task wait`, that of the
    first task that did not succeed; 3 for one that is not there.
    """
    code = 0
    with told_of_outages():
        for change in session.client.watch(tasks, full=output == "json", timeout=timeout):
            tell_change(change, output)
            if change.done and not code:
                code = change_code(change)
    click.get_current_context().exit(code)


def change_code(change: Change) -> int:
    """The exit code for the last change of a task."""
    if change.error is not None:
        return exit_code(change.error)
    return 0 if change.task is None else task_code(change.task)


def tell_change(change: Change, output: str) -> None:
    """Prints one change on one line."""
    if output == "json":
        told: dict[str, object] = {"name": change.name, "done": change.done}
        if change.task is not None:
            told["task"] = as_json(change.task)
        if change.error is not None:
            told["error"] = {"reason": change.error.reason, "message": change.error.message}
        click.echo(json.dumps(told, ensure_ascii=False))
    elif change.task is not None:
        click.echo("  ".join([instant(change.task.update_time), *row(change.task)]))
    elif change.error is not None:
        click.echo(f"{change.id}  {change.error.reason}  {change.error.message}")


def finish(task: task_pb2.Task, output: str) -> None:
    """Prints a task that has ended, and how, and leaves with its exit code."""
    show(task, output)
    if output == "table":
        tell_end(task)
    click.get_current_context().exit(task_code(task))


def show(task: task_pb2.Task, output: str) -> None:
    """Prints one task."""
    if output == "json":
        print_json(as_json(task))
    else:
        print_table(HEADER, [row(task)])


def read_arguments(text: str) -> dict[str, object]:
    """The named arguments that a JSON object says."""
    import msgspec

    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeError) as error:
        raise click.BadParameter(
            f'give a JSON object of named arguments such as {{"user": "u1"}}: {error}',
            param_hint="JSON",
        ) from error


def options(**said: Any) -> SubmitOptions:
    """What the command's options say, in the SDK's words."""
    from timeball.options import RetryPolicy, SubmitOptions

    found = SubmitOptions()
    if said["at"] is not None:
        found["run_at"] = said["at"]
    if said["delay"] is not None:
        found["delay"] = said["delay"]
    if said["priority"] is not None:
        found["priority"] = said["priority"]
    if said["max_attempts"] is not None:
        found["retry"] = RetryPolicy(max_attempts=said["max_attempts"])
    if said["attempt_timeout"] is not None:
        found["timeout"] = said["attempt_timeout"]
    for name in _AS_THEY_ARE:
        if said[name] is not None:
            found[name] = said[name]
    found["labels"] = pairs(said["labels"], "--label")
    found["selector"] = pairs(said["selector"], "--selector")
    found["at_most_once"] = said["at_most_once"]
    return found


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """KEY=VALUE texts as a mapping."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{text!r}: write KEY=VALUE", param_hint=option)
        found[key] = value
    return found
