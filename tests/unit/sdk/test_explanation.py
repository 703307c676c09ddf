"""Why a task is not running, as the clients and the command line tell it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from click.testing import CliRunner, Result
from google.protobuf.timestamp_pb2 import Timestamp
from timeball import BlockingCause, Explanation
from timeball.cli.explain import length, lines
from timeball.cli.root import root
from timeball.cli.session import Session
from timeball.explanation import Reason, explanation_of
from timeball.handle import SyncHandle
from timeball.v1 import task_service_pb2 as pb

if TYPE_CHECKING:
    from tests.unit.sdk.conftest import Door

NOON = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


def stamp(instant: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(instant)
    return made


def reason(cause: BlockingCause, description: str, **more: Any) -> Reason:
    return Reason(cause=cause, description=description, **more)


def told(blocking: Reason, *also: Reason) -> Explanation:
    return Explanation(name="t", at=NOON, blocking=blocking, also=also, message=pb.Explanation())


def answered(door: Door) -> pb.ExplainTaskResponse:
    """No executor with a label, and a backoff besides."""
    label = pb.BlockingReason(
        cause=pb.BLOCKING_CAUSE_NO_LABEL,
        description="no executor with label zone=eu serves billing.charge",
        since_time=stamp(NOON - timedelta(seconds=190)),
        next_check="one joins",
        details={"label": "zone=eu"},
    )
    other = pb.BlockingReason(cause=pb.BLOCKING_CAUSE_BACKOFF, description="the backoff")
    return pb.ExplainTaskResponse(
        explanation=pb.Explanation(
            name=door.task_name, blocking=label, also=[other], explain_time=stamp(NOON)
        )
    )


def test_the_api_s_causes_are_the_sdk_s() -> None:
    public = {name.removeprefix("BLOCKING_CAUSE_") for name in pb.BlockingCause.keys()}  # noqa: SIM118 - not a mapping
    assert public - {"UNSPECIFIED"} == set(BlockingCause) - {BlockingCause.UNKNOWN}


def test_it_is_asked_by_id_and_answered_with_types(door: Door) -> None:
    asking = door.start(door.client.explain, door.task_id)
    sent = door.take()
    assert (sent.method, sent.request.name) == ("ExplainTask", door.task_name)
    sent.answer(answered(door))
    found = door.finish(asking)
    assert (found.name, found.at) == (door.task_name, NOON)
    assert found.blocking.cause is BlockingCause.NO_LABEL
    assert found.blocking.since == NOON - timedelta(seconds=190)
    assert found.blocking.next_check_at is None
    assert found.blocking.details == {"label": "zone=eu"}
    assert [each.cause for each in found.also] == [BlockingCause.BACKOFF]


def test_a_handle_asks_for_its_own_task(door: Door) -> None:
    handle: SyncHandle[Any] = SyncHandle(door.client, door.task())
    asking = door.start(handle.explain)
    sent = door.take()
    assert sent.request.name == door.task_name
    sent.answer(answered(door))
    assert door.finish(asking).blocking.cause is BlockingCause.NO_LABEL


def test_a_cause_of_tomorrow_is_tolerated() -> None:
    message = pb.Explanation(blocking=pb.BlockingReason(description="the moon is in the way"))
    message.blocking.MergeFromString(bytes((0x08, 0x63)))
    found = explanation_of(message).blocking
    assert (found.cause, found.description) == (BlockingCause.UNKNOWN, "the moon is in the way")


# The command line ---------------------------------------------------------------------------------


def run(door: Door, *arguments: str) -> Any:
    session = Session(connect=lambda _: door.client)
    return door.start(CliRunner().invoke, root, list(arguments), obj=session)


def test_a_person_reads_one_sentence(door: Door) -> None:
    running = run(door, "task", "explain", door.task_id)
    door.take().answer(answered(door))
    result: Result = door.finish(running)
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first == (
        "waits: no executor with label zone=eu serves billing.charge, "
        "since 11:56:50Z (3 min 10 s ago); looks again: when one joins"
    )
    assert second == "also: the backoff"


def test_a_program_reads_the_api_s_json(door: Door) -> None:
    running = run(door, "task", "explain", door.task_id, "-o", "json")
    door.take().answer(answered(door))
    found = json.loads(door.finish(running).stdout)
    assert found["blocking"]["cause"] == "BLOCKING_CAUSE_NO_LABEL"
    assert found["blocking"]["details"] == {"label": "zone=eu"}


def test_what_is_not_there_is_exit_code_3(door: Door) -> None:
    running = run(door, "task", "explain", door.task_id)
    door.take().fail(grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND", message="no such task")
    assert door.finish(running).exit_code == 3


@pytest.mark.parametrize(
    ("cause", "lead"),
    [
        (BlockingCause.RUNNING, "runs: "),
        (BlockingCause.ENDED, "over: "),
        (BlockingCause.NOT_DUE, "waits: "),
        (BlockingCause.UNKNOWN, "waits: "),
    ],
)
def test_the_first_word_says_whether_it_waits(cause: BlockingCause, lead: str) -> None:
    (line,) = lines(told(reason(cause, "so it is")))
    assert line == f"{lead}so it is"


def test_instants_are_told_from_the_moment_of_the_answer() -> None:
    due = NOON + timedelta(days=2, hours=1)
    waits = reason(BlockingCause.NOT_DUE, "not\ndue", next_check_at=due, next_check="it is due")
    (line,) = lines(told(waits))
    expected = "waits: not due; looks again: at 2030-01-03T13:00:00Z (in 2 d 1 h), when it is due"
    assert line == expected


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((-5, "0 s"), (0.9, "0 s"), (59, "59 s"), (60, "1 min"), (190, "3 min 10 s")),
        *((3_600, "1 h"), (7_199, "1 h 59 min"), (200_000, "2 d 7 h")),
    ],
)
def test_lengths_are_told_in_their_two_largest_units(seconds: float, words: str) -> None:
    assert length(timedelta(seconds=seconds)) == words
