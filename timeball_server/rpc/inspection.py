"""What operators ask of a scheduler node, over gRPC: both ends and the messages between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import grpc
from timeball.errors import TimeballError, Unavailable

from timeball_server.core.ids import Epoch, Incarnation, ShardId
from timeball_server.internal.v1 import shard_service_pb2 as pb
from timeball_server.internal.v1 import shard_service_pb2_grpc as stubs
from timeball_server.ports.owners import (
    ExecutorFigures,
    NodeFigures,
    OwnerInspector,
    OwnerObserver,
    SecondFigures,
    ShardFigures,
)
from timeball_server.rpc.status import abort_with

PATIENCE_MS: Final = 1_000
"""A node that has not reported in this time is shown as one that does not answer."""
DRAIN_PATIENCE_MS: Final = 5_000
"""A node tells the coordination service before it answers."""
Context = grpc.aio.ServicerContext[Any, Any]


class GrpcInspector(OwnerInspector, OwnerObserver):
    """One scheduler node; opens no connection of its own."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = stubs.ShardServiceStub(channel)

    async def report(self) -> Sequence[ShardFigures]:
        """See the port."""
        try:
            reply = await self._stub.Report(pb.ReportRequest(), timeout=PATIENCE_MS / 1_000)
        except grpc.aio.AioRpcError as error:
            raise _unavailable(error) from error
        return [_figures(message) for message in reply.shards]

    async def observe(self, from_s: int) -> NodeFigures:
        """See the port."""
        request = pb.ObserveRequest(from_s=from_s)
        try:
            reply = await self._stub.Observe(request, timeout=PATIENCE_MS / 1_000)
        except grpc.aio.AioRpcError as error:
            raise _unavailable(error) from error
        return NodeFigures(
            shards=tuple(_figures(each) for each in reply.shards),
            executors=tuple(_executor(each) for each in reply.executors),
            seconds=tuple(_second(each) for each in reply.seconds),
            since_s=reply.since_s,
            until_s=reply.until_s,
            lease_left_ms=reply.lease_left_ms,
        )

    async def drain(self) -> None:
        """See the port."""
        try:
            await self._stub.Drain(pb.DrainRequest(), timeout=DRAIN_PATIENCE_MS / 1_000)
        except grpc.aio.AioRpcError as error:
            raise _unavailable(error) from error


async def carry_out_report(inspector: OwnerInspector | None, context: Context) -> pb.ReportResponse:
    """The node's end of Report."""
    if inspector is None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody reports here")
    return pb.ReportResponse(shards=[_message(each) for each in await inspector.report()])


async def carry_out_observe(
    inspector: OwnerInspector | None, request: pb.ObserveRequest, context: Context
) -> pb.ObserveResponse:
    """The node's end of Observe."""
    if inspector is None or not isinstance(inspector, OwnerObserver):
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody can be observed here")
    seen = await inspector.observe(request.from_s)
    return pb.ObserveResponse(
        shards=[_message(each) for each in seen.shards],
        executors=[_executor_message(each) for each in seen.executors],
        seconds=[_second_message(each) for each in seen.seconds],
        since_s=seen.since_s,
        until_s=seen.until_s,
        lease_left_ms=seen.lease_left_ms,
    )


async def carry_out_drain(inspector: OwnerInspector | None, context: Context) -> pb.DrainResponse:
    """The node's end of Drain."""
    if inspector is None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody can be drained here")
    try:
        await inspector.drain()
    except TimeballError as error:
        await abort_with(context, error)
    return pb.DrainResponse()


def _unavailable(error: grpc.aio.AioRpcError) -> Unavailable:
    return Unavailable(f"the scheduler node did not answer: {error.details()}")


def _message(each: ShardFigures) -> pb.ShardReport:
    return pb.ShardReport(
        shard=each.shard,
        epoch=each.epoch,
        tasks=each.tasks,
        waiting=each.waiting,
        due_now=each.due_now,
        starts=each.starts,
        late_p50_ms=each.late_p50_ms,
        late_p99_ms=each.late_p99_ms,
        oldest_due_ms=each.oldest_due_ms,
        unserved=each.unserved,
        acquired_ms=each.acquired_ms,
        phase=each.phase,
    )


def _figures(message: pb.ShardReport) -> ShardFigures:
    return ShardFigures(
        shard=ShardId(message.shard),
        epoch=Epoch(message.epoch),
        tasks=message.tasks,
        waiting=message.waiting,
        due_now=message.due_now,
        starts=message.starts,
        late_p50_ms=message.late_p50_ms if message.HasField("late_p50_ms") else None,
        late_p99_ms=message.late_p99_ms if message.HasField("late_p99_ms") else None,
        oldest_due_ms=message.oldest_due_ms if message.HasField("oldest_due_ms") else None,
        unserved=message.unserved,
        acquired_ms=message.acquired_ms,
        phase=message.phase,
    )


def _executor_message(each: ExecutorFigures) -> pb.ExecutorReport:
    return pb.ExecutorReport(
        incarnation=each.incarnation,
        runs=each.runs,
        stream_open=each.stream_open,
        ready=each.ready,
        left_out_ms=each.left_out_ms,
        left_out_reason=each.left_out_reason,
    )


def _executor(message: pb.ExecutorReport) -> ExecutorFigures:
    return ExecutorFigures(
        incarnation=Incarnation(message.incarnation),
        runs=message.runs,
        stream_open=message.stream_open,
        ready=message.ready,
        left_out_ms=message.left_out_ms,
        left_out_reason=message.left_out_reason,
    )


def _second_message(each: SecondFigures) -> pb.SecondReport:
    return pb.SecondReport(
        second=each.second,
        created=each.created,
        failed=each.failed,
        late_counts=each.late_counts,
        late_max_ms=each.late_max_ms,
    )


def _second(message: pb.SecondReport) -> SecondFigures:
    return SecondFigures(
        second=message.second,
        created=message.created,
        failed=message.failed,
        late_counts=tuple(message.late_counts),
        late_max_ms=message.late_max_ms,
    )
