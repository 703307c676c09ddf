"""How the client of every other language calls: what it repeats, how, and what it tells.

The service is a script here, so that a test sees each request as it came.
"""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from timeball.v1 import task_service_pb2 as pb

from tests.support.polls import eventually
from tests.support.probes import LANGUAGES, probe
from tests.support.scripted_tasks import ENDED, NAME, Hang, Refuse, Script, after, scripted
from tests.support.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("language", LANGUAGES)]
UNAVAILABLE = Refuse(code=grpc.StatusCode.UNAVAILABLE)
CREATED = pb.CreateTaskResponse(task=ENDED)
DONE = pb.WaitTaskResponse(task=ENDED, done=True)
PATIENCE_MS = 20_000


def marks(script: Script) -> list[bool]:
    return [request.resend for request in script.requests]


async def test_a_repetition_carries_the_same_id_and_says_that_it_is_one(
    language: str, tmp_path: Path
) -> None:
    worth_another_try = ("UNAVAILABLE", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED")
    refusals = [Refuse(code=grpc.StatusCode[code]) for code in worth_another_try]
    async with (
        scripted(*refusals, CREATED) as (address, script),
        probe(language, address, tmp_path) as client,
    ):
        assert (await client.create("any")).task.name == NAME
    assert marks(script) == [False, True, True, True, True]
    (only,) = {request.request_id for request in script.requests}
    assert uuid.UUID(only).version == 7
    assert {request.parent for request in script.requests} == {"namespaces/-"}


async def test_every_call_is_a_wish_of_its_own(language: str, tmp_path: Path) -> None:
    async with (
        scripted(CREATED, CREATED) as (address, script),
        probe(language, address, tmp_path) as client,
    ):
        assert (await client.create("any")).error is None
        assert (await client.create("any")).error is None
    assert marks(script) == [False, False]
    assert len({request.request_id for request in script.requests}) == 2


async def test_an_id_of_the_callers_own_may_have_been_used_before(
    language: str, tmp_path: Path
) -> None:
    wish = str(uuid.uuid4())
    async with (
        scripted(CREATED) as (address, script),
        probe(language, address, tmp_path) as client,
    ):
        assert (await client.create("any", request_id=wish)).task.name == NAME
    assert [(request.request_id, request.resend) for request in script.requests] == [(wish, True)]


async def test_what_can_never_succeed_is_asked_once(language: str, tmp_path: Path) -> None:
    reasons = {
        ("INVALID_ARGUMENT", ""): "INVALID_REQUEST",
        ("FAILED_PRECONDITION", "TOO_LATE"): "TOO_LATE",
        ("ABORTED", "STALE_ETAG"): "STALE_ETAG",
        ("INTERNAL", ""): "INTERNAL",
        ("UNIMPLEMENTED", ""): "INTERNAL",
        ("RESOURCE_EXHAUSTED", ""): "RESOURCE_EXHAUSTED",  # no advice on when to come back
        ("NOT_FOUND", "OF_A_NEWER_SERVICE"): "OF_A_NEWER_SERVICE",
    }
    async with (
        scripted(*(refusal(*each) for each in reasons)) as (address, script),
        probe(language, address, tmp_path) as client,
    ):
        for (_, reason), expected in reasons.items():
            refused = (await client.create("any")).refusal
            assert (refused.reason, refused.message) == (expected, "scripted")
            assert (refused.metadata or {}) == ({"of": reason} if reason else {})
    assert marks(script) == [False] * len(reasons)


def refusal(code: str, reason: str) -> Refuse:
    """A status with this reason of ours, or with none."""
    info = error_details_pb2.ErrorInfo(
        domain="timeball.dev", reason=reason, metadata={"of": reason}
    )
    return Refuse(code=grpc.StatusCode[code], details=(info,) if reason else ())


async def test_advice_on_when_to_come_back_is_taken(language: str, tmp_path: Path) -> None:
    busy = Refuse(code=grpc.StatusCode.RESOURCE_EXHAUSTED, details=(after(300),))
    loop = asyncio.get_running_loop()
    async with (
        scripted(busy, CREATED) as (address, script),
        probe(language, address, tmp_path) as client,
    ):
        asked_s = loop.time()
        assert (await client.create("any")).task.name == NAME
        assert loop.time() - asked_s >= 0.3
    assert marks(script) == [False, True]


async def test_advice_beyond_the_deadline_is_told_instead(language: str, tmp_path: Path) -> None:
    busy = Refuse(code=grpc.StatusCode.RESOURCE_EXHAUSTED, details=(after(90_000),))
    async with (
        scripted(busy) as (address, _),
        probe(language, address, tmp_path) as client,
    ):
        refused = (await client.create("any")).refusal
    assert (refused.reason, refused.retry_after_ms) == ("RESOURCE_EXHAUSTED", 90_000)


async def test_details_that_cannot_be_read_count_as_absent(language: str, tmp_path: Path) -> None:
    broken = Refuse(code=grpc.StatusCode.NOT_FOUND, raw_details=b"\xff\xff\xff")
    async with (
        scripted(broken) as (address, _),
        probe(language, address, tmp_path) as client,
    ):
        refused = (await client.create("any")).refusal
    assert (refused.reason, refused.message) == ("TASK_NOT_FOUND", "scripted")


async def test_the_key_and_the_namespace_travel_with_every_call(
    language: str, tmp_path: Path
) -> None:
    own = {"TIMEBALL_API_KEY": "tb.key.secret", "TIMEBALL_NAMESPACE": "shop"}
    async with (
        scripted(CREATED) as (address, script),
        probe(language, address, tmp_path, **own) as client,
    ):
        assert (await client.create("any")).error is None
    assert script.metadata[0]["authorization"] == "Bearer tb.key.secret"
    assert script.requests[0].parent == "namespaces/shop"


async def test_a_wait_is_taken_up_again_on_a_new_connection(language: str, tmp_path: Path) -> None:
    async with scripted(Hang(), UNAVAILABLE, DONE) as (address, script):
        host, _, port = address.rpartition(":")
        async with (
            TcpProxy(host, int(port)) as wire,
            probe(language, wire.address, tmp_path) as client,
        ):

            async def is_asked() -> bool:
                return bool(script.requests)

            async def cut_once_asked() -> None:
                await eventually(is_asked, "the wait has arrived")
                wire.cut()
                wire.resume()

            waiting = client.ask("wait", task=NAME, timeout_ms=PATIENCE_MS)
            ended, _ = await asyncio.gather(waiting, cut_once_asked())
            assert ended.task.name == NAME
        assert [request.name for request in script.requests] == [NAME] * 3


async def test_nobody_is_asked_at_an_address_that_cannot_be_meant(
    language: str, tmp_path: Path
) -> None:
    async with probe(language, "http://127.0.0.1:1", tmp_path) as client:
        with pytest.raises(AssertionError, match="write host:port"):
            await client.ask("list")
