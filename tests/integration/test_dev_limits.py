"""Limits through the public API and the command line, against `timeball dev`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from timeball import AsyncClient, BlockingCause, errors

from tests.support import dev_tasks
from tests.support.dev_server import DevServer
from tests.support.polls import eventually
from tests.support.typed_commands import typed

pytestmark = pytest.mark.asyncio
PATIENCE = "20s"


async def hold(client: AsyncClient, name: str, key: str) -> Any:
    """A task of a key that runs until its file is there."""
    wish = dev_tasks.hold.options(concurrency_key=key).prepare(name)
    return await client.submit(wish)


async def explained(client: AsyncClient, task: Any, cause: BlockingCause) -> Any:
    async def look() -> Any:
        found = await client.explain(task.id)
        return found if found.blocking.cause is cause else None

    return await eventually(look, f"{task.id} is held back by {cause}")


async def test_one_of_a_key_runs_at_a_time_until_more_are_allowed(
    dev: DevServer, client: AsyncClient
) -> None:
    first, second, third = [await hold(client, f"key.{n}", "customer/7") for n in range(3)]
    await explained(client, first, BlockingCause.RUNNING)
    found = await explained(client, second, BlockingCause.KEY_LIMIT)
    assert found.blocking.details["concurrency"] == "1"
    other = await client.submit(dev_tasks.echo.options(concurrency_key="customer/8").prepare("x"))
    assert await other.result(timeout=PATIENCE) == "x"
    await client.admin.set_limit("key", "customer/*", concurrency=2, reason="a test")
    await explained(client, second, BlockingCause.RUNNING)
    await explained(client, third, BlockingCause.KEY_LIMIT)
    for number in range(3):
        (dev.work / f"key.{number}").touch()
    await asyncio.gather(*(each.result(timeout=PATIENCE) for each in (first, second, third)))
    assert (await client.get(first.id)).concurrency_key == "customer/7"
    await client.admin.delete_limit("key", "customer/*")
    assert await client.admin.limits() == []


async def test_a_rate_is_kept_and_explained(client: AsyncClient) -> None:
    await client.admin.set_limit("key", "rate/*", rate="2/h", burst=1)

    async def known() -> bool:
        task = await hold(client, "never", "rate/known")
        found = await client.explain(task.id)
        await client.cancel(task.id, terminate=True)
        return found.blocking.cause is BlockingCause.RATE_LIMIT

    await eventually(known, "the rule is known")
    wish = dev_tasks.echo.options(concurrency_key="rate/1").prepare("x")
    waiting = [await client.submit(wish) for _ in range(3)]
    found = await explained(client, waiting[-1], BlockingCause.RATE_LIMIT)
    assert found.blocking.next_check_at is not None
    for each in waiting:
        await client.cancel(each.id)


async def test_bad_limits_and_keys_are_refused_with_the_field(client: AsyncClient) -> None:
    admin = client.admin
    cases: list[tuple[str, Any]] = [
        ("limit.concurrency", admin.set_limit("key", "a", concurrency=0)),
        ("limit.pattern", admin.set_limit("key", concurrency=1)),
        ("limit.pattern", admin.set_limit("key", "a*b", concurrency=1)),
        ("limit.concurrency", admin.set_limit("handler", "a", concurrency=1, rate="1/s")),
        ("limit.weight", admin.set_limit("namespace")),
        ("limit.rate.starts", admin.set_limit("handler", "a", rate="0/s")),
        (
            "task.concurrency_key",
            client.submit(dev_tasks.echo.options(concurrency_key="a*").prepare("x")),
        ),
    ]
    for field, call in cases:
        with pytest.raises(errors.InvalidRequest) as refused:
            await call
        assert field in {each.field for each in refused.value.violations}
    with pytest.raises(errors.ResourceNotFound):
        await admin.delete_limit("key", "never set")


def timeball(dev: DevServer, *arguments: str) -> str:
    done = typed("--address", dev.address, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_command_line_sets_lists_and_deletes(dev: DevServer) -> None:
    ask = asyncio.to_thread
    await ask(timeball, dev, "limit", "set", "handler", "mail", "--rate", "600/min", "--burst", "5")
    listed = json.loads(await ask(timeball, dev, "limit", "list", "-o", "json"))
    (mail,) = [each for each in listed["limits"] if each["pattern"] == "mail"]
    assert (mail["rate"]["starts"], mail["rate"]["per"]) == (600, "60s")
    assert "600/60s" in await ask(timeball, dev, "limit", "list")
    await ask(timeball, dev, "limit", "delete", "handler", "mail")
    assert "mail" not in await ask(timeball, dev, "limit", "list")
