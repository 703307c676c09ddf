"""The audit log: every end of a deed is noted, nothing waits for a database that is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timeball.errors import InvalidRequest, StoreUnavailable, TooLate

from coordinator.audit import MAX_WAITING_ROWS, WRITE_MS, Auditor, Deed
from coordinator.audit_log import AuditLog, AuditQuery
from tests.support.manual_clock import START_WALL_MS, ManualClock
from timeball_server.ports.access import AuditRow
from timeball_server.ports.metrics import Figures
from timeball_server.ports.store import ListPage
from timeball_server.store.memory_access import AccessTables, MemoryAccess

DAY_MS = 86_400_000
DEED = Deed(actor="boss", action="RevokeKey", target="shop/1", namespace="shop", request_id="r")


class Access(MemoryAccess):
    """A database that can be away, or never answer."""

    def __init__(self) -> None:
        super().__init__(AccessTables())
        self.is_away = False
        self.hangs = False
        self.reads = 0

    async def append_audit(self, rows: Sequence[AuditRow]) -> None:
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.is_away:
            raise StoreUnavailable("the database did not answer")
        await super().append_audit(rows)

    async def list_audit(
        self, namespace: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[AuditRow]:
        self.reads += 1
        return await super().list_audit(namespace, day, cursor, limit)


def auditor(access: Access) -> tuple[Auditor, ManualClock]:
    clock = ManualClock()
    return Auditor(access, clock, random.Random(7)), clock


async def rows(access: Access, namespace: str = "shop") -> list[AuditRow]:
    return list((await access.list_audit(namespace, START_WALL_MS // DAY_MS, None, 99_999)).rows)


def figures(notes: Auditor) -> list[float]:
    return [each.samples[0][1] for each in notes.metrics() if isinstance(each, Figures)]


@pytest.mark.asyncio
async def test_a_deed_is_noted_with_how_it_ended() -> None:
    access = Access()
    notes, _ = auditor(access)
    async with notes.noted(DEED):
        pass
    with pytest.raises(TooLate):
        async with notes.noted(DEED):
            raise TooLate("it has ended")
    with pytest.raises(ZeroDivisionError):
        async with notes.noted(DEED):
            raise ZeroDivisionError
    assert sorted(row.outcome for row in await rows(access)) == ["OK", "TOO_LATE"]
    await notes.flush()
    found = await rows(access)
    assert sorted(row.outcome for row in found) == ["OK", "TOO_LATE", "UNKNOWN"]
    assert {(row.actor, row.action, row.target, row.request_id) for row in found} == {
        ("boss", "RevokeKey", "shop/1", "r")
    }
    assert len({row.id for row in found}) == 3


@pytest.mark.asyncio
async def test_rows_wait_for_a_database_that_is_away_and_lose_nothing() -> None:
    access = Access()
    notes, clock = auditor(access)
    access.is_away = True
    for _ in range(250):
        async with notes.noted(DEED):
            pass
    await notes.flush()
    assert figures(notes) == [250, 0]
    access.is_away = False
    running = asyncio.ensure_future(notes.run())
    await clock.pass_by(1_000)
    assert len(await rows(access)) == 250
    assert figures(notes) == [0, 0]
    running.cancel()


@pytest.mark.asyncio
async def test_an_answer_does_not_wait_for_ever() -> None:
    access = Access()
    notes, _ = auditor(access)
    access.hangs = True
    async with asyncio.timeout(10 * WRITE_MS / 1_000), notes.noted(DEED):
        pass
    assert figures(notes) == [1, 0]


@pytest.mark.asyncio
async def test_what_cannot_be_kept_is_counted() -> None:
    notes, _ = auditor(Access())
    for _ in range(MAX_WAITING_ROWS + 5):
        notes.note(DEED)
    assert figures(notes) == [MAX_WAITING_ROWS, 5]


ROWS = st.lists(
    st.tuples(
        st.integers(0, 3 * DAY_MS), st.sampled_from(["boss", "op"]), st.sampled_from(["A", "B"])
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(ROWS, st.integers(1, 9), st.sampled_from(["", "boss"]), st.sampled_from(["", "B"]))
def test_pages_together_hold_every_row_once_newest_first(
    plan: list[tuple[int, str, str]], page_size: int, actor: str, action: str
) -> None:
    async def main() -> None:
        access = Access()
        notes, clock = auditor(access)
        for ago_ms, who, what in plan:
            notes.note(Deed(actor=who, action=what, target=""), at_ms=START_WALL_MS - ago_ms)
        await notes.flush()
        log = AuditLog(access, clock, b"key")
        query = AuditQuery(namespace="", actor=actor, action=action)
        found: list[AuditRow] = []
        token = ""
        while True:
            page = await log.page(query, page_size, token)
            assert len(page.rows) <= page_size
            found += page.rows
            token = page.next_token
            if not token:
                break
        wanted = sorted(
            START_WALL_MS - ago_ms
            for ago_ms, who, what in plan
            if actor in ("", who) and action in ("", what)
        )
        assert [row.at_ms for row in found] == wanted[::-1]
        assert len({row.id for row in found}) == len(found)

    asyncio.run(main())


@pytest.mark.asyncio
async def test_a_filtered_page_ends_after_a_bounded_number_of_reads() -> None:
    access = Access()
    notes, clock = auditor(access)
    for number in range(600):
        notes.note(DEED, at_ms=START_WALL_MS - number)
    await notes.flush()
    log = AuditLog(access, clock, b"key")
    query = AuditQuery(namespace="shop", actor="nobody")
    page = await log.page(query, 1, "")
    assert page.rows == []
    assert page.next_token
    assert access.reads <= 200


@pytest.mark.asyncio
async def test_a_token_belongs_to_its_query_and_a_range_has_a_length() -> None:
    access = Access()
    notes, clock = auditor(access)
    for _ in range(3):
        notes.note(DEED)
    await notes.flush()
    log = AuditLog(access, clock, b"key")
    token = (await log.page(AuditQuery(namespace="shop"), 1, "")).next_token
    assert token
    for query in (AuditQuery(namespace=""), AuditQuery(namespace="shop", actor="boss")):
        with pytest.raises(InvalidRequest, match="page_token"):
            await log.page(query, 1, token)
    with pytest.raises(InvalidRequest, match="noted_from"):
        await log.page(AuditQuery(namespace="shop", from_ms=5, to_ms=5), 1, "")


@pytest.mark.asyncio
async def test_rows_of_a_write_that_is_broken_off_are_written_when_the_process_stops() -> None:
    access = Access()
    notes, clock = auditor(access)
    for _ in range(3):
        notes.note(DEED)
    access.hangs = True
    running = asyncio.ensure_future(notes.run())
    await clock.pass_by(5_000, steps=5)
    running.cancel()
    await asyncio.wait((running,))
    access.hangs = False
    await notes.flush()
    assert len(await rows(access)) == 3
