"""Requests that say nothing where something is expected: refused with fields, never a failure."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from timeball.errors import InvalidRequest
from timeball.v1 import admin_service_pb2

from timeball_server.rest.routes import read_routes
from timeball_server.rpc.validation import RequestValidator, shipped_rules
from timeball_server.runtime.clock import SystemClock

REQUESTS = sorted({route.request for route in read_routes()}, key=lambda each: each.__name__)
VALIDATOR = RequestValidator(SystemClock(), shipped_rules())
Request: Any = admin_service_pb2.SetLimitRequest  # its constructor takes dictionaries too
DEPTH = 4
UNKNOWN_NUMBER = 77


def hollow(message: Any, number: int, depth: int = DEPTH) -> Any:
    """The message with every message in it present, and every enum the same number."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.message_type is not None and depth:
            inner = getattr(message, field.name)
            if field.is_repeated:
                hollow(inner.add(), number, depth - 1)
            else:
                inner.SetInParent()
                hollow(inner, number, depth - 1)
        elif field.type == FieldDescriptor.TYPE_ENUM and field.is_repeated:
            getattr(message, field.name).append(number)
        elif field.type == FieldDescriptor.TYPE_ENUM:
            setattr(message, field.name, number)
    return message


def refusal(request: Message) -> InvalidRequest | None:
    """Why a request is refused; None if it is taken."""
    try:
        VALIDATOR.check(request.SerializeToString(), type(request))
    except InvalidRequest as error:
        return error
    return None


@pytest.mark.parametrize("number", [0, 1, UNKNOWN_NUMBER])
@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.__name__)
def test_what_is_empty_or_unknown_is_refused_or_taken(kind: type[Message], number: int) -> None:
    found = refusal(hollow(kind(), number))
    assert found is None or found.violations


@pytest.mark.parametrize("number", [0, UNKNOWN_NUMBER])
def test_a_limit_of_no_kind_names_the_kind(number: int) -> None:
    request = Request(parent="namespaces/-", limit={"pattern": "x", "kind": number})
    found = refusal(request)
    assert found is not None
    assert {each.field for each in found.violations} == {"limit.kind"}
    assert "in list" not in found.message


def test_what_a_limit_may_have_is_said_in_words() -> None:
    limit = {"pattern": "x", "kind": admin_service_pb2.LIMIT_KIND_KEY}
    found = refusal(Request(parent="namespaces/-", limit=limit))
    assert found is not None
    said = [(each.field, each.description) for each in found.violations]
    assert said == [("limit.concurrency", "must be set, or rate")]


def test_a_list_that_came_out_empty_redrives_nothing() -> None:
    found = refusal(admin_service_pb2.RedriveDeadLettersRequest(parent="namespaces/-"))
    assert found is not None
    assert [each.field for each in found.violations] == ["names"]
    one = f"namespaces/-/tasks/{'0' * 40}"
    instant = Timestamp(seconds=1)
    for asked in (
        admin_service_pb2.RedriveDeadLettersRequest(names=[one]),
        admin_service_pb2.RedriveDeadLettersRequest(handler="billing.charge"),
        admin_service_pb2.RedriveDeadLettersRequest(failed_from=instant),
        admin_service_pb2.RedriveDeadLettersRequest(failed_to=instant),
    ):
        asked.parent = "namespaces/-"
        assert refusal(asked) is None
