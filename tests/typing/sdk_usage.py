"""How a type checker sees the SDK. Checked, never run.

`assert_type` says what must be inferred; each `type: ignore[code]` says what must be refused, and
the strict setting refuses an ignore that has nothing to ignore.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, assert_type

import timeball
from timeball import (
    AsyncClient,
    Client,
    Handle,
    ScheduleHandle,
    SyncHandle,
    SyncScheduleHandle,
    TaskState,
    TimeballError,
    Timing,
    after_completion,
    cron,
    dates,
    every,
    union,
)

NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)


class Receipt:
    number: int


@timeball.task("typing.charge", retry=timeball.RetryPolicy(max_attempts=8), timeout="30s")
async def charge(user: str, amount: int = 1) -> Receipt:
    return Receipt()


@timeball.task("typing.add")
def add(left: int, right: int) -> int:
    return left + right


async def declared() -> None:
    assert_type(await charge("u1", 5), Receipt)
    assert_type(add(1, right=2), int)
    await charge("u1", amount="five")  # type: ignore[arg-type]
    add(1)  # type: ignore[call-arg]
    timeball.task("typing.wrong", run_at=NEW_YEAR)  # type: ignore[call-arg]
    timeball.task("typing.wrong", retry="often")  # type: ignore[arg-type]


report_daily = cron("0 9 * * *")
charge.declare_schedule("daily", report_daily, "u1", amount=5)
charge.options(priority=7).declare_schedule("urgent", every("1h"), "u1")
charge.declare_schedule("wrong", report_daily, "u1", amount="five")  # type: ignore[arg-type]
charge.declare_schedule("wrong", report_daily)  # type: ignore[call-arg]


async def submitted() -> None:
    handle = await charge.submit("u1", amount=5)
    assert_type(handle, Handle[Receipt])
    assert_type(await handle.result(timeout="5s"), Receipt)
    assert_type(await handle.cancel(reason="no"), TaskState)
    assert_type(add.submit_sync(1, 2), SyncHandle[int])
    await charge.submit(5)  # type: ignore[arg-type]
    await charge.submit("u1", colour="red")  # type: ignore[call-arg]
    await charge.submit()  # type: ignore[call-arg]
    wrong: str = await handle.result()  # type: ignore[assignment]
    (await handle.result()).colour  # type: ignore[attr-defined] # noqa: B018
    add.submit_sync(1, 2).result() + wrong  # type: ignore[operator]
    handle.result().number  # type: ignore[attr-defined] # noqa: B018


async def changed() -> None:
    handle = await charge.submit("u1", amount=5)
    assert_type(await handle.update(charge.prepare("u2", 7), priority=8, etag="r1"), TaskState)
    assert_type(await handle.update({"user": "u2"}, timeout=None, labels={}), TaskState)
    assert_type(await handle.reschedule(at=NEW_YEAR), TaskState)
    assert_type(await handle.reschedule(after="5m", etag="r2"), TaskState)
    assert_type(await handle.retry(), Handle[Receipt])
    assert_type(await handle.cancel(terminate=True), TaskState)
    await handle.delete(etag="r2")
    sums = add.submit_sync(1, 2)
    assert_type(sums.update(retry=timeball.RetryPolicy(max_attempts=2)), TaskState)
    assert_type(sums.retry(), SyncHandle[int])
    await handle.update(charge.prepare(7))  # type: ignore[arg-type]
    await handle.update(priority="high")  # type: ignore[arg-type]
    await handle.update(owner="me")  # type: ignore[call-arg]
    await handle.reschedule(at="5m")  # type: ignore[arg-type]
    sums.retry().result() + "one"  # type: ignore[operator]


async def with_options() -> None:
    call = charge.options(run_at=NEW_YEAR, priority=3, labels={"team": "billing"})
    assert_type(await call.submit("u1"), Handle[Receipt])
    assert_type(add.options(delay="2s").submit_sync(1, 2), SyncHandle[int])
    charge.options(priorty=3)  # type: ignore[call-arg]
    charge.options(priority="high")  # type: ignore[arg-type]
    charge.options(run_at="2030-01-01")  # type: ignore[arg-type]
    await charge.options(delay="2s").submit("u1", amount="five")  # type: ignore[arg-type]


async def scheduled() -> None:
    await charge.schedule("nightly", every("2s", phase="1s"), user="u1")
    await charge.schedule("nightly", every("2s"), user=5)  # type: ignore[arg-type]
    await charge.schedule("nightly", "2s", user="u1")  # type: ignore[arg-type]
    weekdays = cron("0 9 * * mon-fri", tz="Europe/Berlin", gap="skip", overlap="allow(3)")
    handle = await charge.schedule("nightly", weekdays, "u1", amount=2)
    assert_type(handle, ScheduleHandle)
    assert_type(await handle.trigger(), Handle[Any])
    assert_type(add.schedule_sync("sums", after_completion("10m"), 1, 2), SyncScheduleHandle)
    assert_type(union(weekdays, every("1h"), exclude=[dates("2026-12-25")]), Timing)
    cron("0 9 * * *", gap="sometimes")  # type: ignore[arg-type]
    every("2s", start="2030-01-01")  # type: ignore[arg-type]
    every("2s", exclude=["2030-01-01"])  # type: ignore[list-item]
    every("2s", colour="red")  # type: ignore[call-arg]
    await handle.pause(5)  # type: ignore[arg-type]


async def through_clients(client: Client, twin: AsyncClient) -> None:
    assert_type(client.submit("billing.charge", {"user": "u1"}, priority=1), SyncHandle[Any])
    assert_type(client.submit(add.prepare(1, 2)), SyncHandle[int])
    assert_type(await twin.submit(charge.prepare("u1")), Handle[Receipt])
    for item in client.batch_submit([add.prepare(1, 2)]):
        assert_type(item, SyncHandle[int] | TimeballError)
    add.prepare("one", 2)  # type: ignore[arg-type]
    client.submit("billing.charge", priorty=1)  # type: ignore[call-overload]
    client.submit(add.prepare(1, 2), priority=1)  # type: ignore[call-overload]
