"""What `make demo` shows: a live table, the journal of a retried task, a summary of lateness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.table import Table
from timeball.v1 import task_pb2

STYLES = {
    "SCHEDULED": "cyan",
    "RUNNING": "yellow",
    "RETRYING": "magenta",
    "SUCCEEDED": "green",
    "FAILED": "bold red",
    "CANCELLED": "blue",
}
OUTCOME = "ATTEMPT_OUTCOME_"


@dataclass(frozen=True)
class Line:
    """A row of the live table: what it is called, and the task as last seen."""

    title: str
    task: task_pb2.Task | None


def state_of(task: task_pb2.Task) -> str:
    return task_pb2.TaskState.Name(task.state).removeprefix("TASK_STATE_")


def clock(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    return moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"


def lateness_ms(task: task_pb2.Task) -> list[float]:
    """Of each attempt that began, by the executor's clock."""
    return [
        attempt.lateness.ToMilliseconds()
        for attempt in task.attempts
        if attempt.HasField("start_time")
    ]


def live_table(lines: Sequence[Line], seconds_left: float) -> Table:
    table = Table(title=f"Timeball: tasks at their instants ({max(0, round(seconds_left))} s left)")
    for name, justify in (
        ("task", "left"),
        ("due", "left"),
        ("start lateness ms", "right"),
        ("attempt", "right"),
        ("priority", "right"),
        ("state", "left"),
    ):
        table.add_column(name, justify="left" if justify == "left" else "right", no_wrap=True)
    for line in lines:
        table.add_row(line.title, *_cells(line.task))
    return table


def _cells(task: task_pb2.Task | None) -> tuple[str, ...]:
    if task is None:
        return ("", "", "", "", "[dim]to come[/]")
    late = ", ".join(f"{value:.0f}" for value in lateness_ms(task)) or "-"
    state = state_of(task)
    due = task.due_time.seconds + task.due_time.nanos / 1e9
    raised = task.effective_priority != task.priority
    priority = f"{task.effective_priority}" + (f" (base {task.priority})" if raised else "")
    style = STYLES.get(state, "white")
    return (clock(due), late, str(task.attempt), priority, f"[{style}]{state}[/]")


def journal_table(task: task_pb2.Task) -> Table:
    table = Table(title="Journal of the task that failed twice (nothing is ever overwritten)")
    for name in ("seq", "time", "event", "state", "who", "what"):
        table.add_column(name, no_wrap=name != "what")
    for entry in task.journal:
        when = clock(entry.time.seconds + entry.time.nanos / 1e9)
        table.add_row(
            str(entry.seq), when, entry.event, entry.state, entry.actor, entry.description
        )
    return table


def attempts_table(task: task_pb2.Task) -> Table:
    table = Table(title="Its attempts")
    for name in ("attempt", "due", "start lateness ms", "priority", "outcome", "failure"):
        table.add_column(name)
    for attempt in task.attempts:
        table.add_row(
            str(attempt.number),
            clock(attempt.due_time.seconds + attempt.due_time.nanos / 1e9),
            f"{attempt.lateness.ToMilliseconds()}",
            str(attempt.priority),
            task_pb2.AttemptOutcome.Name(attempt.outcome).removeprefix(OUTCOME),
            attempt.failure.message,
        )
    return table


def lateness_table(values: Sequence[int]) -> Table:
    """The summary comes from the executor's own file, not from the service's tables."""
    ordered = sorted(values)
    table = Table(title="Start lateness, from the executor's own file")
    for name in ("starts", "min ms", "median ms", "p99 ms", "max ms"):
        table.add_column(name, justify="right")
    middle = ordered[len(ordered) // 2]
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    table.add_row(*(str(v) for v in (len(ordered), ordered[0], middle, p99, ordered[-1])))
    return table
