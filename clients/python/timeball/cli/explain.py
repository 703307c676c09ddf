"""`timeball task explain`: what holds a task back, in one sentence for a person."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from timeball.cli.output import as_json, output_option, print_json
from timeball.cli.session import Session

if TYPE_CHECKING:
    from timeball.explanation import Explanation, Reason

_LEADS = {"ENDED": "over", "RUNNING": "runs"}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@click.command()
@click.argument("task", metavar="ID")
@output_option
@click.pass_obj
def explain(session: Session, task: str, output: str) -> None:
    """Say why a task is not running: the first reason, since when, and the next check."""
    found = session.client.explain(task)
    if output == "json":
        print_json(as_json(found.message))
    else:
        for line in lines(found):
            click.echo(line)


def lines(explanation: Explanation) -> list[str]:
    """What a person reads: the reason that counts first."""
    first = explanation.blocking
    told = [f"{_LEADS.get(first.cause, 'waits')}: {sentence(first, explanation.at)}"]
    return told + [f"also: {sentence(each, explanation.at)}" for each in explanation.also]


def sentence(reason: Reason, at: datetime) -> str:
    """A reason on one line, with its instants as seen from the moment of the answer."""
    text = " ".join(reason.description.split())
    if reason.since is not None:
        text += f", since {clock_time(reason.since, at)} ({length(at - reason.since)} ago)"
    when = [f"when {reason.next_check}"] if reason.next_check else []
    if reason.next_check_at is not None:
        left = length(reason.next_check_at - at)
        when.insert(0, f"at {clock_time(reason.next_check_at, at)} (in {left})")
    return f"{text}; looks again: {', '.join(when)}" if when else text


def clock_time(instant: datetime, at: datetime) -> str:
    """An instant in UTC; its date only if it is another day's."""
    return instant.strftime("%H:%M:%SZ" if instant.date() == at.date() else "%Y-%m-%dT%H:%M:%SZ")


def length(duration: timedelta) -> str:
    """A length in its two largest units, rounded down; clocks that disagree make it 0."""
    left_s = max(0, int(duration.total_seconds()))
    parts = []
    for size_s, unit in _UNITS:
        parts.append((left_s // size_s, unit))
        left_s %= size_s
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    rest = [f"{count} {unit}" for count, unit in parts[first + 1 : first + 2] if count]
    return " ".join([f"{parts[first][0]} {parts[first][1]}", *rest])
