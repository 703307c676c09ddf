"""The lists that owners write beside their journals, as streams of hints, newest first.

A hint says that a task was somewhere at an instant; whether it tells the truth, the task's
journal says. A source is one list of a namespace, read day by day, in one or several streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from timeball_server.core.ids import TaskId
from timeball_server.core.journal import (
    TERMINAL,
    DeadLetterRow,
    EventKind,
    EventRow,
    History,
    OwnerListRow,
    State,
    StateListRow,
    fold,
    unreadable_event,
)
from timeball_server.core.model import PublicState, TaskView
from timeball_server.core.view import HIDDEN
from timeball_server.ports.store import Store

STREAMS_OF: Final[dict[PublicState, tuple[str, ...]]] = {
    PublicState.RETRYING: ("RETRYING",),
    PublicState.SUCCEEDED: (str(State.SUCCEEDED),),
    PublicState.FAILED: (str(State.DEAD), str(State.LOST)),
    PublicState.CANCELLED: (str(State.CANCELLED),),
    PublicState.TERMINATED: (str(State.TERMINATED),),
}
"""The states that owners list tasks by, and under which words."""


class Found(NamedTuple):
    """A task behind a hint, by its journal alone. `entered_ms`: see the function."""

    view: TaskView
    entered_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """One row of a list. `handler` is empty where the list does not say it.

    `is_of` tells whether the row speaks of what was accepted, not of what lost or came before.
    """

    at_ms: int
    task_id: TaskId
    handler: str
    is_of: Callable[[Found], bool]

    @property
    def order(self) -> tuple[int, str]:
        """Sort key: newest first, then by id."""
        return (-self.at_ms, self.task_id)


class HintPage(NamedTuple):
    """Hints of one stream and day, newest first; the cursor is None at the day's end."""

    hints: list[Hint]
    cursor: str | None


class Source(Protocol):
    """A list of hints."""

    @property
    def streams(self) -> int:
        """How many streams a day has; to be merged by `Hint.order`."""
        ...

    async def read(self, stream: int, day: int, cursor: str | None, limit: int) -> HintPage:
        """Up to `limit` hints of one stream after the cursor."""
        ...


class OwnerSource(Source):
    """One user's tasks, by creation."""

    def __init__(self, store: Store, namespace: str, owner: str) -> None:
        self._store = store
        self._place = (namespace, owner)

    @property
    def streams(self) -> int:
        """One."""
        return 1

    async def read(self, stream: int, day: int, cursor: str | None, limit: int) -> HintPage:
        """See the protocol."""
        page = await self._store.list_by_owner(*self._place, day, cursor, limit)
        return HintPage([_of_owner(row) for row in page.rows], page.cursor)


class StateSource(Source):
    """Everybody's tasks, by when they entered one of these states.

    Args:
        states: those in STREAMS_OF.
    """

    def __init__(self, store: Store, namespace: str, states: Iterable[PublicState]) -> None:
        self._store = store
        self._namespace = namespace
        self._words = tuple(word for state in sorted(states) for word in STREAMS_OF[state])

    @property
    def streams(self) -> int:
        """One for each word."""
        return len(self._words)

    async def read(self, stream: int, day: int, cursor: str | None, limit: int) -> HintPage:
        """See the protocol."""
        word = self._words[stream]
        page = await self._store.list_by_state(self._namespace, word, day, cursor, limit)
        return HintPage([_of_state(row) for row in page.rows], page.cursor)


class LetterSource(Source):
    """Tasks that failed for good, by when they did."""

    def __init__(self, store: Store, namespace: str) -> None:
        self._store = store
        self._namespace = namespace

    @property
    def streams(self) -> int:
        """One."""
        return 1

    async def read(self, stream: int, day: int, cursor: str | None, limit: int) -> HintPage:
        """See the protocol."""
        page = await self._store.list_dead_letters(self._namespace, day, cursor, limit)
        return HintPage([_of_letter(row) for row in page.rows], page.cursor)


def found_in(
    rows: Iterable[EventRow], namespace: str, show: Callable[[History], TaskView]
) -> Found | None:
    """The task of a journal, None if this namespace has nothing to see there.

    None as well for what a newer version wrote: whoever lists or answers looks at `unread` too.
    """
    history = fold(rows)
    return None if history is None else found_of(history, namespace, show)


def found_of(history: History, namespace: str, show: Callable[[History], TaskView]) -> Found | None:
    """The same of a journal that is folded already."""
    if history.head.state in HIDDEN or unreadable_event(history) is not None:
        return None
    view = show(history)
    return Found(view, entered_ms(history)) if view.spec.namespace == namespace else None


def entered_ms(history: History) -> int | None:
    """When the task came where it is, None if no list of states names it.

    That is the instant of the event with which its newest hint was written; a confirmation by a
    later owner does not count.
    """
    listed = (
        row
        for row in reversed(history.chain)
        if row.kind is EventKind.RETRY
        or (row.state in TERMINAL and row.kind is not EventKind.ADOPTED)
    )
    row = next(listed, None)
    return None if row is None else row.at_ms


def _of_owner(row: OwnerListRow) -> Hint:
    def is_of(found: Found) -> bool:
        view = found.view
        return (row.owner, row.created_ms) == (view.spec.owner, view.created_ms)

    return Hint(at_ms=row.created_ms, task_id=row.task_id, handler=row.handler, is_of=is_of)


def _of_state(row: StateListRow) -> Hint:
    public = next(state for state, words in STREAMS_OF.items() if row.state in words)

    def is_of(found: Found) -> bool:
        return found.view.state is public and found.entered_ms == row.at_ms

    return Hint(at_ms=row.at_ms, task_id=row.task_id, handler="", is_of=is_of)


def _of_letter(row: DeadLetterRow) -> Hint:
    def is_of(found: Found) -> bool:
        failed = found.view.state is PublicState.FAILED
        return failed and found.entered_ms == row.at_ms

    return Hint(at_ms=row.at_ms, task_id=row.task_id, handler=row.handler, is_of=is_of)
