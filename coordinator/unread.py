"""Tasks and schedules that this coordinator cannot read, because a newer version wrote them.

Their owner may be newer, so it is asked first. If it cannot read them either they are neither
absent nor an error of the others: a read of one answers what is needed, a list shows it with the
state UNSPECIFIED and what could be read. Must never guess what became of such a task.
"""

from __future__ import annotations

from collections.abc import Iterable

from timeball.errors import NewerVersionNeeded, TimeballError

from coordinator.hints import Hint
from coordinator.outcomes import not_found
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import (
    EventRow,
    History,
    State,
    fold,
    unreadable_event,
)
from timeball_server.core.model import (
    PublicState,
    ScheduleSpec,
    ScheduleView,
    TaskSpec,
    TaskView,
)
from timeball_server.core.view import known_spec


def unread(rows: Iterable[EventRow]) -> History | None:
    """The journal if this version cannot read all of it, else None."""
    history = fold(rows)
    return None if history is None or unreadable_event(history) is None else history


def refusal(history: History, namespace: str) -> TimeballError:
    """What is answered about one such task; that it is another namespace's, if that can be read."""
    task_id, spec = history.head.task_id, known_spec(history)
    if spec is not None and spec.namespace != namespace:
        return not_found(task_id)
    return needed(task_id)


def needed(task_id: TaskId) -> NewerVersionNeeded:
    """It stands there, and cannot be read here."""
    return NewerVersionNeeded(
        f"A newer version of Timeball wrote what this one cannot read of {task_id}; it is held "
        "back as it is and nothing was changed. Upgrade the servers to that version."
    )


def marked(history: History, hint: Hint, namespace: str, owner: str = "") -> TaskView | None:
    """A list's line of such a task, None if it is another namespace's."""
    head, known = history.head, known_spec(history)
    if known is not None and known.namespace != namespace:
        return None
    alarms = [row.alarm for row in history.chain if row.alarm is not None]
    return TaskView(
        task_id=head.task_id,
        spec=known or TaskSpec(namespace=namespace, owner=owner, handler=hint.handler),
        state=PublicState.UNSPECIFIED,
        cause=None,
        due_ms=alarms[-1].due_ms if alarms else hint.at_ms,
        created_ms=head.created_ms or hint.at_ms,
        updated_ms=head.at_ms,
        revision=head.revision,
        attempt=head.attempt,
        effective_priority=head.priority,
        result=None,
        failure=None,
    )


def marked_schedule(head: EventRow, namespace: str) -> ScheduleView | None:
    """A list's line of a schedule whose head this version cannot read, None if it can."""
    if head.state is not State.UNREADABLE:
        return None
    return ScheduleView(
        schedule_id=head.task_id,
        spec=ScheduleSpec(task=TaskSpec(namespace=namespace, owner="", handler="")),
        next_ms=None,
        runs=0,
        created_ms=head.created_ms,
        revision=head.revision,
        ended=False,
        updated_ms=head.at_ms,
        unreadable=True,
    )
