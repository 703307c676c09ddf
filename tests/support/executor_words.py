"""Short ways to say runs, orders and streams in tests of the executor."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId, TaskId
from timeball_server.core.journal import EventRef
from timeball_server.core.messages import (
    AckResults,
    Dispatch,
    RunId,
    RunOrder,
    RunResult,
    StreamHello,
)
from timeball_server.core.model import Payload
from timeball_server.ports.coordination import Member, Role

EXECUTOR = Incarnation(500)


def run_id(number: int, epoch: int = 1) -> RunId:
    return RunId(TaskId(f"task{number:06}"), EventRef(2, Epoch(epoch)))


def order(
    number: int,
    *,
    shard: int = 3,
    epoch: int = 1,
    handler: str = "echo",
    data: bytes = b"{}",
    priority: int = 4,
    due_ms: int = 1_000,
    limit_ms: int | None = None,
    heartbeat_ms: int | None = None,
    checkpoint: Payload | None = None,
) -> RunOrder:
    return RunOrder(
        run=run_id(number, epoch),
        shard=ShardId(shard),
        epoch=Epoch(epoch),
        attempt=1,
        handler=handler,
        payload=Payload(data=data),
        priority=priority,
        due_ms=due_ms,
        start_to_close_ms=limit_ms,
        namespace="default",
        owner="clerk",
        heartbeat_ms=heartbeat_ms,
        checkpoint=checkpoint,
    )


def dispatch(*orders: RunOrder, incarnation: int = EXECUTOR) -> Dispatch:
    return Dispatch(Incarnation(incarnation), orders)


def hello(
    number: int = 1, *, owner: str = "s1", process: int = 7, executor: int = EXECUTOR
) -> StreamHello:
    return StreamHello(
        owner=NodeId(owner),
        owner_incarnation=Incarnation(process),
        number=number,
        executor_incarnation=Incarnation(executor),
    )


def result(of: RunOrder, started_ms: int = 1_000) -> RunResult:
    return RunResult(
        run=of.run,
        shard=of.shard,
        started_ms=started_ms,
        ended_ms=started_ms + 1,
        result=Payload(data=b"null"),
    )


def acknowledge(*orders: RunOrder, epoch: int | None = None) -> AckResults:
    return AckResults(
        tuple((o.run, o.shard, o.epoch if epoch is None else Epoch(epoch)) for o in orders)
    )


def member(address: str = "", slots: int = 4) -> Member:
    return Member(role=Role.EXECUTOR, node=NodeId("x1"), address=address, slots=slots)


class StandingMemberships:
    """Gives the incarnations 500, 501, ...; `lose` ends one."""

    def __init__(self) -> None:
        self.joined: list[Member] = []
        self.left = False
        self._lost = asyncio.Event()

    async def join(self, newcomer: Member) -> Incarnation:
        self._lost = asyncio.Event()
        incarnation = Incarnation(EXECUTOR + len(self.joined))
        self.joined.append(replace(newcomer, incarnation=incarnation))
        return incarnation

    def lose(self) -> None:
        self._lost.set()

    async def lost(self) -> None:
        await self._lost.wait()

    async def leave(self) -> None:
        self.left = True
