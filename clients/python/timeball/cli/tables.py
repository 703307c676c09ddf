"""A task in rows: one line of a list, and everything about one task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from timeball.cli.output import print_table, short, time_of, word
from timeball.states import state_of

if TYPE_CHECKING:
    from timeball.v1 import task_pb2

HEADER = ("id", "handler", "state", "due", "attempt", "priority")
ATTEMPTS = ("attempt", "executor", "priority", "due", "started", "late", "outcome", "failure")
JOURNAL = ("seq", "epoch", "time", "event", "state", "actor", "description")


def row(task: task_pb2.Task) -> tuple[str, ...]:
    """One line of a list."""
    return (
        short(task.name),
        task.handler,
        state_of(task.state).value,
        time_of(task, "due_time"),
        str(task.attempt),
        str(task.effective_priority),
    )


def describe(task: task_pb2.Task) -> None:
    """Everything about one task: fields, attempts, journal."""
    print_table(("field", "value"), [each for each in _facts(task) if each[1]])
    if task.attempts:
        click.echo()
        print_table(ATTEMPTS, [_attempt(each) for each in task.attempts])
    if task.journal:
        click.echo()
        print_table(JOURNAL, [_entry(each) for each in task.journal])


def tell_end(task: task_pb2.Task) -> None:
    """Says on standard error what an ended task came to: its result, or why there is none."""
    cause, failure = word(task.DESCRIPTOR, "cause", task.cause), _failure(task.failure)
    if task.result.data:
        click.echo(f"result: {_text(task.result)}", err=True)
    elif cause or failure:
        click.echo(f"{cause or 'failed'}: {failure or 'see `timeball task get ID`'}", err=True)


def _facts(task: task_pb2.Task) -> list[tuple[str, str]]:
    return [
        ("name", task.name),
        ("handler", task.handler),
        ("state", state_of(task.state).value),
        ("cause", word(task.DESCRIPTOR, "cause", task.cause)),
        ("failure", _failure(task.failure)),
        ("progress", _progress(task.progress)),
        ("due", time_of(task, "due_time")),
        ("created", time_of(task, "create_time")),
        ("updated", time_of(task, "update_time")),
        ("priority", f"{task.priority} (now {task.effective_priority})"),
        ("attempts", str(task.attempt)),
        ("owner", task.owner),
        ("labels", ", ".join(f"{k}={v}" for k, v in sorted(task.labels.items()))),
        ("selector", ", ".join(f"{k}={v}" for k, v in sorted(task.selector.items()))),
        ("concurrency key", task.concurrency_key),
        ("schedule", task.schedule),
        ("redrive of", task.redrive_of),
        ("arguments", _text(task.payload)),
        ("result", _text(task.result)),
        ("unaccounted", ", ".join(task.unaccounted)),
        ("stale", "the shard has no owner right now" if task.stale else ""),
    ]


def _progress(progress: task_pb2.Progress) -> str:
    """How far it is, in its handler's words, when it was heard, and what it left."""
    done = f"{progress.fraction:.0%}" if progress.HasField("fraction") else ""
    heard = time_of(progress, "heartbeat_time")
    left = len(progress.checkpoint.data)
    parts = (
        *(done, progress.note, f"heard {heard}" if heard else ""),
        f"checkpoint of {left} bytes" if left else "",
    )
    return ", ".join(part for part in parts if part)


def _text(payload: task_pb2.Payload) -> str:
    try:
        return payload.data.decode()
    except UnicodeDecodeError:
        return f"{len(payload.data)} bytes of {payload.content_type}"


def _failure(failure: task_pb2.Failure) -> str:
    return f"{failure.kind}: {failure.message}" if failure.kind or failure.message else ""


def _attempt(attempt: task_pb2.Attempt) -> tuple[str, ...]:
    late = attempt.lateness.ToMilliseconds()
    return (
        str(attempt.number),
        attempt.executor,
        str(attempt.priority),
        time_of(attempt, "due_time"),
        time_of(attempt, "start_time"),
        f"{late} ms" if attempt.HasField("lateness") else "",
        word(attempt.DESCRIPTOR, "outcome", attempt.outcome),
        _failure(attempt.failure),
    )


def _entry(entry: task_pb2.JournalEntry) -> tuple[str, ...]:
    return (
        str(entry.seq),
        str(entry.epoch),
        time_of(entry, "time"),
        entry.event,
        entry.state,
        entry.actor,
        entry.description,
    )
