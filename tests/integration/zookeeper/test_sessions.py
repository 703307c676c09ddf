"""Sessions on a real server: suspension, loss, stalls, stops, missed watches, and nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import psutil
import pytest
from kazoo.exceptions import ConnectionLoss
from timeball.errors import CoordinationUnavailable, InvalidRequest, PermissionDenied

from tests.support import zookeeper_process
from tests.support.coordination_steps import SHARD, A, B, joined, member, nodes
from tests.support.polls import eventually, moment
from tests.support.zookeeper_worlds import ZooKeeperWorld, admin
from timeball_server.coordination.zookeeper import requests
from timeball_server.coordination.zookeeper.options import ZooKeeperOptions, parse_address
from timeball_server.coordination.zookeeper.session import ZooKeeperSession, open_session
from timeball_server.core.ids import ShardId
from timeball_server.ports.coordination import Role, SessionLost, SessionState
from timeball_server.runtime.clock import SystemClock

pytestmark = pytest.mark.asyncio
TIMEOUT_MS = 2_000
SILENCE_MS = 6_000
"""What is judged by the clock has a second to spare."""
SESSIONS = 20


async def reach(session: ZooKeeperSession, state: SessionState) -> None:
    async def look() -> bool:
        return session.state is state

    await eventually(look, f"session is {state}")


def client_threads() -> list[str]:
    """Names of the threads that belong to sessions."""
    return [each.name for each in threading.enumerate() if "zookeeper session" in each.name]


async def no_threads() -> None:
    async def look() -> bool:
        return not client_threads()

    await eventually(look, "no session has a thread")


# -- suspended


async def test_silence_is_noticed_before_the_lease_ends(world: ZooKeeperWorld) -> None:
    """Each request puts off kazoo's ping: with some under way it would not notice for minutes."""
    session = await world.open(session_timeout_ms=SILENCE_MS)
    world.wire(session).hold()
    asked: list[asyncio.Future[None]] = []

    async def look() -> bool:
        asked.append(asyncio.ensure_future(session.prove()))
        return session.state is SessionState.SUSPENDED

    await eventually(look, "the session is suspended")
    proven_at_mono_ms = session.proven_at_mono_ms()
    assert proven_at_mono_ms is not None
    silent_ms = world.clock.now().mono_ms - proven_at_mono_ms
    assert silent_ms < SILENCE_MS * 2 // 3
    failed = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(each) for each in failed} == {CoordinationUnavailable}
    world.wire(session).resume()
    await reach(session, SessionState.CONNECTED)


async def test_the_client_itself_keeps_nothing_for_the_next_connection(
    world: ZooKeeperWorld,
) -> None:
    """Between our look at the state and the sending the connection may go: the client decides."""
    session = await world.open()
    await world.cut(session)
    path = f"{world.root}/owners/{SHARD}"
    request = requests.create(path, b"", session.link.acl, requests.EPHEMERAL)
    answer = session.link.client.ask(request)
    assert isinstance(answer.exception, ConnectionLoss)
    await world.heal(session)
    await reach(session, SessionState.CONNECTED)
    await session.prove()
    with admin(world.address) as outside:
        assert outside.exists(path) is None


async def test_nothing_asked_for_while_suspended_is_ever_sent(world: ZooKeeperWorld) -> None:
    session = await world.open()
    await session.join(member(A))
    await world.cut(session)
    for _ in range(50):
        with pytest.raises(CoordinationUnavailable):
            await session.take_ownership(SHARD)
    assert not session.link.client._queue
    await world.heal(session)
    await reach(session, SessionState.CONNECTED)
    await session.prove()
    with admin(world.address) as outside:
        assert outside.get_children(f"{world.root}/owners") == []


async def test_a_wire_that_flaps_sends_nothing_twice_or_late(world: ZooKeeperWorld) -> None:
    """Every taking that failed is either applied before the next one or never."""
    session, epochs = await world.open(), [0]
    await session.join(member(A))

    async def flap() -> None:
        for _ in range(20):
            world.wire(session).cut()
            await moment()
            world.wire(session).resume()
            await moment(0.1)

    flapping = asyncio.create_task(flap())
    while not flapping.done():
        with contextlib.suppress(CoordinationUnavailable):
            epochs.append(await session.take_ownership(SHARD) or 0)
        await moment(0.001)
    await flapping
    await reach(session, SessionState.CONNECTED)
    epochs.append(await session.take_ownership(SHARD) or 0)
    assert epochs == sorted(set(epochs))
    assert len(epochs) > 3
    await moment(0.3)
    (held,) = await session.ownerships()
    assert held.epoch == epochs[-1]


# -- lost


async def test_a_lost_session_is_never_replaced_by_a_new_one(world: ZooKeeperWorld) -> None:
    session = await world.open()
    await session.join(member(A))
    await world.expire(session)
    await reach(session, SessionState.LOST)
    connections = world.wire(session).connections
    with pytest.raises(SessionLost):
        await session.prove()
    with pytest.raises(SessionLost):
        await session.members(Role.EXECUTOR)

    await no_threads()
    assert world.wire(session).connections == connections


async def test_a_loop_that_stands_still_loses_its_session(world: ZooKeeperWorld) -> None:
    """Kazoo goes on pinging for it; the watchdog is what ends it, long before the timeout."""
    options = world.options(session_timeout_ms=10_000, stall_limit_ms=1_500)
    session = await world.open_directly(options)
    await session.join(member(A))
    gone = threading.Event()
    path = f"{world.root}/members/{Role.SCHEDULER_NODE}/{A}"
    with admin(world.address) as outside:
        assert outside.exists(path, watch=lambda _: gone.set())
        # This blocks the event loop until the server has dropped the member.
        assert gone.wait(8)
    assert session.state is SessionState.LOST
    with pytest.raises(SessionLost, match="stood still"):
        await session.prove()


async def test_a_loop_that_is_only_busy_keeps_its_session(world: ZooKeeperWorld) -> None:
    session = await world.open_directly(world.options(stall_limit_ms=2_000))
    for _ in range(5):
        threading.Event().wait(0.4)
        await moment()
    await session.prove()
    assert session.state is SessionState.CONNECTED


async def test_a_stopped_process_wakes_up_without_lease_and_then_lost(
    world: ZooKeeperWorld,
) -> None:
    watcher = await world.open()
    await watcher.join(member(B))
    async with other_process(world) as process:
        epoch = (await said(process))["epoch"]
        assert isinstance(epoch, int)
        process.send_signal(signal.SIGSTOP)

        async def look() -> int | None:
            return await watcher.take_ownership(SHARD)

        taken = await eventually(look, "the shard is free")
        assert taken > epoch
        process.send_signal(signal.SIGCONT)
        assert await said(process) == {"lease_holds": False}
        assert await said(process) == {"state": SessionState.LOST}
        assert await process.wait() == 0


@contextlib.asynccontextmanager
async def other_process(world: ZooKeeperWorld) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that joined as node A and owns the shard."""
    script = zookeeper_process.__file__
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, script, world.address, world.root, str(TIMEOUT_MS)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process) -> dict[str, object]:
    """The process's next line."""
    assert process.stdout is not None
    async with asyncio.timeout(20):
        found: dict[str, object] = json.loads(await process.stdout.readline())
        return found


# -- watches


async def test_a_watch_that_got_lost_is_made_good(world: ZooKeeperWorld) -> None:
    session = await world.open(recheck_ms=200)
    calls: list[int] = []
    session.on_change(lambda: calls.append(1))
    session.link.client._child_watchers.clear()
    session.link.client._data_watchers.clear()
    other = await joined(world, A)

    async def look() -> bool:
        return bool(calls)

    await eventually(look, "told of the join")
    assert await nodes(session) == [A]
    calls.clear()
    session.link.client._data_watchers.clear()
    session.link.client._child_watchers.clear()
    await other.drain()
    await eventually(look, "told of the draining")
    (found,) = await session.members(Role.SCHEDULER_NODE)
    assert found.draining


async def test_reading_what_did_not_change_is_one_request(world: ZooKeeperWorld) -> None:
    session = await joined(world, A)
    reader = await world.open()
    for shard in range(30):
        await session.take_ownership(ShardId(shard))
    assert len(await reader.ownerships()) == 30
    requests_before = reader.link.client._connection._xid
    assert len(await reader.ownerships()) == 30
    # A proof of the session's own may have come in between.
    assert reader.link.client._connection._xid - requests_before <= 2


# -- opening


async def test_nobody_there_is_said_with_the_address(free_address: str) -> None:
    options = ZooKeeperOptions(hosts=free_address, connect_within_ms=500)
    with pytest.raises(CoordinationUnavailable, match=free_address):
        await open_session(options, SystemClock())
    await no_threads()


@pytest.fixture
def free_address() -> str:
    """Where nobody listens."""
    from tests.support.servers.addresses import free_ports

    (port,) = free_ports(1, ("127.0.0.1",))
    return f"127.0.0.1:{port}"


async def test_with_credentials_every_entry_is_the_users_alone(world: ZooKeeperWorld) -> None:
    await world.open()  # Makes the outer root, open to all, so that it can be removed.
    root = f"{world.root}/nested/deeper"
    options = world.options(root=root, user="scheduler", password="secret")
    session = await open_session(options, world.clock)
    await session.join(member(A))
    await session.campaign()
    assert await session.take_ownership(SHARD) is not None
    with admin(world.address) as outside:
        outside.add_auth("digest", "scheduler:secret")
        paths = [f"{world.root}/nested"]
        for path in paths:
            acls, _ = outside.get_acls(path)
            assert [each.id.scheme for each in acls] == ["digest"], path
            paths.extend(f"{path}/{child}" for child in outside.get_children(path))
        assert len(paths) == 14
        for stranger in (world.options(root=root), replace(options, password="wrong")):
            with pytest.raises(PermissionDenied):
                await open_session(stranger, world.clock)
        await session.close()
        outside.delete(f"{world.root}/nested", recursive=True)
    assert "secret" not in repr(options)


async def test_addresses_may_name_a_root() -> None:
    assert parse_address("a:1,b:2/prod/timeball/") == ("a:1,b:2", "/prod/timeball")
    assert parse_address("a:1") == parse_address("a:1/") == ("a:1", "/timeball")
    for wrong in ("", "/root", "a:1//b", "a:1/../b"):
        with pytest.raises(InvalidRequest):
            parse_address(wrong)


# -- leaving nothing behind


async def test_closed_sessions_leave_no_threads_and_no_files(world: ZooKeeperWorld) -> None:
    await (await open_session(world.options(), world.clock)).close()
    process = psutil.Process()
    files_before = process.num_fds()
    for _ in range(SESSIONS):
        session = await open_session(world.options(), world.clock)
        await session.join(member(A))
        await session.close()
    await no_threads()
    assert process.num_fds() <= files_before
