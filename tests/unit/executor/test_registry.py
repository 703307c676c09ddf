"""How arguments travel: bound by name, checked on both sides, never guessed."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timeball.context import Cancellation, Context, NoContext, current, running_as
from timeball.errors import InvalidRequest
from timeball.outcomes import Cancelled, Fail, Retry, Snooze
from timeball.registry import Handler, register, registry


@dataclasses.dataclass
class Receipt:
    number: int
    lines: list[str]


def charge(user: str, amount: int, *, note: str = "none", tags: list[str] | None = None) -> str:
    return f"{user} {amount} {note} {tags}"


async def print_receipt(receipt: Receipt, ctx: Context, copies: int = 1) -> Receipt:
    return receipt


def positional(first: int, /, second: int = 2) -> int:
    return first + second


def untyped(anything, default=5):  # type: ignore[no-untyped-def]
    return anything, default


CHARGE = Handler("billing.charge", charge)
PRINT = Handler("billing.print", print_receipt)
CONTEXT = Context(
    task_id="t1",
    handler="billing.print",
    attempt=2,
    epoch=7,
    priority=4,
    namespace="default",
    owner="clerk",
    due_ms=1_500,
    started_ms=1_510,
    deadline_ms=61_510,
)


@given(
    user=st.text(),
    amount=st.integers(min_value=-(2**63), max_value=2**63 - 1),
    tags=st.none() | st.lists(st.text()),
)
def test_what_is_submitted_is_what_is_called(
    user: str, amount: int, tags: list[str] | None
) -> None:
    call = CHARGE.decode(CHARGE.encode(user, amount, tags=tags))
    assert CHARGE.call(call, CONTEXT) == charge(user, amount, tags=tags)


def test_positional_arguments_travel_by_name() -> None:
    assert CHARGE.encode("u1", 5) == b'{"user":"u1","amount":5}'


def test_an_absent_optional_argument_is_the_functions_own_default() -> None:
    handler = Handler("untyped", untyped)
    assert handler.call(handler.decode(b'{"anything":[1]}'), CONTEXT) == ([1], 5)


def test_positional_only_parameters_are_called_by_position() -> None:
    handler = Handler("positional", positional)
    assert handler.call(handler.decode(handler.encode(40)), CONTEXT) == 42


def test_no_payload_is_no_arguments() -> None:
    handler = Handler("nothing", lambda: "ran")
    assert handler.call(handler.decode(b""), CONTEXT) == "ran"


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b'{"user":"u1","amount":"5"}', "$.amount"),
        (b'{"user":"u1","amount":5.5}', "$.amount"),
        (b'{"user":"u1","amount":5,"tags":["a",1]}', "$.tags[1]"),
        (b'{"user":"u1"}', "$.amount"),
        (b'{"user":"u1","amount":5,"extra":1}', "$.extra"),
        (b"[]", "$"),
        (b"{", "$"),
        (b'{"user":"\xff","amount":5}', "$"),
        (b"[" * 100_000, "$"),
    ],
)
def test_bad_arguments_are_refused_with_their_path(data: bytes, path: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        CHARGE.decode(data)
    assert [violation.field for violation in refusal.value.violations] == [path]


def test_other_media_types_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="takes JSON"):
        CHARGE.decode(b"{}", "application/x-python-pickle")


def test_arguments_are_checked_at_submit() -> None:
    with pytest.raises(InvalidRequest, match=r"\$\.amount"):
        CHARGE.encode("u1", "five")
    with pytest.raises(TypeError, match="amount"):
        CHARGE.encode("u1")


def test_a_context_parameter_is_filled_in_and_is_no_argument() -> None:
    data = PRINT.encode(Receipt(1, ["tea"]), copies=2)
    assert data == b'{"receipt":{"number":1,"lines":["tea"]},"copies":2}'
    answer: Receipt = asyncio.run(PRINT.call(PRINT.decode(data), CONTEXT))
    assert (answer, PRINT.result_type, PRINT.is_async) == (Receipt(1, ["tea"]), Receipt, True)
    with pytest.raises(InvalidRequest, match="ctx"):
        PRINT.decode(b'{"receipt":{"number":1,"lines":[]},"ctx":{}}')


@pytest.mark.parametrize("name", ["", "with space", ".dot", "a" * 201, "übung", "a/b"])
def test_a_handlers_name_is_plain(name: str) -> None:
    with pytest.raises(InvalidRequest, match="handler name"):
        Handler(name, charge)


@pytest.mark.parametrize("function", [lambda *args: args, lambda **named: named])
def test_arguments_without_a_name_are_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="travel by name"):
        Handler("unnamed", function)


def test_one_name_is_one_function() -> None:
    first = register(Handler("tests.registry.charge", charge))
    again = register(Handler("tests.registry.charge", charge))
    assert registry["tests.registry.charge"] is again is not first
    with pytest.raises(ValueError, match="two handlers are called"):
        register(Handler("tests.registry.charge", positional))


def test_the_context_says_when_and_what() -> None:
    due = datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert (CONTEXT.due_time, CONTEXT.nominal_time) == (due, None)
    assert CONTEXT.deadline == due + timedelta(seconds=60, milliseconds=10)
    assert CONTEXT.occurrence_id == "t1"
    assert CONTEXT.logger.extra == {
        "task_id": "t1",
        "attempt": 2,
        "handler": "billing.print",
    }


def test_current_is_the_running_attempt_and_nothing_outside() -> None:
    with pytest.raises(NoContext, match="running_as"):
        current()
    with running_as(CONTEXT):
        assert current() is CONTEXT
    with pytest.raises(NoContext):
        current()


async def _wait_for(cancellation: Cancellation) -> str:
    await cancellation.wait()
    return "cancelled"


def test_cancellation_wakes_coroutines_and_threads() -> None:
    async def scenario() -> None:
        cancellation = Cancellation()
        assert not cancellation.is_set
        waiting = asyncio.create_task(_wait_for(cancellation))
        blocked = asyncio.create_task(asyncio.to_thread(cancellation.wait_sync, 30))
        assert not cancellation.wait_sync(0)
        cancellation.set()
        assert (await waiting, await blocked) == ("cancelled", True)
        assert await _wait_for(cancellation) == "cancelled"
        assert cancellation.wait_sync(0)

    asyncio.run(scenario())


def test_raise_if_cancelled_raises_only_then() -> None:
    context = dataclasses.replace(CONTEXT, cancellation=Cancellation())
    context.raise_if_cancelled()
    context.cancellation.set()
    with pytest.raises(Cancelled):
        context.raise_if_cancelled()


def test_outcomes_carry_what_the_handler_wishes() -> None:
    until = datetime(2030, 1, 1, tzinfo=UTC)
    assert Retry(after="10s").after == timedelta(seconds=10)
    assert (Fail("card declined", code="DECLINED").code, Snooze(until=until).until) == (
        "DECLINED",
        until,
    )
    with pytest.raises(ValueError, match="either until or after"):
        Snooze()
    with pytest.raises(InvalidRequest, match="no time zone"):
        Snooze(until=until.replace(tzinfo=None))
