"""`python -m executor_node` as a process: joins, serves, logs starts, drains on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from timeball.apps import load_handlers
from timeball.errors import InvalidRequest, Unavailable

from tests.support.executor_words import acknowledge, dispatch, hello, order
from tests.support.polls import eventually
from timeball_server.coordination.local import LocalCoordinator, LocalSession
from timeball_server.coordination.remote.servicer import MembershipServicer
from timeball_server.core.messages import (
    Capacity,
    Dispatch,
    Finished,
    RefusalReason,
    Refused,
    RunId,
    RunResult,
    Started,
    ToExecutor,
)
from timeball_server.internal.v1 import membership_service_pb2_grpc as pb_grpc
from timeball_server.ports.coordination import Member, Role
from timeball_server.rpc.executor_transport import GrpcExecutorDialer, GrpcExecutorStream
from timeball_server.rpc.options import server_options
from timeball_server.runtime.clock import SystemClock

pytestmark = pytest.mark.asyncio
ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 30
SESSION_MS = 10_000
APP = """
import asyncio
from timeball.registry import Handler, register

def double(number: int) -> int:
    return 2 * number

async def forever() -> None:
    await asyncio.Event().wait()

register(Handler("double", double))
register(Handler("forever", forever))
chosen = [Handler("double", double)]
wrong = [3]
"""


@asynccontextmanager
async def cluster() -> AsyncIterator[tuple[str, LocalSession]]:
    """A membership service on loopback, and a session that sees who joins."""
    service = LocalCoordinator(100, SystemClock())
    server = grpc.aio.server(options=list(server_options(internal=True)))
    servicer = MembershipServicer(service.connect, SystemClock())
    pb_grpc.add_MembershipServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", await service.connect(SESSION_MS)
    finally:
        await server.stop(grace=None)
        await service.close()


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "executor_node", *arguments, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def joined(session: LocalSession) -> Member:
    changed = asyncio.Event()
    session.on_change(changed.set)
    async with asyncio.timeout(DEADLINE_S):
        while not (members := await session.members(Role.EXECUTOR)):
            changed.clear()
            await changed.wait()
    return members[0]


async def reached(member: Member) -> GrpcExecutorStream:
    """A stream to it. Others see a member a moment before it learns that it is one."""

    async def look() -> GrpcExecutorStream | None:
        with contextlib.suppress(Unavailable):
            return await GrpcExecutorDialer().open(member, hello(1, executor=member.incarnation))
        return None

    return await eventually(look, f"{member.node} serves")


def addressed(message: Dispatch, executor: Member) -> ToExecutor:
    return Dispatch(executor.incarnation, message.orders)


async def next_results(stream: GrpcExecutorStream) -> tuple[RunResult, ...]:
    async with asyncio.timeout(DEADLINE_S):
        while (message := await stream.receive()) is not None:
            if isinstance(message, Finished):
                return message.results
    raise AssertionError("the stream ended without a result")


async def test_it_joins_serves_logs_and_hands_back_on_sigterm(tmp_path: Path) -> None:
    app, starts = tmp_path / "app.py", tmp_path / "starts.jsonl"
    app.write_text(APP)
    arguments = (
        *("--app", str(app), "--name", "x1", "--slots", "3", "--strength", "70"),
        *("--label", "region=north", "--start-log", str(starts), "--drain-ms", "1000"),
        *("--data-dir", str(tmp_path / "data")),
    )
    async with (
        cluster() as (address, session),
        process("--server", address, *arguments) as executor,
    ):
        member = await joined(session)
        assert (member.node, member.slots, member.strength) == ("x1", 3, 70)
        assert (member.handlers, member.labels) == (("double", "forever"), (("region", "north"),))
        stream = await reached(member)
        first = order(1, handler="double", data=b'{"number":21}')
        stream.send(addressed(dispatch(first), member))
        (result,) = await next_results(stream)
        assert result.result is not None
        assert result.result.data == b"42"
        stuck = order(2, handler="forever")
        stream.send(acknowledge(first))
        stream.send(addressed(dispatch(stuck), member))
        async with asyncio.timeout(DEADLINE_S):
            while not isinstance(await stream.receive(), Started):
                pass
        logged = [json.loads(line) for line in starts.read_text().splitlines()]
        assert [line["task_id"] for line in logged] == [first.run.task_id, stuck.run.task_id]
        assert logged[0]["started_ms"] == result.started_ms

        executor.send_signal(signal.SIGTERM)
        (handed_back,) = await next_results(stream)
        assert (handed_back.run, handed_back.interrupted) == (stuck.run, True)
        stream.send(acknowledge(stuck))
        async with asyncio.timeout(DEADLINE_S):
            assert await executor.wait() == 0
        assert await session.members(Role.EXECUTOR) == ()
        await stream.close()


CAPPED = (
    APP
    + """
register(Handler("single", double, max_concurrent=1))
register(Handler("pair", forever, max_concurrent=9))
"""
)


async def test_caps_are_told_at_joining_and_kept(tmp_path: Path) -> None:
    """Declared with the handler or chosen for this executor, which wins."""
    app = tmp_path / "app.py"
    app.write_text(CAPPED)
    arguments = ("--app", str(app), "--name", "x1", "--max-concurrent", "pair=2")
    async with cluster() as (address, session), process("--server", address, *arguments):
        member = await joined(session)
        assert member.caps == (("pair", 2), ("single", 1))
        stream = await reached(member)
        runs = [order(number, handler="pair") for number in range(1, 5)]
        last = order(9, handler="double", data=b'{"number":21}')
        stream.send(addressed(dispatch(*runs, last), member))
        begun: set[RunId] = set()
        refused: list[RunId] = []
        full: tuple[str, ...] = ()
        async with asyncio.timeout(DEADLINE_S):
            while last.run not in begun or not refused or not full:
                match await stream.receive():
                    case Started(runs=some):
                        begun |= {run for run, _ in some}
                    case Refused(runs=some, reason=RefusalReason.HANDLER_FULL):
                        refused += [run for run, _ in some]
                    case Capacity() as told:
                        full = told.full
        assert begun == {runs[0].run, runs[1].run, last.run}
        assert (refused, full) == ([runs[3].run], ("pair",))
        await stream.close()


async def test_a_cap_of_a_handler_that_is_not_there_is_refused(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP)
    arguments = ("--app", str(app), "--max-concurrent", "absent=2")
    async with cluster() as (address, _), process("--server", address, *arguments) as executor:
        async with asyncio.timeout(DEADLINE_S):
            _, complaint = await executor.communicate()
        assert executor.returncode == 2
        assert b"has no handler 'absent'" in complaint


async def test_two_executors_never_share_a_data_directory(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP)
    arguments = ("--app", str(app), "--data-dir", str(tmp_path / "data"))
    async with cluster() as (address, session):
        where = ("--server", address)
        async with process(*where, *arguments, "--name", "x1"):
            await joined(session)
            async with process(*where, *arguments, "--name", "x2") as second:
                async with asyncio.timeout(DEADLINE_S):
                    _, complaint = await second.communicate()
                assert second.returncode == 1
                assert b"give this one its own --data-dir" in complaint


@pytest.mark.parametrize(
    ("app", "complaint"),
    [
        ("no.such.module", "no module"),
        ("absent.py", "no file"),
        ("app.py:absent", "has no 'absent'"),
        ("app.py:wrong", "no task"),
    ],
)
async def test_an_unusable_app_is_refused(tmp_path: Path, app: str, complaint: str) -> None:
    (tmp_path / "app.py").write_text(APP)
    place = str(tmp_path / app) if ".py" in app else app
    with pytest.raises(InvalidRequest, match=complaint):
        load_handlers(place)


async def test_an_object_of_an_app_names_its_handlers(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    assert set(load_handlers(f"{tmp_path / 'app.py'}:chosen")) == {"double"}
    assert {"double", "forever"} <= set(load_handlers(str(tmp_path / "app.py")))
