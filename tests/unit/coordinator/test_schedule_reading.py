"""Lists, ledgers, versions and previews, read from a store that the test fills."""

from __future__ import annotations

from dataclasses import replace

import pytest
from timeball.errors import InvalidRequest

from coordinator.requests import Caller
from coordinator.schedule_preview import missed, preview
from coordinator.schedule_reading import LedgerQuery, ScheduleReader, SchedulesQuery
from coordinator.schedules import CreateScheduleRequest, ScheduleApi
from tests.support.fake_owners import Rig, on_rig
from tests.support.virtual_loop import START_WALL_MS
from timeball_server.core.ids import Epoch, TaskId
from timeball_server.core.journal import LedgerRow, ScheduleDetail, VersionRow
from timeball_server.core.model import (
    CatchUp,
    CatchUpPolicy,
    Overlap,
    OverlapPolicy,
    ScheduleSpec,
    TaskSpec,
)
from timeball_server.core.schedules.spec import (
    Calendar,
    Cron,
    ExcludedCron,
    Exclusions,
    Interval,
)

CLERK = Caller("shop", "clerk")
TASK = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")
SPEC = ScheduleSpec(task=TASK, every_ms=60_000)
DAY_MS = 86_400_000
FIRST_MS = START_WALL_MS - START_WALL_MS % DAY_MS - 40 * DAY_MS


def row(schedule_id: TaskId, at_ms: int, epoch: int, verdict: str, last_ms: int = 0) -> LedgerRow:
    return LedgerRow(
        schedule_id=schedule_id,
        nominal_ms=at_ms,
        epoch=Epoch(epoch),
        verdict=verdict,
        task_id=None,
        cause="",
        lateness_ms=0,
        last_nominal_ms=last_ms or None,
        times=(last_ms - at_ms) // 60_000 + 1 if last_ms else None,
    )


async def made(rig: Rig) -> tuple[ScheduleReader, TaskId]:
    await rig.node("west", 0, 1, 2, 3)
    api = ScheduleApi(rig.cluster)
    view = await api.create(CLERK, CreateScheduleRequest(spec=SPEC))
    return ScheduleReader(rig.cluster, api), view.schedule_id


@on_rig
async def test_of_a_ledger_what_is_in_force_is_shown_page_by_page(rig: Rig) -> None:
    reader, schedule_id = await made(rig)
    times = [FIRST_MS + number * DAY_MS for number in range(40)]
    rows = [row(schedule_id, at_ms, 2, "LAUNCHED") for at_ms in times]
    rows += [row(schedule_id, at_ms, 1, "CANCELLED") for at_ms in times[::2]]
    await rig.cluster.store.append(rows)
    found: list[LedgerRow] = []
    token = ""
    while True:
        query = LedgerQuery(from_ms=FIRST_MS)
        page = await reader.ledger(CLERK, schedule_id, query, 7, token)
        assert len(page.rows) <= 7
        found += page.rows
        token = page.next_token
        if not token:
            break
    assert found == rows[:40]
    some = LedgerQuery(from_ms=times[3], to_ms=times[9], verdicts=frozenset({"LAUNCHED"}))
    assert list((await reader.ledger(CLERK, schedule_id, some, 0, "")).rows) == rows[3:9]
    with pytest.raises(InvalidRequest, match="page_token"):
        await reader.ledger(CLERK, schedule_id, some, 0, "bm90IG91cnM")


@on_rig
async def test_a_later_owner_s_span_covers_what_an_earlier_one_said(rig: Rig) -> None:
    reader, schedule_id = await made(rig)
    span = row(schedule_id, FIRST_MS, 5, "COALESCED", FIRST_MS + 600_000)
    stale = row(schedule_id, FIRST_MS + 120_000, 3, "MISSED_WINDOW")
    after = row(schedule_id, FIRST_MS + 660_000, 3, "LAUNCHED")
    await rig.cluster.store.append([span, stale, after])
    query = LedgerQuery(from_ms=FIRST_MS)
    page = await reader.ledger(CLERK, schedule_id, query, 1, "")
    rest = await reader.ledger(CLERK, schedule_id, query, 0, page.next_token)
    assert (*page.rows, *rest.rows) == (span, after)


@on_rig
async def test_versions_say_from_when_to_when_and_those_that_never_were_are_left_out(
    rig: Rig,
) -> None:
    reader, schedule_id = await made(rig)

    def version(number: int, epoch: int, every_ms: int) -> VersionRow:
        return VersionRow(
            schedule_id=schedule_id,
            version=number,
            epoch=Epoch(epoch),
            after_ms=FIRST_MS + number,
            actor="clerk",
            detail=ScheduleDetail(spec=replace(SPEC, every_ms=every_ms)),
        )

    rows = [version(1, 1, 1_000), version(1, 4, 2_000), version(2, 1, 3_000)]
    await rig.cluster.store.append(rows)
    page = await reader.versions(CLERK, schedule_id, 0, "")
    assert page.schedule.version == 1, "the second was never acknowledged"
    assert page.versions == ((rows[1], None),)


@on_rig
async def test_a_namespace_without_schedules_has_an_empty_list(rig: Rig) -> None:
    reader, _ = await made(rig)
    page = await reader.page(Caller("bank", "teller"), SchedulesQuery(), 0, "")
    assert (page.schedules, page.next_token) == ((), "")


def test_a_preview_ends_with_the_calendar_and_with_the_runs_that_are_left() -> None:
    calendar = Calendar(intervals=(Interval(every_ms=60_000),), end_ms=FIRST_MS + 300_000)
    spec = ScheduleSpec(task=TASK, calendar=calendar)
    assert len(preview(spec, FIRST_MS, 100).times) == 5
    assert len(preview(spec, FIRST_MS, 100, left=2).times) == 2
    assert [each.due_ms for each in preview(spec, FIRST_MS, 1).times] == [None]


def test_a_preview_that_is_shorter_than_wished_says_why() -> None:
    stepping = (Interval(every_ms=60_000),)
    bounded = Calendar(intervals=stepping, end_ms=FIRST_MS + 300_000)
    spec = ScheduleSpec(task=TASK, calendar=bounded, max_runs=7)
    assert preview(spec, FIRST_MS, 5).end_cause == ""
    assert preview(spec, FIRST_MS, 6).end_cause == "no nominal time is left before its end"
    assert preview(spec, FIRST_MS, 5, left=3).end_cause == "all 7 runs are launched"
    left_out = Exclusions(crons=(ExcludedCron(expression="0 * 1-23 * * *"),))
    spec = ScheduleSpec(task=TASK, calendar=Calendar(intervals=stepping, excluded=left_out))
    seen = preview(spec, FIRST_MS - 120_000, 100)
    assert seen.end_cause == "1,000 nominal times in a row are excluded"
    assert len(seen.times) == 60


def test_a_preview_shows_when_a_shifted_run_is_due_only_where_that_is_known() -> None:
    calendar = Calendar(crons=(Cron(expression="0 9 * * *"),), jitter_ms=60_000)
    spec = ScheduleSpec(task=TASK, calendar=calendar)
    assert preview(spec, FIRST_MS, 1).times[0].due_ms is None
    (shown,) = preview(spec, FIRST_MS, 1, schedule_id=TaskId("0" * 40)).times
    assert shown.due_ms is not None
    assert 0 <= shown.due_ms - shown.nominal_ms < 60_000


@pytest.mark.parametrize(
    ("rule", "launched"),
    [
        (CatchUp(), 1),
        (CatchUp(policy=CatchUpPolicy.SKIP), 0),
        (CatchUp(policy=CatchUpPolicy.ALL), 10),
        (CatchUp(policy=CatchUpPolicy.ALL, window_ms=3_600_000), 60),
        (CatchUp(policy=CatchUpPolicy.ALL, max_lateness_ms=120_000), 2),
        (CatchUp(max_lateness_ms=1), 0),
    ],
)
def test_a_preview_says_what_catch_up_would_launch(rule: CatchUp, launched: int) -> None:
    spec = replace(SPEC, catch_up=rule, overlap=Overlap(policy=OverlapPolicy.SKIP))
    seen = missed(spec, FIRST_MS, FIRST_MS + 247 * 60_000 + 30_000)
    assert (seen.missed, seen.caught_up) == (247, launched)
