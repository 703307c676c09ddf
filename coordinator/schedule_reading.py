"""Reading many things about schedules: lists, the ledger, versions, and times that are to come.

Lists are hints, verified by each schedule's head. The ledger is read as it stands: of each nominal
time the row of the greatest epoch is in force, and a row that a later owner's row covers is not.
One call makes a bounded number of reads, so a page may be short and still have a next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from coordinator.paging import seal_words, unseal_words
from coordinator.requests import Caller, Cluster
from coordinator.schedules import ScheduleApi
from coordinator.unread import marked_schedule
from coordinator.walk import page_items
from timeball_server.core.buckets import month_end_ms, month_of
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import LISTED_SCHEDULE, LedgerRow, VersionRow
from timeball_server.core.model import PublicScheduleState, ScheduleView
from timeball_server.core.schedule_view import schedule_view

READS: Final = 24
"""Partitions, or pages of a listing, that one call reads."""


LIVING: Final = frozenset({PublicScheduleState.ACTIVE, PublicScheduleState.PAUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulesQuery:
    """Which schedules: in some of these states, of this handler, with this label; empty = any."""

    states: frozenset[PublicScheduleState] = LIVING
    handler: str = ""
    label: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerQuery:
    """Which verdicts, from inclusive `from_ms` to exclusive `to_ms`; empty = all."""

    from_ms: int | None = None
    to_ms: int | None = None
    verdicts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """Verdicts in order of nominal times; `schedule` says how far they go."""

    rows: tuple[LedgerRow, ...]
    next_token: str
    schedule: ScheduleView


@dataclass(frozen=True, slots=True)
class SchedulesPage:
    """Schedules, and the token of the next page, empty at the end."""

    schedules: tuple[ScheduleView, ...]
    next_token: str


@dataclass(frozen=True, slots=True)
class VersionsPage:
    """Versions in their order, each with the instant at which the next one began."""

    versions: tuple[tuple[VersionRow, int | None], ...]
    next_token: str
    schedule: ScheduleView


class ScheduleReader:
    """Reads what no owner needs to be asked for."""

    def __init__(self, cluster: Cluster, api: ScheduleApi) -> None:
        self._cluster = cluster
        self._api = api

    async def page(
        self, caller: Caller, query: SchedulesQuery, page_size: int, page_token: str
    ) -> SchedulesPage:
        """A page of a namespace's schedules.

        Raises:
            InvalidRequest: the token is not for this query.
        """
        store, key = self._cluster.store, self._cluster.token_key
        words = [caller.namespace, "schedules", sorted(query.states), query.handler, query.label]
        cursor = str(unseal_words(page_token, words, key)[0]) if page_token else None
        size, found = page_items(page_size), list[ScheduleView]()
        for _ in range(READS):
            left = size - len(found)
            listed = await store.list_by_state(caller.namespace, LISTED_SCHEDULE, 0, cursor, left)
            ids = [row.task_id for row in listed.rows]
            heads = await store.read_heads(ids)
            for head in (heads[each] for each in ids if each in heads):
                line = marked_schedule(head, caller.namespace)
                view = schedule_view(head) if line is None else None
                found += [line] if line is not None else []
                found += [view] if view is not None and _answers(view, query) else []
            cursor = listed.cursor
            if cursor is None or len(found) >= size:
                break
        token = "" if cursor is None else seal_words([cursor], words, key)
        return SchedulesPage(tuple(found), token)

    async def ledger(
        self,
        caller: Caller,
        schedule_id: TaskId,
        query: LedgerQuery,
        page_size: int,
        page_token: str,
        patience_ms: int | None = None,
    ) -> LedgerPage:
        """A page of a schedule's ledger.

        Raises:
            TaskNotFound: there is no such schedule. InvalidRequest: the token is of another query.
        """
        schedule = await self._api.get(caller, schedule_id, patience_ms)
        key = self._cluster.token_key
        words = [schedule_id, query.from_ms, query.to_ms, sorted(query.verdicts)]
        now_ms = self._cluster.clock.now().wall_ms
        to_ms = now_ms + 1 if query.to_ms is None else query.to_ms
        if page_token:
            at_ms, last_ms, epoch = unseal_words(page_token, words, key)
        else:
            first_ms = await self._first_ms(schedule) if query.from_ms is None else query.from_ms
            at_ms, last_ms, epoch = first_ms, -1, 0
        folding = _Folding(last_ms, epoch)
        rows, place = await self._verdicts(
            schedule_id, at_ms, to_ms, folding, query, page_items(page_size)
        )
        over = place is None or place >= to_ms
        token = "" if over else seal_words([place, folding.last_ms, folding.epoch], words, key)
        return LedgerPage(rows, token, schedule)

    async def _verdicts(
        self,
        schedule_id: TaskId,
        at_ms: int,
        to_ms: int,
        folding: _Folding,
        query: LedgerQuery,
        size: int,
    ) -> tuple[tuple[LedgerRow, ...], int | None]:
        """Verdicts in force from an instant on, and where the next page begins."""
        found: list[LedgerRow] = []
        place: int | None = at_ms
        for _ in range(READS):
            if place is None or place >= to_ms or len(found) >= size:
                break
            month = month_of(place)
            left = size - len(found)
            read = await self._cluster.store.read_ledger(schedule_id, month, place, left + 1)
            more = len(read) > left
            if more:  # all rows of one nominal time are looked at together
                read = [row for row in read if row.nominal_ms < read[-1].nominal_ms] or read
            for row in folding.in_force(read):
                wanted = not query.verdicts or row.verdict in query.verdicts
                if wanted and row.nominal_ms < to_ms:
                    found.append(row)
            place = read[-1].nominal_ms + 1 if more else month_end_ms(month)
        return tuple(found), place

    async def _first_ms(self, schedule: ScheduleView) -> int:
        """When the first of its versions began: a name may have had a life before this one."""
        rows = await self._cluster.store.read_versions(schedule.schedule_id, 0, 1)
        return min([schedule.created_ms, *(row.after_ms for row in rows)])

    async def versions(
        self,
        caller: Caller,
        schedule_id: TaskId,
        page_size: int,
        page_token: str,
        patience_ms: int | None = None,
    ) -> VersionsPage:
        """A page of the specifications that a schedule has had.

        Raises:
            TaskNotFound: there is no such schedule. InvalidRequest: the token is of another one.
        """
        schedule = await self._api.get(caller, schedule_id, patience_ms)
        key, words, size = self._cluster.token_key, [schedule_id, "versions"], page_items(page_size)
        after = int(unseal_words(page_token, words, key)[0]) if page_token else 0
        limit = 2 * size + 2  # two owners may have written one version
        read = await self._cluster.store.read_versions(schedule_id, after, limit)
        rows = [row for row in _highest(read) if row.version <= schedule.version]
        ends = [*(row.after_ms for row in rows[1:]), None]
        pairs = tuple(zip(rows, ends, strict=True))[:size]
        more = len(rows) > size or len(read) == limit
        token = seal_words([pairs[-1][0].version], words, key) if more and pairs else ""
        return VersionsPage(pairs, token, schedule)


class _Folding:
    """Which rows of a ledger are in force: the highest epoch's, and not covered by a later one's.

    `last_ms` and `epoch` are of the row that reaches farthest so far.
    """

    def __init__(self, last_ms: int, epoch: int) -> None:
        self.last_ms = last_ms
        self.epoch = epoch
        self._at_ms: int | None = None

    def in_force(self, rows: Sequence[LedgerRow]) -> Iterator[LedgerRow]:
        """The rows that count; they come by nominal time, highest epoch first."""
        for row in rows:
            covered = row.nominal_ms <= self.last_ms and row.epoch < self.epoch
            if row.nominal_ms == self._at_ms or covered:
                continue
            self._at_ms = row.nominal_ms
            last_ms = row.last_nominal_ms or row.nominal_ms
            if last_ms >= self.last_ms:
                self.last_ms, self.epoch = last_ms, row.epoch
            yield row


def _answers(view: ScheduleView, query: SchedulesQuery) -> bool:
    return (
        view.state in query.states
        and query.handler in ("", view.spec.task.handler)
        and (query.label is None or query.label in view.spec.labels)
    )


def _highest(rows: Sequence[VersionRow]) -> Iterator[VersionRow]:
    """Of each version the row of the highest epoch, which comes first."""
    last = None
    for row in rows:
        if row.version != last:
            last = row.version
            yield row
