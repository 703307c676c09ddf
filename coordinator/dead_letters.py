"""Lists tasks that failed for good, newest first, day by day.

The rows are hints written by owners, also by those that lost: every task is read by its journal
before it is shown. One call looks at a bounded number of days and rows; a page may therefore be
short, or empty, and still have a next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from timeball.errors import refused

from coordinator.deadline import Deadline
from coordinator.hints import Hint, LetterSource, found_in
from coordinator.paging import ListQuery, Place, seal, unseal
from coordinator.reader import shown
from coordinator.unread import marked, unread
from coordinator.walk import (
    BUDGET_MS,
    DAY_MS,
    DEFAULT_RANGE_MS,
    Item,
    Walk,
    page_items,
    start,
)
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import State
from timeball_server.core.minting import redrive_request_id, request_name
from timeball_server.core.model import TaskView
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import Store

_MARK: Final = "/dead letters"
"""No user can be called this, so tokens of other listings are refused here."""


class Letter(NamedTuple):
    """A dead letter: when the task failed for good, the task, and the one that does it again."""

    failed_ms: int
    task: TaskView
    redriven_as: TaskId | None = None


class LettersPage(NamedTuple):
    """Letters, newest first, and the token of the next page, empty at the end."""

    letters: list[Letter]
    next_token: str


class DeadLetters:
    """Lists dead letters. `token_key` seals page tokens."""

    def __init__(self, store: Store, clock: Clock, token_key: bytes) -> None:
        self._store = store
        self._clock = clock
        self._key = token_key

    async def page(
        self,
        namespace: str,
        *,
        from_ms: int | None = None,
        to_ms: int | None = None,
        handler: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> LettersPage:
        """One page of what failed from inclusive `from_ms` to exclusive `to_ms`.

        Raises:
            InvalidRequest: the token is not for this query, or the time range is empty.
        """
        query = ListQuery(
            namespace=namespace,
            owner=_MARK,
            handler=handler,
            created_from_ms=from_ms,
            created_to_ms=to_ms,
        )
        source = LetterSource(self._store, namespace)
        walk = Walk(
            source,
            unseal(page_token, query, self._key)
            if page_token
            else self._first(source, from_ms, to_ms),
            page_items(page_size),
            partial(self._verified, namespace=namespace, handler=handler),
            Deadline.after(self._clock, BUDGET_MS),
        )
        await walk.run()
        token = "" if walk.place is None else seal(walk.place, query, self._key)
        return LettersPage(await self._with_redrives(namespace, walk.items), token)

    def _first(self, source: LetterSource, from_ms: int | None, to_ms: int | None) -> Place:
        """Where the first page begins; the range is pinned for all that follow."""
        now_ms = self._clock.now().wall_ms
        end_ms = min(now_ms + DAY_MS, now_ms + 1 if to_ms is None else to_ms)
        start_ms = max(0, end_ms - DEFAULT_RANGE_MS if from_ms is None else from_ms)
        if start_ms >= end_ms:
            sentence = "must be earlier than failed_to, and not in the future"
            raise refused("failed_from", sentence)
        return start(source, from_ms=start_ms, to_ms=end_ms)

    async def _with_redrives(self, namespace: str, letters: list[Letter]) -> list[Letter]:
        """The same, with the tasks that do them again: a redrive has settled its task's name."""
        if not letters:
            return letters
        names = [request_name(redrive_request_id(each.task.task_id)) for each in letters]
        given = await self._store.read_names(namespace, names)
        heads = await self._store.read_heads(list(given.values()))
        # A redrive that was refused has left a name, and no task.
        made = {task_id for task_id, head in heads.items() if head.state is not State.VOID}
        again = [given[name] if given.get(name) in made else None for name in names]
        return [
            letter._replace(redriven_as=new) for letter, new in zip(letters, again, strict=True)
        ]

    async def _verified(
        self, hints: Sequence[Hint], *, namespace: str, handler: str
    ) -> list[Item[Letter]]:
        """The letters that tell the truth about their task."""
        hints = [hint for hint in hints if handler in ("", hint.handler)]
        journals = await self._store.read_journals([hint.task_id for hint in hints])
        items = []
        for hint in hints:
            rows = journals.get(hint.task_id, ())
            found = found_in(rows, namespace, partial(shown, with_journal=False))
            hidden = unread(rows)
            line = None if hidden is None else marked(hidden, hint, namespace)
            if line is not None:  # whether it failed for good nobody can say here
                items.append(Item(hint, Letter(hint.at_ms, line)))
            elif found is not None and hint.is_of(found):
                items.append(Item(hint, Letter(hint.at_ms, found.view)))
        return items
