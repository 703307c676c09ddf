"""A task that is changed, moved, run at once and deleted. See docs/guides/changing.md."""

import asyncio
from datetime import UTC, datetime, timedelta

import timeball
from timeball.errors import StaleEtag


@timeball.task("billing.charge")
async def charge(user: str, amount: int) -> int:
    return amount


async def main() -> None:
    handle = await charge.options(delay="1h", priority=4).submit("u1", amount=5)
    await handle.update(charge.prepare("u1", amount=7), priority=8)
    await handle.reschedule(at=datetime.now(UTC) + timedelta(days=1))
    seen = handle.last_seen.etag
    await handle.update(labels={"team": "a"})
    try:
        await handle.update(priority=1, etag=seen)
    except StaleEtag:
        print("somebody else was faster; read again, then decide")
    now = await handle.retry()
    print(await now.result())
    await handle.delete()


if __name__ == "__main__":
    asyncio.run(main())
