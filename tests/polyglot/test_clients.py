"""One suite over the client of every other language, on a real `timeball dev`.

Each test drives the language's own client through its probe and looks at the service with the
Python SDK, so that two clients must agree about what happened.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import timeball
from timeball.states import TaskState, state_of

from tests.support.dev_server import DevServer, dev_server, early
from tests.support.polls import eventually
from tests.support.probes import LANGUAGES, Probe, probe
from tests.support.tcp_proxy import TcpProxy
from timeball_server.core.buckets import Layout, LayoutRow
from timeball_server.core.ids import Minute
from timeball_server.core.minting import CreateTime, mint
from timeball_server.dev.wiring import SHARDS
from timeball_server.runtime.clock import SystemClock

pytestmark = pytest.mark.asyncio
ECHO = "it.echo"
HOUR_MS = 3_600_000
PATIENCE_MS = 20_000
LAYOUT = Layout((LayoutRow(from_minute=Minute(0), shard_count=SHARDS),))


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with dev_server(tmp_path_factory.mktemp("dev")) as server:
        yield server


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture
async def client(dev: DevServer, language: str, tmp_path: Path) -> AsyncIterator[Probe]:
    async with probe(language, dev.address, tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def sdk(dev: DevServer) -> AsyncIterator[timeball.AsyncClient]:
    async with timeball.AsyncClient(dev.address) as made:
        yield made


@pytest.fixture
def owner() -> str:
    return f"owner-{uuid.uuid4()}"


async def names_of(sdk: timeball.AsyncClient, owner: str) -> list[str]:
    return [task.name async for task in sdk.list(owner=owner)]


# What it is for -----------------------------------------------------------------------------------


async def test_a_task_for_now_is_created_awaited_and_its_result_read(client: Probe) -> None:
    value = "Grüße, 世界 \U0001f570"
    made = (await client.create(ECHO, arguments={"value": value})).task
    ended = await client.ask("wait", task=made.name, timeout_ms=PATIENCE_MS)
    assert (ended.task.name, ended.task.state, ended.task.attempt) == (made.name, "SUCCEEDED", 1)
    assert ended.result == value


async def test_a_task_for_later_waits_for_its_time(
    dev: DevServer, client: Probe, sdk: timeball.AsyncClient
) -> None:
    made = (await client.create(ECHO, arguments={"value": "later"}, delay_ms=700)).task
    assert made.state == "SCHEDULED"
    assert made.due_ms == (await sdk.get(made.name)).due_time.ToMilliseconds()
    short = made.name.rpartition("/")[2]
    assert (await client.ask("wait", task=short, timeout_ms=PATIENCE_MS)).result == "later"
    (start,) = (each for each in dev.starts() if each.task_id == short)
    assert early([start]) == []


async def test_a_list_goes_through_every_page_newest_first(
    client: Probe, sdk: timeball.AsyncClient, owner: str
) -> None:
    made = [
        (await client.create(ECHO, arguments={"value": ""}, owner=owner, delay_ms=HOUR_MS)).task
        for _ in range(5)
    ]
    listed = (await client.ask("list", owner=owner, page_size=2)).tasks
    assert [task.name for task in listed] == await names_of(sdk, owner)
    assert {task.name for task in listed} == {task.name for task in made}
    assert {(task.owner, task.state) for task in listed} == {(owner, "SCHEDULED")}
    assert (await client.ask("list", owner=f"not-{owner}")).tasks == []


async def test_a_cancelled_task_never_starts(client: Probe, sdk: timeball.AsyncClient) -> None:
    made = (await client.create(ECHO, arguments={"value": ""}, delay_ms=HOUR_MS)).task
    gone = (await client.ask("cancel", task=made.name, reason="no longer wanted")).task
    assert (gone.name, gone.state) == (made.name, "CANCELLED")
    found = await sdk.get(made.name)
    assert state_of(found.state) is TaskState.CANCELLED
    assert "no longer wanted" in found.journal[-1].description
    ended = await client.ask("wait", task=made.name, timeout_ms=PATIENCE_MS)
    assert ended.refusal.reason == "TASK_FAILED"
    assert (ended.refusal.metadata or {})["state"] == "CANCELLED"


async def test_a_task_that_waits_is_changed_moved_and_run(
    client: Probe, sdk: timeball.AsyncClient
) -> None:
    made = (await client.create(ECHO, arguments={"value": "x"}, delay_ms=HOUR_MS)).task
    wish = str(uuid.uuid4())
    for _ in range(2):
        changed = await client.ask("update", task=made.name, priority=8, request_id=wish)
    assert (await sdk.get(made.name)).priority == 8
    assert changed.task.etag != made.etag
    for verb in ("update", "reschedule"):
        stale = await client.ask(verb, task=made.name, priority=1, etag=made.etag)
        assert stale.refusal.reason == "STALE_ETAG"
    run_ms = made.due_ms + 1_000
    moved = await client.ask("reschedule", task=made.name, run_ms=run_ms, etag=changed.task.etag)
    assert (moved.task.due_ms, moved.task.state) == (run_ms, "SCHEDULED")
    assert (await client.ask("delete", task=made.name)).refusal.reason == "FAILED_PRECONDITION"
    assert (await client.ask("retry", task=made.name)).task.name == made.name
    ended = await client.ask("wait", task=made.name, timeout_ms=PATIENCE_MS)
    assert ended.result == "x"
    assert (await client.ask("reschedule", task=made.name)).refusal.reason == "TOO_LATE"
    stale = await client.ask("delete", task=made.name, etag=made.etag)
    assert stale.refusal.reason == "STALE_ETAG"
    assert (await client.ask("delete", task=made.name, etag=ended.task.etag)).error is None
    assert (await client.ask("get", task=made.name)).refusal.reason == "TASK_NOT_FOUND"


async def test_a_failed_task_is_done_again_by_a_new_one(client: Probe) -> None:
    made = (await client.create("it.refuse", arguments={"why": "closed"})).task
    waited = await client.ask("wait", task=made.name, timeout_ms=PATIENCE_MS)
    assert waited.refusal.reason == "TASK_FAILED"
    again = (await client.ask("retry", task=made.name)).task
    assert again.name != made.name
    assert (await client.ask("retry", task=made.name)).task.name == again.name


async def test_a_cancel_may_terminate(client: Probe) -> None:
    made = (await client.create(ECHO, arguments={"value": ""}, delay_ms=HOUR_MS)).task
    assert (await client.ask("cancel", task=made.name, terminate=True)).task.state == "TERMINATED"


async def test_a_retried_task_says_so(client: Probe) -> None:
    made = (await client.create("it.flaky", arguments={"failures": 1})).task
    ended = await client.ask("wait", task=made.name, timeout_ms=PATIENCE_MS)
    assert (ended.result, ended.task.attempt) == (2, 2)


# What goes wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb", ["get", "wait", "cancel", "update", "reschedule", "retry", "delete"]
)
async def test_a_task_that_never_was_is_not_found(client: Probe, verb: str) -> None:
    wish, now_ms = uuid.uuid4().bytes, SystemClock().now().wall_ms
    time = CreateTime(run_ms=now_ms)
    nobodys = mint("default", wish, time, resend=False, now_ms=now_ms, layout=LAYOUT).task_id
    asked = await client.ask(verb, task=nobodys, timeout_ms=PATIENCE_MS)
    assert asked.refusal.reason == "TASK_NOT_FOUND"


async def test_a_wrong_field_is_named_by_its_path(client: Probe) -> None:
    refused = (await client.create("no handler", arguments={})).refusal
    assert (refused.reason, refused.fields) == ("INVALID_REQUEST", ["task.handler"])
    assert "task.handler" in refused.message


async def test_what_has_ended_is_not_cancelled(client: Probe) -> None:
    made = (await client.create(ECHO, arguments={"value": "x"})).task
    assert (await client.ask("wait", task=made.name, timeout_ms=PATIENCE_MS)).error is None
    assert (await client.ask("cancel", task=made.name)).refusal.reason == "TOO_LATE"


async def test_a_failed_task_says_why(client: Probe) -> None:
    made = (await client.create("it.refuse", arguments={"why": "closed"})).task
    refused = (await client.ask("wait", task=made.name, timeout_ms=PATIENCE_MS)).refusal
    assert refused.reason == "TASK_FAILED"
    assert refused.metadata == {
        "task": made.name,
        "state": "FAILED",
        "attempts": "1",
        "cause": "NON_RETRIABLE",
        "failure_kind": "NO_SUCH_ACCOUNT",
        "failure_message": "closed",
    }


async def test_patience_may_end_before_the_task(client: Probe) -> None:
    made = (await client.create(ECHO, arguments={"value": ""}, delay_ms=HOUR_MS)).task
    refused = (await client.ask("wait", task=made.name, timeout_ms=200)).refusal
    assert refused.reason == "WAIT_TIMEOUT"
    assert (await client.ask("get", task=made.name)).task.state == "SCHEDULED"


# Again --------------------------------------------------------------------------------------------


async def test_the_same_wish_twice_is_one_task(
    client: Probe, sdk: timeball.AsyncClient, owner: str
) -> None:
    wish = {"request_id": str(uuid.uuid4()), "owner": owner, "delay_ms": HOUR_MS}
    first = (await client.create(ECHO, arguments={"value": ""}, **wish)).task
    assert (await client.create(ECHO, arguments={"value": ""}, **wish)).task.name == first.name
    assert await names_of(sdk, owner) == [first.name]
    other = await client.create(ECHO, arguments={"value": "other"}, **wish)
    assert other.refusal.reason == "REQUEST_ID_REUSED"


async def test_a_creation_whose_answer_was_lost_makes_one_task(
    dev: DevServer, sdk: timeball.AsyncClient, language: str, owner: str, tmp_path: Path
) -> None:
    host, _, port = dev.address.rpartition(":")
    async with (
        TcpProxy(host, int(port)) as wire,
        probe(language, wire.address, tmp_path) as client,
    ):
        assert (await client.ask("list", owner=owner)).tasks == []

        async def created() -> list[str] | None:
            return await names_of(sdk, owner) or None

        async def cut_once_created() -> str:
            (name,) = await eventually(created, "the task is there, unknown to its caller")
            wire.cut()
            wire.answer_ms = 0
            wire.resume()
            return name

        wire.answer_ms = HOUR_MS
        creation = client.create(ECHO, arguments={"value": ""}, owner=owner, delay_ms=HOUR_MS)
        made, name = await asyncio.gather(creation, cut_once_created())
        assert (made.task.name, made.task.state) == (name, "SCHEDULED")
        assert await names_of(sdk, owner) == [name]
        assert wire.connections == 2


# Several addresses --------------------------------------------------------------------------------


async def test_calls_take_turns_among_the_addresses_that_answer(
    dev: DevServer, language: str, owner: str, tmp_path: Path
) -> None:
    host, _, port = dev.address.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        dead = f"127.0.0.1:{taken.getsockname()[1]}"
    async with TcpProxy(host, int(port)) as one, TcpProxy(host, int(port)) as two:
        addresses = f"{dead}, {one.address},{two.address}"
        async with probe(language, addresses, tmp_path) as client:

            async def both_are_used() -> bool:
                assert (await client.ask("list", owner=owner)).error is None
                return (one.connections, two.connections) == (1, 1)

            await eventually(both_are_used, "both addresses are connected to")
            one.cut()
            for _ in range(4):
                assert (await client.ask("list", owner=owner)).error is None
