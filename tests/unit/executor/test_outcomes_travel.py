"""Whatever a handler says reaches its owner: one odd word must not silence an executor."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest
from timeball.heartbeats import heartbeat
from timeball.outcomes import Cancelled, Fail, Retry

from executor_node.outcomes import raised
from executor_node.pulses import Pulses
from executor_node.threads import LoopMail
from tests.support.executor_words import order, run_id
from timeball_server.core.messages import Beat, Beats, Finished, RunResult
from timeball_server.core.model import Failure
from timeball_server.internal.v1 import executor_service_pb2 as pb
from timeball_server.rpc.executor_convert import executor_messages, read_executor_message

UNTOLD = os.fsdecode(b"invoice-\xff.pdf")  # how Python names a file that is not UTF-8
NUMBER: Any = 404


def _arrives(error: BaseException) -> Failure:
    """The failure as its owner reads it."""
    outcome = raised(error, 0)
    result = RunResult(
        run=run_id(1),
        shard=order(1).shard,
        started_ms=1,
        ended_ms=2,
        result=None,
        failure=outcome.failure,
    )
    (message,) = executor_messages(Finished((result,)))
    read = read_executor_message(pb.ExecutorMessage.FromString(message.SerializeToString()))
    assert isinstance(read, Finished)
    failure = read.results[0].failure
    assert failure is not None
    return failure


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(2, "no such file", UNTOLD), Retry(UNTOLD), Fail(UNTOLD), Cancelled(UNTOLD)],
)
def test_a_failure_that_names_what_is_no_text_reaches_its_owner(error: Exception) -> None:
    failure = _arrives(error)
    assert "invoice-\\udcff.pdf" in failure.message
    assert UNTOLD not in failure.stack


def test_a_code_that_is_no_word_reaches_its_owner() -> None:
    assert _arrives(Fail("gone", code=NUMBER)).kind == "404"
    assert _arrives(Fail("gone", code=UNTOLD)).kind == "invoice-\\udcff.pdf"
    assert len(_arrives(Fail("gone", code="x" * 1_000_000)).kind) == 200


def test_a_note_that_is_no_text_reaches_its_owner() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        said: list[Beat] = []
        pulses = Pulses(loop, LoopMail(loop), said.append)
        pulse = pulses.begin(order(1))
        pulse.beat(heartbeat(0.5, UNTOLD, None))
        pulses.say_now(pulse)
        (message,) = executor_messages(Beats(tuple(said)))
        assert message.beats.beats[0].note == "invoice-\\udcff.pdf"

    asyncio.run(story())


def test_ordinary_words_are_untouched() -> None:
    words = json.loads('"na\\u00efve \\ud83d\\udd52"')
    assert _arrives(ValueError(words)).message == words
