"""Declared tasks: still functions, checked at submit, options first and then a typed call."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import timeball
from timeball import errors
from timeball.options import RetryPolicy
from timeball.registry import registry
from timeball.v1 import schedule_service_pb2

if TYPE_CHECKING:
    from tests.unit.sdk.conftest import Door


@dataclass
class Receipt:
    number: int


@timeball.task("sdk.charge", retry=RetryPolicy(max_attempts=8), timeout="30s", priority=2)
async def charge(user: str, amount: int = 1) -> Receipt:
    """Takes the money."""
    return Receipt(number=amount)


@timeball.task("sdk.add")
def add(left: int, right: int) -> int:
    return left + right


def test_a_cap_belongs_to_the_handler_and_is_no_option_of_a_submission() -> None:
    @timeball.task("sdk.capped", max_concurrent=3, priority=2)
    def capped() -> None: ...

    assert capped.handler.max_concurrent == 3
    assert charge.handler.max_concurrent is None
    with pytest.raises(TypeError, match="max_concurrent"):
        capped.options(max_concurrent=2)  # type: ignore[call-arg]
    with pytest.raises(errors.InvalidRequest, match="at least 1"):
        timeball.task("sdk.stopped", max_concurrent=0)(lambda: None)


def test_a_task_is_still_its_function() -> None:
    assert add(1, 2) == 3
    assert asyncio.run(charge("u1", 5)) == Receipt(5)
    assert charge.__doc__ == "Takes the money."
    assert repr(charge) == "<AsyncTask sdk.charge>"
    assert charge.name == "sdk.charge"
    assert registry["sdk.charge"] is charge.handler


def test_arguments_travel_by_name_and_the_result_is_typed(door: Door) -> None:
    timeball.use(door.client)
    making = door.start(charge.submit_sync, "u1", amount=5)
    sent = door.take()
    assert sent.request.task.handler == "sdk.charge"
    assert sent.request.task.payload.data == b'{"user":"u1","amount":5}'
    assert sent.request.task.retry.max_attempts == 8
    assert sent.request.task.timeouts.start_to_close.seconds == 30
    sent.answer(door.created())
    waiting = door.start(door.finish(making).result)
    door.take().answer(door.ended(b'{"number":5}'))
    assert door.finish(waiting) == Receipt(5)


def test_options_of_one_submission_win(door: Door) -> None:
    timeball.use(door.client)
    call = charge.options(priority=9, labels={"team": "billing"})
    making = door.start(call.submit_sync, "u1")
    sent = door.take()
    assert sent.request.task.priority == 9
    assert sent.request.task.labels == {"team": "billing"}
    assert sent.request.task.retry.max_attempts == 8
    sent.answer(door.created())
    door.finish(making)
    assert "priority" in repr(call)


def test_a_schedule_of_a_task(door: Door) -> None:
    timeball.use(door.client)
    making = door.start(charge.schedule_sync, "nightly", timeball.every("2s"), user="u1")
    sent = door.take()
    assert sent.request.schedule.task.payload.data == b'{"user":"u1"}'
    assert sent.request.schedule.task.labels == {"schedule": "nightly"}
    made = schedule_service_pb2.Schedule(name="namespaces/n/schedules/s1")
    assert sent.request.name == "namespaces/n/schedules/nightly"
    assert sent.request.allow_missing
    assert not sent.request.update_mask.paths
    sent.answer(schedule_service_pb2.UpdateScheduleResponse(schedule=made))
    assert door.finish(making).id == "s1"


def test_a_wrong_argument_is_refused_before_anything_is_sent(door: Door) -> None:
    timeball.use(door.client)
    with pytest.raises(errors.InvalidRequest) as caught:
        charge.submit_sync("u1", amount="five")  # type: ignore[arg-type]
    assert [each.field for each in caught.value.violations] == ["$.amount"]
    with pytest.raises(TypeError):
        charge.submit_sync()  # type: ignore[call-arg]
    assert door.channel.calls.empty()


def test_misspelt_or_misplaced_options_are_refused() -> None:
    with pytest.raises(TypeError, match="did you mean 'priority'"):
        charge.options(priorty=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="delay"):
        timeball.task("sdk.delayed", delay="1s")  # type: ignore[call-arg]
    with pytest.raises(errors.InvalidRequest, match=r"retry\.max_delay"):
        RetryPolicy(max_delay="soon")
    with pytest.raises(errors.InvalidRequest, match="every"):
        timeball.every("often")


def test_a_prepared_task_goes_through_any_client(door: Door) -> None:
    making = door.start(door.client.submit, add.prepare(1, right=2))
    sent = door.take()
    assert sent.request.task.payload.data == b'{"left":1,"right":2}'
    sent.answer(door.created())
    assert door.finish(making).id == door.task_id
