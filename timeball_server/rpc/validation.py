"""The one place where a request is parsed and checked, whichever door it came through.

Rules come from the protos, by protovalidate in a private descriptor pool, because the shipped
stubs carry none; `request_rules` adds what annotations cannot say. Never changes a request and
never looks at anything but the request and the clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, TypeVar

import protovalidate
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from timeball.errors import InvalidRequest, PayloadTooLarge, Violation

from timeball_server.ports.clock import Clock
from timeball_server.rpc.plain_requests import PlainRequests
from timeball_server.rpc.request_rules import RequestRules
from timeball_server.rpc.sentences import sentence_for
from timeball_server.rpc.wire import first_bad_text

PACKAGE: Final = "timeball.v1"
ITEM_FIELD: Final = "requests"
BY_ITEM: Final = frozenset(
    {"timeball.v1.BatchCreateTasksRequest", "timeball.v1.CreateTasksRequest"}
)
"""Requests whose `requests` succeed or fail one by one."""
NOT_ASKED: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"timeball.v1.UpdateTaskRequest": frozenset({"task.handler"})}
)
"""Fields that a message must have anywhere but in these requests: who changes a task need not say
what stays."""
_SIZE_RULE: Final = "bytes.max_len"
_NO_ERRORS: Final[Mapping[int, InvalidRequest]] = {}

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class _TooLarge(Violation):
    """Bytes over their limit; PayloadTooLarge when nothing else is wrong."""


class Checked(NamedTuple, Generic[M]):
    """A request that may be carried out, but for the items that stand in `item_errors`."""

    message: M
    item_errors: Mapping[int, InvalidRequest]


def shipped_rules() -> bytes:
    """The annotated descriptors that belong to this version of the server."""
    return files("timeball_server.rpc").joinpath("rules.binpb").read_bytes()


class RequestValidator:
    """Parses and checks requests of the public API.

    Args:
        clock: for rules that depend on the time.
        rules: a serialised FileDescriptorSet with annotations, dependencies first.

    Raises:
        protovalidate.CompilationError: a rule in the protos is wrong.
    """

    def __init__(self, clock: Clock, rules: bytes) -> None:
        self._own = RequestRules(clock)
        self._plain = PlainRequests(clock)
        self._validator = protovalidate.Validator()
        self._pool = descriptor_pool.DescriptorPool()
        self._twins: dict[str, type[Message]] = {}
        for file in descriptor_pb2.FileDescriptorSet.FromString(rules).file:
            self._pool.Add(file)
            if file.package == PACKAGE:
                self._compile(file)

    def check(self, raw: bytes, kind: type[M]) -> Checked[M]:
        """Parse and check one message.

        Args:
            raw: as it came.
            kind: the message class of the method.

        Raises:
            PayloadTooLarge: nothing but the payload's size is wrong.
            InvalidRequest: it can never succeed; names every field that is wrong.
        """
        message = _parsed(raw, kind)
        if self._plain.knows(message):
            return Checked(message, _NO_ERRORS)
        checked = self._closely(message, raw)
        if not checked.item_errors:
            self._plain.learn(message)
        return checked

    def closely(self, raw: bytes, kind: type[M]) -> Checked[M]:
        """The same by the rules alone, however plain the request is; raises the same."""
        return self._closely(_parsed(raw, kind), raw)

    def _closely(self, message: M, raw: bytes) -> Checked[M]:
        kind = type(message)
        found = self._own.violations(message)
        twin = self._twins[kind.DESCRIPTOR.full_name].FromString(raw)
        broken = self._validator.collect_violations(twin)
        if not found and not broken:
            return Checked(message, _NO_ERRORS)
        # One sentence a field; ours come last and win, because they say more.
        by_field = {each.field: each for each in (*map(_violation, broken), *found)}
        for path in NOT_ASKED.get(kind.DESCRIPTOR.full_name, ()):
            if not _value_at(message, path):
                by_field.pop(path, None)
        if not by_field:
            return Checked(message, _NO_ERRORS)
        return self._sorted_out(message, list(by_field.values()))

    def _sorted_out(self, message: M, violations: list[Violation]) -> Checked[M]:
        if message.DESCRIPTOR.full_name not in BY_ITEM:
            raise _error(violations)
        by_item: dict[int, list[Violation]] = {}
        for each in violations:
            position, inner = _item_of(each.field)
            if position is None:
                raise _error(violations)
            by_item.setdefault(position, []).append(replace(each, field=inner))
        return Checked(message, {position: _error(of) for position, of in by_item.items()})

    def _compile(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        """Make the twin of every request and compile its rules, rather than at the first call."""
        for service in file.service:
            for method in service.method:
                name = method.input_type.removeprefix(".")
                descriptor = self._pool.FindMessageTypeByName(name)
                self._twins[name] = message_factory.GetMessageClass(descriptor)
                self._validator.collect_violations(self._twins[name]())


def _parsed(raw: bytes, kind: type[M]) -> M:
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        descriptor: Any = kind.DESCRIPTOR
        path = first_bad_text(raw, descriptor)
        if path is None:
            sentence = f"the request must be a serialised {descriptor.full_name}, got other bytes"
            raise InvalidRequest(sentence) from error
        raise _error([Violation(path, "must be text in UTF-8")]) from error


def _violation(broken: protovalidate.Violation) -> Violation:
    elements = broken.proto.field.elements if broken.proto.field else ()
    name = elements[-1].field_name if elements else ""
    sentence = sentence_for(
        broken.proto.rule_id,
        broken.proto.message,
        name,
        broken.field_value,
        for_key=broken.proto.for_key,
    )
    kind = _TooLarge if broken.proto.rule_id == _SIZE_RULE else Violation
    return kind(_path(elements), sentence)


def _path(elements: Iterable[Any]) -> str:
    """Such as task.labels["a"] or requests[3].task.handler."""
    parts: list[str] = []
    for element in elements:
        subscript = element.subscript
        inside = "" if subscript is None else f"[{json.dumps(subscript.value)}]"
        parts.append(f"{element.field_name}{inside}")
    return ".".join(parts)


def _value_at(message: Any, path: str) -> Any:
    for name in path.split("."):
        message = getattr(message, name)
    return message


def _item_of(field: str) -> tuple[int | None, str]:
    """Position of the item that a path leads into, and the rest of the path."""
    head, dot, inner = field.partition(".")
    if dot and head.startswith(f"{ITEM_FIELD}[") and head.endswith("]"):
        return int(head[len(ITEM_FIELD) + 1 : -1]), inner
    return None, field


def _error(violations: list[Violation]) -> InvalidRequest:
    """One error for everything that is wrong, the first one in its sentence."""
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    too_large = all(isinstance(each, _TooLarge) for each in violations)
    kind = PayloadTooLarge if too_large else InvalidRequest
    return kind(f"{first.field}: {first.description}{more}", violations=violations)
