"""`timeball task update|reschedule|retry|delete`: the verbs that change a task that exists."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from timeball.cli.failures import exit_code
from timeball.cli.instants import length_option, time_option
from timeball.cli.output import (
    as_json,
    counted,
    output_option,
    print_json,
    print_table,
    request_id_option,
)
from timeball.cli.session import Session
from timeball.cli.tables import row
from timeball.cli.task import pairs, read_arguments, show
from timeball.errors import TimeballError

if TYPE_CHECKING:
    from timeball.options import UpdateOptions
    from timeball.v1 import task_pb2

OF_ONE: Final = frozenset({"NOT_FOUND", "FAILED_PRECONDITION", "ABORTED", "INVALID_ARGUMENT"})
"""Codes of errors that say something about one task, and nothing about the next one."""
CLEARABLE: Final = ("labels", "selector", "retry", "limits")
etag_option = click.option("--etag", default="", help="Only if it still is as it was read then.")


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one of several tasks: an error, or what was answered if anything was."""

    asked: str
    task: task_pb2.Task | None = None
    error: TimeballError | None = None


@click.command()
@click.argument("task", metavar="ID")
@click.option("--payload", metavar="JSON", help='Named arguments; replaces all ("-" reads them).')
@click.option("--priority", type=int, help="Urgency, 0 to 9, 9 = most urgent.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Replaces all labels.")
@click.option("--selector", multiple=True, metavar="KEY=VALUE", help="Replaces the selector.")
@click.option("--max-attempts", type=int, help="Replaces the retry policy.")
@length_option("--attempt-timeout", say="Replaces the limits on its time.")
@click.option(
    "--clear", multiple=True, type=click.Choice(CLEARABLE), help="Back to the default; repeatable."
)
@etag_option
@request_id_option
@output_option
@click.pass_obj
def update(
    session: Session, /, task: str, payload: str | None, output: str, etag: str, **said: Any
) -> None:
    """Change what a task that waits will do; nothing starts as it was before.

    Exit code 5 when it is too late, or when the task is not the one of the etag any more.
    """
    arguments = None
    if payload is not None:
        arguments = read_arguments(sys.stdin.read() if payload == "-" else payload)
    changed = session.client.update(
        task, arguments, etag=etag, request_id=said["request_id"], **_changes(said)
    )
    show(changed, output)


@click.command()
@click.argument("task", metavar="ID")
@time_option("--at", say="Start then: ISO 8601 with a zone, 2030-01-31T09:00Z.")
@length_option("--in", "after", say="Start after so long: 30s, 1h30m.")
@etag_option
@request_id_option
@output_option
@click.pass_obj
def reschedule(session: Session, /, task: str, output: str, **said: Any) -> None:
    """Move the next attempt of a task that waits; without --at and --in to now."""
    show(session.client.reschedule(task, **said), output)


@click.command()
@click.argument("tasks", metavar="ID...", nargs=-1, required=True)
@output_option
@click.pass_obj
def retry(session: Session, tasks: Sequence[str], output: str) -> None:
    """Have tasks done now: those that wait run, of those that FAILED new ones are made, once.

    Exit code: that of the first one that was refused.
    """
    done = list(_each(tasks, session.client.retry))
    _tell(done, output, ("task", "runs as", "state"), _runs_as)


@click.command()
@click.argument("tasks", metavar="ID...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option
@click.pass_obj
def delete(session: Session, tasks: Sequence[str], yes: bool, output: str) -> None:
    """Remove tasks that have ended; what they did is not undone.

    Asks first, so without a terminal say --yes. Exit code: that of the first one that was refused.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("without a terminal say --yes")
        click.confirm(f"Delete {counted(len(tasks), 'task')}?", abort=True, err=True)
    done = list(_each(tasks, session.client.delete))
    _tell(done, output, ("task", "deleted"), lambda each: ("" if each.error else "yes",))


def _changes(said: dict[str, Any]) -> UpdateOptions:
    """What the command's options say, in the SDK's words."""
    from timeball.options import RetryPolicy, UpdateOptions

    found, cleared = UpdateOptions(), said["clear"]
    if said["priority"] is not None:
        found["priority"] = said["priority"]
    if said["labels"] or "labels" in cleared:
        found["labels"] = pairs(said["labels"], "--label")
    if said["selector"] or "selector" in cleared:
        found["selector"] = pairs(said["selector"], "--selector")
    if said["max_attempts"] is not None or "retry" in cleared:
        found["retry"] = RetryPolicy(max_attempts=said["max_attempts"])
    if said["attempt_timeout"] is not None or "limits" in cleared:
        found["timeout"] = said["attempt_timeout"]
    return found


def _each(tasks: Sequence[str], verb: Callable[[str], task_pb2.Task | None]) -> Iterator[Done]:
    """Does it to one after the other; an error that is not about one task is the last."""
    for task in tasks:
        try:
            yield Done(task, verb(task))
        except TimeballError as error:
            yield Done(task, error=error)
            if error.code not in OF_ONE:
                return


def _tell(
    done: Sequence[Done],
    output: str,
    header: Sequence[str],
    cells: Callable[[Done], Sequence[str]],
) -> None:
    """Prints what became of each, and leaves with the exit code of the first error."""
    if output == "json":
        print_json({"results": [_as_json(each) for each in done]})
    else:
        refused = [each.error.message if each.error else "" for each in done]
        rows = [
            (each.asked.rpartition("/")[2], *cells(each), why)
            for each, why in zip(done, refused, strict=True)
        ]
        print_table((*header, "refused"), rows)
    errors = [each.error for each in done if each.error]
    if errors:
        click.get_current_context().exit(exit_code(errors[0]))


def _runs_as(done: Done) -> Sequence[str]:
    if done.task is None:
        return "", ""
    task_id, _, state, *_ = row(done.task)
    return task_id, state


def _as_json(done: Done) -> dict[str, object]:
    told: dict[str, object] = {"name": done.asked}
    if done.task is not None:
        told["task"] = as_json(done.task)
    if done.error is not None:
        told["error"] = {"reason": done.error.reason, "message": done.error.message}
    return told
