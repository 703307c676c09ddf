"""Who says what holds a task back: the store, its owner, or nobody, which is an answer as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from timeball.errors import StoreUnavailable, TaskNotFound, TimeballError, Unavailable
from timeball.v1 import task_service_pb2 as pb

from coordinator.deadline import Deadline
from coordinator.explain_messages import CAUSES, explanation_message
from coordinator.explaining import OWNER_PATIENCE_MS, Explainer
from coordinator.reader import Reader
from coordinator.requests import Caller, CreateRequest
from tests.support.fake_owners import EXECUTOR, Fault, Rig, on_rig
from timeball_server.core.explanation import BlockingCause, Explanation, Reason
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import EventKind, EventRow
from timeball_server.core.minting import CreateTime
from timeball_server.core.model import TaskSpec
from timeball_server.internal.v1 import shard_service_pb2 as internal
from timeball_server.rpc.explain_convert import read_explanation, write_explanation
from timeball_server.store.memory import MemoryStore

CLERK = Caller("shop", "clerk")
THIEF = Caller("bank", "thief")
SPEC = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")
SHARDS = (0, 1, 2, 3)
LATER_MS = 60_000


async def made(rig: Rig, *events: EventKind, delay_ms: int = LATER_MS) -> TaskId:
    """A task of an owner of all shards, with these events after its creation."""
    owner = await rig.node("west", *SHARDS)
    request = CreateRequest(spec=SPEC, time=CreateTime(delay_ms=delay_ms))
    (result,) = await rig.api.create(CLERK, [request])
    if isinstance(result, TimeballError):
        raise result
    for kind in events:
        await owner.append(result.task_id, kind, executor=EXECUTOR, attempt=1)
    return result.task_id


async def orphan(rig: Rig) -> None:
    """Take the shards away from everyone."""
    for shard in SHARDS:
        await rig.release("west", shard)
    await rig.clock.sleep_ms(1)


def causes(explanation: Explanation) -> list[BlockingCause]:
    return [reason.cause for reason in explanation.reasons]


@on_rig
async def test_of_an_open_task_its_owner_says_it(rig: Rig) -> None:
    task = await made(rig)
    told = await rig.api.explain(CLERK, task)
    assert told.reasons == rig.dialer.owners["west:1"].reasons


@on_rig
async def test_of_an_ended_task_the_store_says_it_and_no_owner_is_asked(rig: Rig) -> None:
    task = await made(rig, EventKind.CANCELLED)
    rig.dialer.owners["west:1"].calls.clear()
    for _ in range(2):
        told = await rig.api.explain(CLERK, task)
        assert causes(told) == [BlockingCause.ENDED]
        assert dict(told.blocking.details)["state"] == "CANCELLED"
    assert rig.dialer.owners["west:1"].calls == []


@on_rig
async def test_a_shard_without_an_owner_is_the_answer(rig: Rig) -> None:
    task = await made(rig)
    await orphan(rig)
    since_ms = rig.clock.now().wall_ms
    told = await rig.api.explain(CLERK, task)
    assert rig.clock.now().wall_ms - since_ms <= OWNER_PATIENCE_MS
    assert causes(told) == [BlockingCause.SHARD_NOT_OWNED, BlockingCause.NOT_DUE]
    assert told.blocking.since_ms == since_ms
    assert "no scheduler node owns shard" in told.blocking.sentence


@on_rig
async def test_the_next_owner_is_waited_for_and_asked(rig: Rig) -> None:
    task = await made(rig)
    await orphan(rig)
    east = await rig.node("east", *SHARDS)
    assert (await rig.api.explain(CLERK, task)).reasons == east.reasons


@pytest.mark.parametrize("events", [(), (EventKind.CLAIMED, EventKind.RETRY)])
def test_what_the_journal_says_of_time_holds_too(events: tuple[EventKind, ...]) -> None:
    async def main(rig: Rig) -> None:
        task = await made(rig, *events)
        await orphan(rig)
        _, also = (await rig.api.explain(CLERK, task)).reasons
        assert also.cause is (BlockingCause.BACKOFF if events else BlockingCause.NOT_DUE)
        assert also.next_check_ms is not None
        assert also.next_check_ms > rig.clock.now().wall_ms

    on_rig(main)()


@on_rig
async def test_what_is_due_waits_for_an_owner_alone(rig: Rig) -> None:
    task = await made(rig, delay_ms=0)
    await orphan(rig)
    assert causes(await rig.api.explain(CLERK, task)) == [BlockingCause.SHARD_NOT_OWNED]


@on_rig
async def test_an_owner_that_does_not_answer_is_the_answer(rig: Rig) -> None:
    task = await made(rig, delay_ms=0)
    rig.dialer.owners["west:1"].faults.extend([Fault.HANG] * 3)
    told = await rig.api.explain(CLERK, task)
    assert causes(told) == [BlockingCause.OWNER_SILENT]
    assert dict(told.blocking.details)["node"] == "west"


@on_rig
async def test_a_repetition_carries_no_mark(rig: Rig) -> None:
    task = await made(rig)
    owner = rig.dialer.owners["west:1"]
    owner.calls.clear()
    owner.faults.extend([Fault.BREAK_BEFORE])
    assert (await rig.api.explain(CLERK, task)).reasons == owner.reasons
    assert [call[0] for call in owner.calls] == [owner.calls[0][0]] * 2


@pytest.mark.parametrize("events", [(), (EventKind.CANCELLED,), (EventKind.CLAIMED,)])
def test_another_namespace_finds_nothing(events: tuple[EventKind, ...]) -> None:
    async def main(rig: Rig) -> None:
        task = await made(rig, *events)
        with pytest.raises(TaskNotFound):
            await rig.api.explain(THIEF, task)
        await orphan(rig)
        with pytest.raises(TaskNotFound):
            await rig.api.explain(THIEF, task)
        with pytest.raises(TaskNotFound):
            await rig.api.explain(CLERK, TaskId("nonsense"))

    on_rig(main)()


class CountingStore(MemoryStore):
    """Counts reads of journals."""

    reads = 0

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        self.reads += 1
        return await super().read_journals(task_ids)


@on_rig
async def test_an_end_is_read_once_for_all_who_ask_soon(rig: Rig) -> None:
    task = await made(rig, EventKind.CANCELLED)
    store = CountingStore(rig.database)
    explainer = Explainer(Reader(store, rig.calls, rig.clock), rig.calls, rig.clock)
    for _ in range(3):
        deadline = Deadline.after(rig.clock, OWNER_PATIENCE_MS)
        assert causes(await explainer.explain(task, "shop", deadline)) == [BlockingCause.ENDED]
    assert store.reads == 1


class AbsentStore(MemoryStore):
    """Cannot be read."""

    async def read_journals(self, task_ids: Sequence[TaskId]) -> Mapping[TaskId, list[EventRow]]:
        raise StoreUnavailable("away")


@on_rig
async def test_without_the_store_the_owner_is_asked_all_the_same(rig: Rig) -> None:
    task = await made(rig)
    reader = Reader(AbsentStore(rig.database), rig.calls, rig.clock)
    explainer = Explainer(reader, rig.calls, rig.clock)
    deadline = Deadline.after(rig.clock, OWNER_PATIENCE_MS)
    told = await explainer.explain(task, "shop", deadline)
    assert told.reasons == rig.dialer.owners["west:1"].reasons
    await orphan(rig)
    with pytest.raises(Unavailable):
        await explainer.explain(task, "shop", Deadline.after(rig.clock, OWNER_PATIENCE_MS))


# On the wire --------------------------------------------------------------------------------------

FULL = Reason(
    cause=BlockingCause.NO_LABEL,
    sentence="no executor with label zone=eu serves charge",
    since_ms=1_800_000_000_001,
    next_check_ms=1_800_000_000_002,
    next_check="one joins",
    details=(("label", "zone=eu"), ("handler", "charge")),
)
BARE = Reason(cause=BlockingCause.RUNNING, sentence="it runs")
TOLD = Explanation(task_id=TaskId("t"), at_ms=1_800_000_000_003, reasons=(FULL, BARE))


def test_between_our_services_nothing_is_lost() -> None:
    message = internal.Explained()
    write_explanation(message, TOLD)
    assert read_explanation(internal.Explained.FromString(message.SerializeToString())) == TOLD
    message.reasons[0].cause = "MOON_IN_THE_WAY"
    newer = read_explanation(message).blocking
    assert (newer.cause, newer.sentence) == (BlockingCause.UNKNOWN, FULL.sentence)
    del message.reasons[:]
    with pytest.raises(ValueError, match="no reason"):
        read_explanation(message)


def test_the_public_message_says_the_same() -> None:
    message = explanation_message(TOLD, "shop")
    assert message.name == "namespaces/shop/tasks/t"
    assert message.explain_time.ToMilliseconds() == TOLD.at_ms
    first, (second,) = message.blocking, message.also
    assert first.cause == pb.BLOCKING_CAUSE_NO_LABEL
    assert (first.description, first.next_check) == (FULL.sentence, FULL.next_check)
    assert first.since_time.ToMilliseconds() == FULL.since_ms
    assert first.next_check_time.ToMilliseconds() == FULL.next_check_ms
    assert dict(first.details) == dict(FULL.details)
    assert second.cause == pb.BLOCKING_CAUSE_RUNNING
    assert not second.HasField("since_time")
    assert not second.HasField("next_check_time")


def test_every_cause_has_its_public_value() -> None:
    public = set(pb.BlockingCause.values()) - {pb.BLOCKING_CAUSE_UNSPECIFIED}
    assert set(CAUSES.values()) == public
    assert set(CAUSES) == set(BlockingCause) - {BlockingCause.UNKNOWN}
