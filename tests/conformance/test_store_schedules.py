"""The contract of ports/store.py over every adapter: the ledger and the versions of a schedule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.store_worlds import START_MS, task, verdict
from timeball_server.core.buckets import month_of
from timeball_server.core.ids import Epoch
from timeball_server.core.journal import LedgerRow, ScheduleDetail, VersionRow
from timeball_server.core.model import Overlap, OverlapPolicy, ScheduleSpec, TaskSpec
from timeball_server.core.schedules.spec import Calendar, Cron, ExcludedDates, Exclusions
from timeball_server.ports.store import Store

pytestmark = pytest.mark.asyncio
MONTH = month_of(START_MS)
SPEC = ScheduleSpec(
    task=TaskSpec(namespace="bank", owner="teller", handler="billing.charge"),
    calendar=Calendar(
        crons=(Cron(expression="0 9 * * mon-fri", zone="Europe/Berlin"),),
        excluded=Exclusions(dates=(ExcludedDates(dates=("2026-12-25",)),)),
        seed="bank/nightly",
    ),
    overlap=Overlap(policy=OverlapPolicy.BUFFER, limit=3),
    labels=(("team", "billing"),),
    name="nightly",
)


def version(number: int, epoch: int = 1) -> VersionRow:
    return VersionRow(
        schedule_id=task(1),
        version=number,
        epoch=Epoch(epoch),
        after_ms=START_MS + number,
        actor="clerk",
        detail=ScheduleDetail(spec=replace(SPEC, max_runs=number)),
    )


async def test_the_ledger_is_read_by_nominal_time_the_highest_epoch_first(
    store_client: Store,
) -> None:
    wide = replace(verdict(1, START_MS + 3, 2), last_nominal_ms=START_MS + 9, times=7, task_id=None)
    told = replace(verdict(1, START_MS + 2, 5), version=4, down_ms=7, overlap_ms=2)
    rows: list[LedgerRow] = [
        verdict(1, START_MS + 2, 1),
        wide,
        told,
        verdict(1, START_MS + 1, 3),
        verdict(2, START_MS + 1, 3),
    ]
    await store_client.append(rows)
    found = await store_client.read_ledger(task(1), MONTH, START_MS, 10)
    assert list(found) == [rows[3], told, rows[0], wide]
    assert list(await store_client.read_ledger(task(1), MONTH, START_MS + 2, 2)) == [told, rows[0]]
    assert list(await store_client.read_ledger(task(1), MONTH + 1, 0, 10)) == []


async def test_versions_are_read_by_number_the_highest_epoch_first(store_client: Store) -> None:
    rows = [version(2), version(1), version(2, 7), version(3)]
    await store_client.append(rows)
    assert list(await store_client.read_versions(task(1), 0, 10)) == [
        version(1),
        version(2, 7),
        version(2),
        version(3),
    ]
    assert list(await store_client.read_versions(task(1), 1, 1)) == [version(2, 7)]
    assert list(await store_client.read_versions(task(2), 0, 10)) == []
