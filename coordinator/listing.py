"""Lists of tasks, newest first: one user's by creation, everybody's by when they came to a state.

List rows are hints: every task is read by its journal before it is shown, unless it is known to
have ended, and those whose attempt may have begun are asked of their owners. One call looks at a
bounded number of days and rows; a page may therefore be short, or empty, and still have a next one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from timeball.errors import TimeballError, refused

from coordinator.deadline import Deadline
from coordinator.hints import (
    STREAMS_OF,
    Found,
    Hint,
    OwnerSource,
    Source,
    StateSource,
    found_of,
)
from coordinator.outcomes import view_or_error
from coordinator.paging import ListQuery, Place, seal, unseal
from coordinator.read_rule import Verdict, judge
from coordinator.reader import Reader, shown
from coordinator.requests import Cluster
from coordinator.unread import marked
from coordinator.walk import (
    BUDGET_MS,
    DAY_MS,
    DEFAULT_RANGE_MS,
    Item,
    Walk,
    page_items,
    start,
)
from timeball_server.core.commands import ReadTask
from timeball_server.core.ids import TaskId, home_of
from timeball_server.core.journal import History, fold, unreadable_event
from timeball_server.core.model import EVERYBODY, PublicState, TaskView

OWNER_PATIENCE_MS: Final = 500
"""Owners that do not answer in this time leave their tasks as the journal has them."""


@dataclass(frozen=True, slots=True)
class Page:
    """Tasks, newest first, and the token of the next page, empty at the end."""

    tasks: tuple[TaskView, ...]
    next_token: str


class Lister:
    """Lists tasks."""

    def __init__(self, cluster: Cluster, reader: Reader) -> None:
        self._store = cluster.store
        self._calls = cluster.calls
        self._clock = cluster.clock
        self._key = cluster.token_key
        self._owner_rows = reader.owner_rows
        self._ended = reader.ended

    async def page(
        self, query: ListQuery, page_size: int, page_token: str, deadline: Deadline
    ) -> Page:
        """One page.

        Raises:
            InvalidRequest: the token is not for this query, a time range is empty, or no list
                holds what is asked for.
        """
        source = self._source(query)
        first = self._first(query, source)
        place = unseal(page_token, query, self._key) if page_token else first
        walk = Walk(
            source,
            place,
            page_items(page_size),
            partial(self._matching, query=query, place=place, deadline=deadline),
            deadline.within(BUDGET_MS),
        )
        await walk.run()
        token = "" if walk.place is None else seal(walk.place, query, self._key)
        return Page(tuple(walk.items), token)

    def _source(self, query: ListQuery) -> Source:
        """The list that holds the answer."""
        if query.owner != EVERYBODY:
            return OwnerSource(self._store, query.namespace, query.owner)
        if not query.states or not query.states <= STREAMS_OF.keys():
            listed = ", ".join(STREAMS_OF)
            sentence = f"must name some of {listed} when owner is {EVERYBODY}; others need an owner"
            raise refused("states", sentence)
        return StateSource(self._store, query.namespace, query.states)

    def _first(self, query: ListQuery, source: Source) -> Place:
        """Where the first page begins.

        What was created in a range came to its state any time after.
        """
        now_ms = self._clock.now().wall_ms
        to_ms = now_ms + 1 if query.created_to_ms is None else query.created_to_ms
        from_ms = query.created_from_ms
        if from_ms is None:
            from_ms = min(now_ms, to_ms) - DEFAULT_RANGE_MS
        if from_ms >= to_ms:
            raise refused("created_from", "must be earlier than created_to")
        if None not in (query.due_from_ms, query.due_to_ms) and (
            (query.due_from_ms or 0) >= (query.due_to_ms or 0)
        ):
            raise refused("due_from", "must be earlier than due_to")
        to_ms = now_ms + 1 if query.owner == EVERYBODY else min(to_ms, now_ms + DAY_MS)
        return start(source, from_ms=max(from_ms, 0), to_ms=to_ms)

    async def _matching(
        self, hints: Sequence[Hint], *, query: ListQuery, place: Place, deadline: Deadline
    ) -> list[Item[TaskView]]:
        """The tasks behind these hints that answer the query, as they are now."""
        hints = [hint for hint in hints if query.handler in ("", hint.handler or query.handler)]
        views = await self._views(hints, query)
        items = [
            Item(hint, view)
            for hint, view in zip(hints, views, strict=True)
            if view is not None
            and (view.state is PublicState.UNSPECIFIED or _answers(view, query, place))
        ]
        known = await self._from_memory([item.value for item in items], deadline)
        items = [Item(each.hint, known.get(each.hint.task_id, each.value)) for each in items]
        return [each for each in items if _stands(each.value, query, place)]

    async def _views(self, hints: Sequence[Hint], query: ListQuery) -> list[TaskView | None]:
        """The task behind each hint, None where a hint does not tell the truth."""
        namespace = query.namespace
        found = {
            hint.task_id: known
            for hint in hints
            if (known := self._ended.find_listed(hint.task_id, namespace)) is not None
        }
        histories = await self._histories([hint.task_id for hint in hints], found)
        show = partial(shown, with_journal=False)
        read = {
            task_id: each
            for task_id, history in histories.items()
            if (each := found_of(history, namespace, show)) is not None
        }
        await self._remember(read, histories)
        found |= read
        lines: list[TaskView | None] = []
        for hint in hints:
            task, history = found.get(hint.task_id), histories.get(hint.task_id)
            if task is not None:
                lines.append(task.view if hint.is_of(task) else None)
            else:
                lines.append(None if history is None else _unread(history, hint, query))
        return lines

    async def _histories(
        self, task_ids: Iterable[TaskId], known: Container[TaskId]
    ) -> dict[TaskId, History]:
        """The journals of tasks that are not known."""
        wanted = [task_id for task_id in dict.fromkeys(task_ids) if task_id not in known]
        journals = await self._store.read_journals(wanted) if wanted else {}
        folded = {task_id: fold(rows) for task_id, rows in journals.items()}
        return {task_id: history for task_id, history in folded.items() if history is not None}

    async def _remember(
        self, read: Mapping[TaskId, Found], histories: Mapping[TaskId, History]
    ) -> None:
        """Keep what has ended, if the reader's rule says so: here it is shown in any case."""
        ended = {task_id: found for task_id, found in read.items() if found.view.terminal}
        owners = await self._owner_rows.read({home_of(task_id).shard for task_id in ended})
        for task_id, found in ended.items():
            home = home_of(task_id)
            verdict = judge(histories[task_id].head, owners.get(home.shard), home.minute)
            if verdict is Verdict.ANSWER:
                self._ended.keep(*found)

    async def _from_memory(
        self, views: Sequence[TaskView], deadline: Deadline
    ) -> dict[str, TaskView]:
        """What owners know of tasks in hand; the journal cannot say RUNNING."""
        in_hand = [view for view in views if _in_hand(view)]
        if not in_hand:
            return {}
        reads = [ReadTask(task_id=view.task_id, namespace=view.spec.namespace) for view in in_hand]
        answers = await self._calls.execute(reads, deadline.within(OWNER_PATIENCE_MS))
        results = (view_or_error(answer) for answer in answers)
        return {
            result.task_id: result for result in results if not isinstance(result, TimeballError)
        }


def _unread(history: History, hint: Hint, query: ListQuery) -> TaskView | None:
    """The line of a task that this version cannot read, None if there is nothing to show."""
    if unreadable_event(history) is None:
        return None
    return marked(history, hint, query.namespace, query.owner)


def _answers(view: TaskView, query: ListQuery, place: Place) -> bool:
    """Whether a task is what was asked for, its state aside."""
    created_to_ms = query.created_to_ms
    return (
        query.handler in ("", view.spec.handler)
        and (query.label is None or query.label in view.spec.labels)
        and view.created_ms >= place.from_ms
        and (created_to_ms is None or view.created_ms < created_to_ms)
        and (query.due_from_ms is None or view.due_ms >= query.due_from_ms)
        and (query.due_to_ms is None or view.due_ms < query.due_to_ms)
    )


def _stands(view: TaskView, query: ListQuery, place: Place) -> bool:
    """Whether a task is in a state that was asked for; of what nobody can read, nobody knows."""
    if view.state is PublicState.UNSPECIFIED:
        return True
    return _answers(view, query, place) and (not query.states or view.state in query.states)


def _in_hand(view: TaskView) -> bool:
    """Whether an attempt is claimed, so that it may have begun, or only its owner may read it."""
    if view.state is PublicState.UNSPECIFIED:
        return True
    return not view.terminal and bool(view.attempts) and view.attempts[-1].outcome == "CLAIMED"
