"""core.messages and the executor stream's protos, translated field by field.

Exact in both directions, except that a message whose payloads are large becomes several of the
same kind, in order. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar, assert_never

from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId, TaskId
from timeball_server.core.journal import EventRef
from timeball_server.core.messages import (
    AckResults,
    Beat,
    Beats,
    CancelRun,
    Capacity,
    Dispatch,
    Fence,
    Finished,
    FromExecutor,
    Inventory,
    InventoryEntry,
    RefusalReason,
    Refused,
    Revoke,
    RevokeAnswer,
    RevokeReply,
    RunId,
    RunOrder,
    RunPhase,
    RunResult,
    Started,
    StreamHello,
    ToExecutor,
)
from timeball_server.core.model import Failure, Payload
from timeball_server.internal.v1 import executor_service_pb2 as pb
from timeball_server.rpc.message_stream import Unreadable

T = TypeVar("T")
CHUNK_BYTES: Final = 1_048_576
"""Payload bytes after which the rest of a message goes into the next one of its kind."""

_REASONS: Final = {r: pb.RefusalReason.Value(f"REFUSAL_REASON_{r}") for r in RefusalReason}
_ANSWERS: Final = {a: pb.RevokeAnswer.Value(f"REVOKE_ANSWER_{a}") for a in RevokeAnswer}
_PHASES: Final = {p: pb.RunPhase.Value(f"RUN_PHASE_{p}") for p in RunPhase}
_REASONS_BACK: Final[dict[int, RefusalReason]] = {
    number: reason for reason, number in _REASONS.items()
}
_ANSWERS_BACK: Final[dict[int, RevokeAnswer]] = {
    number: answer for answer, number in _ANSWERS.items()
}
_PHASES_BACK: Final[dict[int, RunPhase]] = {number: phase for phase, number in _PHASES.items()}


def hello_to_proto(hello: StreamHello) -> pb.StreamHello:
    """The first words of a stream."""
    return pb.StreamHello(
        owner=hello.owner,
        owner_incarnation=hello.owner_incarnation,
        number=hello.number,
        executor_incarnation=hello.executor_incarnation,
    )


def hello_from_proto(hello: pb.StreamHello) -> StreamHello:
    """The first words of a stream."""
    return StreamHello(
        owner=NodeId(hello.owner),
        owner_incarnation=Incarnation(hello.owner_incarnation),
        number=hello.number,
        executor_incarnation=Incarnation(hello.executor_incarnation),
    )


# What owners say --------------------------------------------------------------------------------


def owner_messages(message: ToExecutor) -> Iterator[pb.OwnerMessage]:
    """One message of an owner; several for runs with large payloads."""
    match message:
        case Dispatch():
            for part in _chunks(message.orders, _order_bytes):
                orders = [_order_to_proto(order) for order in part]
                packed = pb.RunOrders(incarnation=message.incarnation, orders=orders)
                yield pb.OwnerMessage(orders=packed)
        case Fence():
            epochs = _epochs_to_proto(message.epochs)
            yield pb.OwnerMessage(fence=pb.Fence(number=message.number, epochs=epochs))
        case Revoke():
            run = _owned(message.run, message.shard, message.epoch)
            yield pb.OwnerMessage(revoke=pb.Revoke(run=run))
        case CancelRun():
            run = _owned(message.run, message.shard, message.epoch)
            cancel_run = pb.CancelRun(
                run=run, terminate=message.terminate, if_silent=message.if_silent
            )
            yield pb.OwnerMessage(cancel_run=cancel_run)
        case AckResults():
            runs = [_owned(run, shard, epoch) for run, shard, epoch in message.runs]
            yield pb.OwnerMessage(ack_results=pb.AckResults(runs=runs))
        case _:
            assert_never(message)


def read_owner_message(message: pb.OwnerMessage) -> ToExecutor:
    """The same, read back.

    Raises:
        Unreadable: no kind is set, or one that this version does not know.
    """
    match message.WhichOneof("kind"):
        case "orders":
            orders = tuple(map(_order_from_proto, message.orders.orders))
            return Dispatch(Incarnation(message.orders.incarnation), orders)
        case "fence":
            return Fence(message.fence.number, _epochs_from_proto(message.fence.epochs))
        case "revoke":
            return Revoke(*_owned_back(message.revoke.run))
        case "cancel_run":
            cancel = message.cancel_run
            return CancelRun(*_owned_back(cancel.run), cancel.terminate, cancel.if_silent)
        case "ack_results":
            return AckResults(tuple(map(_owned_back, message.ack_results.runs)))
        case kind:
            raise Unreadable(f"an owner's message of kind {kind}; is the executor older?")


def _order_bytes(order: RunOrder) -> int:
    return len(order.payload.data) + _size(order.checkpoint)


def _size(payload: Payload | None) -> int:
    return 0 if payload is None else len(payload.data)


def _order_to_proto(order: RunOrder) -> pb.RunOrder:
    return pb.RunOrder(
        run=_owned(order.run, order.shard, order.epoch),
        attempt=order.attempt,
        handler=order.handler,
        payload=_payload(order.payload),
        priority=order.priority,
        due_ms=order.due_ms,
        start_to_close_ms=order.start_to_close_ms,
        namespace=order.namespace,
        owner=order.owner,
        nominal_ms=order.nominal_ms,
        concurrency_key=order.concurrency_key,
        heartbeat_ms=order.heartbeat_ms,
        checkpoint=None if order.checkpoint is None else _payload(order.checkpoint),
    )


def _order_from_proto(order: pb.RunOrder) -> RunOrder:
    run, shard, epoch = _owned_back(order.run)
    limited = order.HasField("start_to_close_ms")
    return RunOrder(
        run=run,
        shard=shard,
        epoch=epoch,
        attempt=order.attempt,
        handler=order.handler,
        payload=_payload_back(order.payload),
        priority=order.priority,
        due_ms=order.due_ms,
        start_to_close_ms=order.start_to_close_ms if limited else None,
        namespace=order.namespace,
        owner=order.owner,
        nominal_ms=order.nominal_ms if order.HasField("nominal_ms") else None,
        concurrency_key=order.concurrency_key,
        heartbeat_ms=order.heartbeat_ms if order.HasField("heartbeat_ms") else None,
        checkpoint=_payload_back(order.checkpoint) if order.HasField("checkpoint") else None,
    )


# What executors say -----------------------------------------------------------------------------


def executor_messages(message: FromExecutor) -> Iterator[pb.ExecutorMessage]:
    """One message of an executor; several for large results."""
    match message:
        case Capacity():
            yield pb.ExecutorMessage(
                capacity=pb.Capacity(
                    slots=message.slots,
                    free=message.free,
                    draining=message.draining,
                    full_handlers=message.full,
                )
            )
        case Started():
            began = [pb.StartedRun(run=_key(run), started_ms=at) for run, at in message.runs]
            yield pb.ExecutorMessage(started=pb.Started(runs=began))
        case Beats():
            for beats in _chunks(message.beats, lambda beat: _size(beat.checkpoint)):
                said = [_beat_to_proto(beat) for beat in beats]
                yield pb.ExecutorMessage(beats=pb.Beats(beats=said))
        case Finished():
            for part in _chunks(message.results, _result_bytes):
                results = [_result_to_proto(result) for result in part]
                yield pb.ExecutorMessage(finished=pb.Finished(results=results))
        case Refused():
            yield pb.ExecutorMessage(refused=_refused_to_proto(message))
        case RevokeReply():
            yield pb.ExecutorMessage(
                revoke_reply=pb.RevokeReply(
                    run=_key(message.run),
                    answer=_ANSWERS[message.answer],
                    started_ms=message.started_ms,
                )
            )
        case Inventory():
            yield pb.ExecutorMessage(inventory=_inventory_to_proto(message))
        case _:
            assert_never(message)


def read_executor_message(message: pb.ExecutorMessage) -> FromExecutor:
    """The same, read back.

    Raises:
        Unreadable: no kind is set, or one that this version does not know.
    """
    match message.WhichOneof("kind"):
        case "capacity":
            told = message.capacity
            return Capacity(
                slots=told.slots,
                free=told.free,
                draining=told.draining,
                full=tuple(told.full_handlers),
            )
        case "started":
            began = message.started.runs
            return Started(tuple((_key_back(run.run), run.started_ms) for run in began))
        case "beats":
            return Beats(tuple(map(_beat_from_proto, message.beats.beats)))
        case "finished":
            return Finished(tuple(map(_result_from_proto, message.finished.results)))
        case "refused":
            return _refused_from_proto(message.refused)
        case "revoke_reply":
            reply = message.revoke_reply
            started_ms = reply.started_ms if reply.HasField("started_ms") else None
            answer = _known(_ANSWERS_BACK, reply.answer)
            return RevokeReply(_key_back(reply.run), answer, started_ms)
        case "inventory":
            return _inventory_from_proto(message.inventory)
        case kind:
            raise Unreadable(f"an executor's message of kind {kind}; is this node older?")


def _result_bytes(result: RunResult) -> int:
    stack = 0 if result.failure is None else len(result.failure.stack)
    return stack + _size(result.result) + _size(result.checkpoint)


def _beat_to_proto(beat: Beat) -> pb.Beat:
    return pb.Beat(
        run=_key(beat.run),
        fraction=beat.fraction,
        note=beat.note,
        checkpoint=None if beat.checkpoint is None else _payload(beat.checkpoint),
    )


def _beat_from_proto(beat: pb.Beat) -> Beat:
    return Beat(
        run=_key_back(beat.run),
        fraction=beat.fraction if beat.HasField("fraction") else None,
        note=beat.note,
        checkpoint=_payload_back(beat.checkpoint) if beat.HasField("checkpoint") else None,
    )


def _result_to_proto(result: RunResult) -> pb.RunResult:
    told, failure = result.result, result.failure
    return pb.RunResult(
        run=_key(result.run),
        shard=result.shard,
        started_ms=result.started_ms,
        ended_ms=result.ended_ms,
        result=None if told is None else _payload(told),
        failure=None if failure is None else _failure(failure),
        cancelled=result.cancelled,
        interrupted=result.interrupted,
        uncounted=result.uncounted,
        checkpoint=None if result.checkpoint is None else _payload(result.checkpoint),
    )


def _result_from_proto(result: pb.RunResult) -> RunResult:
    return RunResult(
        run=_key_back(result.run),
        shard=ShardId(result.shard),
        started_ms=result.started_ms,
        ended_ms=result.ended_ms,
        result=_payload_back(result.result) if result.HasField("result") else None,
        failure=_failure_back(result.failure) if result.HasField("failure") else None,
        cancelled=result.cancelled,
        interrupted=result.interrupted,
        uncounted=result.uncounted,
        checkpoint=_payload_back(result.checkpoint) if result.HasField("checkpoint") else None,
    )


def _payload(payload: Payload) -> pb.RunPayload:
    return pb.RunPayload(content_type=payload.content_type, data=payload.data)


def _failure(failure: Failure) -> pb.RunFailure:
    return pb.RunFailure(
        kind=failure.kind,
        message=failure.message,
        stack=failure.stack,
        retriable=failure.retriable,
        delay_ms=failure.delay_ms,
    )


def _payload_back(payload: pb.RunPayload) -> Payload:
    return Payload(content_type=payload.content_type, data=payload.data)


def _failure_back(failure: pb.RunFailure) -> Failure:
    return Failure(
        kind=failure.kind,
        message=failure.message,
        stack=failure.stack,
        retriable=failure.retriable,
        delay_ms=failure.delay_ms if failure.HasField("delay_ms") else None,
    )


def _refused_to_proto(message: Refused) -> pb.Refused:
    runs = [pb.OwnedRun(run=_key(run), shard=shard) for run, shard in message.runs]
    return pb.Refused(runs=runs, reason=_REASONS[message.reason], epoch=message.epoch)


def _refused_from_proto(message: pb.Refused) -> Refused:
    runs = tuple((_key_back(run.run), ShardId(run.shard)) for run in message.runs)
    return Refused(runs, _known(_REASONS_BACK, message.reason), Epoch(message.epoch))


def _inventory_to_proto(message: Inventory) -> pb.Inventory:
    entries = [
        pb.InventoryEntry(
            run=_key(entry.run),
            shard=entry.shard,
            phase=_PHASES[entry.phase],
            started_ms=entry.started_ms,
            namespace=entry.namespace,
            concurrency_key=entry.concurrency_key,
        )
        for entry in message.entries
    ]
    refused = _epochs_to_proto(message.refused)
    return pb.Inventory(number=message.number, entries=entries, refused=refused)


def _inventory_from_proto(message: pb.Inventory) -> Inventory:
    entries = tuple(
        InventoryEntry(
            run=_key_back(entry.run),
            shard=ShardId(entry.shard),
            phase=_known(_PHASES_BACK, entry.phase),
            started_ms=entry.started_ms if entry.HasField("started_ms") else None,
            namespace=entry.namespace,
            concurrency_key=entry.concurrency_key,
        )
        for entry in message.entries
    )
    return Inventory(message.number, entries, _epochs_from_proto(message.refused))


# Shared by both ---------------------------------------------------------------------------------


def _key(run: RunId) -> pb.RunKey:
    return pb.RunKey(task_id=run.task_id, run_seq=run.run.seq, run_epoch=run.run.epoch)


def _key_back(key: pb.RunKey) -> RunId:
    return RunId(TaskId(key.task_id), EventRef(key.run_seq, Epoch(key.run_epoch)))


def _owned(run: RunId, shard: ShardId, epoch: Epoch) -> pb.OwnedRun:
    return pb.OwnedRun(run=_key(run), shard=shard, epoch=epoch)


def _owned_back(owned: pb.OwnedRun) -> tuple[RunId, ShardId, Epoch]:
    return _key_back(owned.run), ShardId(owned.shard), Epoch(owned.epoch)


def _epochs_to_proto(epochs: Iterable[tuple[ShardId, Epoch]]) -> list[pb.ShardEpoch]:
    return [pb.ShardEpoch(shard=shard, epoch=epoch) for shard, epoch in epochs]


def _epochs_from_proto(epochs: Iterable[pb.ShardEpoch]) -> tuple[tuple[ShardId, Epoch], ...]:
    return tuple((ShardId(each.shard), Epoch(each.epoch)) for each in epochs)


def _known(table: dict[int, T], number: int) -> T:
    """The word for a number of an enum.

    Raises:
        Unreadable: a newer peer's word, or none.
    """
    try:
        return table[number]
    except KeyError:
        raise Unreadable(f"the peer used number {number} of {list(table.values())}") from None


def _chunks(items: Sequence[T], size: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """The items in order, in parts of about CHUNK_BYTES; one part where there are no items."""
    first, total = 0, 0
    for position, item in enumerate(items):
        total += size(item)
        if total > CHUNK_BYTES and position > first:
            yield items[first:position]
            first, total = position, size(item)
    yield items[first:]
