"""Requests that need no closer look: the usual ones, told apart at a small part of the price.

Says yes only where neither the rules of the protos nor `request_rules` have anything to say;
whatever is unusual is left to them. Must never say why not: they do, and in their words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf.message import Message
from timeball.v1 import task_pb2
from timeball.v1 import task_service_pb2 as pb

from timeball_server.core.limits import (
    HORIZON_MS,
    MAX_BATCH_ITEMS,
    MAX_LABELS,
    MAX_NAME_CHARACTERS,
    MAX_PAYLOAD_BYTES,
    MAX_PRIORITY,
)
from timeball_server.core.model import EVERYBODY
from timeball_server.ports.clock import Clock
from timeball_server.rpc.access import OWN_PARENTS

MAX_SOUND_PARTS: Final = 1_000
"""Retry policies and timeouts that are remembered as sound; beyond that all are forgotten."""
_DELAY_S: Final = HORIZON_MS // 1_000
_CONTENT_TYPES: Final = frozenset({"", "application/json", "application/octet-stream"})
_HANDLER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")
_PLAIN_WORDS: Final = re.compile(r"[!-.0-~](?:[ -.0-~]{0,198}[!-.0-~])?")
"""One line of ASCII without a slash, and no space at its ends."""
_REQUEST_ID: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
)
_LABEL_KEY: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_./-]*[A-Za-z0-9])?")
_TASK_NAME: Final = re.compile(r"namespaces/(?:-|[a-z][a-z0-9-]{0,62})/tasks/[0-9a-z]{40}")

Test = Callable[[Any], bool]


class PlainRequests:
    """Knows plain requests of the task service. Fields that it does not know are never plain.

    Args:
        clock: says what is beyond the horizon.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sound: set[bytes] = set()
        self._kinds: Mapping[type[Message], Test] = {
            pb.CreateTaskRequest: self._create,
            pb.CreateTasksRequest: self._many,
            pb.BatchCreateTasksRequest: self._many,
            pb.GetTaskRequest: _read,
            pb.WaitTaskRequest: _wait,
            pb.BatchGetTasksRequest: _read_many,
        }
        self._of_create = _numbered(pb.CreateTaskRequest, {**_CREATE, "task": self._task})
        parts = {"run_time": self._run_time, "retry": self._part, "timeouts": self._part}
        self._of_task = _numbered(task_pb2.Task, {**_TASK, **parts})

    def knows(self, message: Message) -> bool:
        """Whether nothing can be wrong with this request."""
        test = self._kinds.get(type(message))
        return test is not None and test(message)

    def learn(self, message: Message) -> None:
        """Remember what is alike in many requests, of one with which nothing is wrong."""
        if isinstance(message, pb.CreateTaskRequest):
            self._learn_task(message.task)
        elif isinstance(message, pb.CreateTasksRequest | pb.BatchCreateTasksRequest):
            for item in message.requests:
                self._learn_task(item.task)

    def _learn_task(self, task: task_pb2.Task) -> None:
        if len(self._sound) >= MAX_SOUND_PARTS:
            self._sound.clear()
        for name in ("retry", "timeouts"):
            if task.HasField(name):
                self._sound.add(_part_key(getattr(task, name)))

    def _many(self, message: Any) -> bool:
        items = message.requests
        parent = getattr(message, "parent", "")
        if not 0 < len(items) <= MAX_BATCH_ITEMS or parent not in OWN_PARENTS:
            return False
        return all(map(self._create, items))

    def _create(self, message: pb.CreateTaskRequest) -> bool:
        return _all_plain(message, self._of_create) and message.HasField("task")

    def _task(self, task: task_pb2.Task) -> bool:
        if not _all_plain(task, self._of_task) or not task.handler:
            return False
        return not (task.HasField("run_time") and task.HasField("delay"))

    def _run_time(self, stamp: Any) -> bool:
        latest_s = (self._clock.now().wall_ms + HORIZON_MS) // 1_000
        return bool(0 <= stamp.seconds < latest_s and 0 <= stamp.nanos < 10**9)

    def _part(self, part: Message) -> bool:
        return _part_key(part) in self._sound


def _all_plain(message: Message, table: Mapping[int, Test]) -> bool:
    """Whether each field that is set is known and plain."""
    for field, value in message.ListFields():
        test = table.get(field.number)
        if test is None or not test(value):
            return False
    return True


def _numbered(kind: type[Message], by_name: Mapping[str, Test]) -> Mapping[int, Test]:
    fields: Any = kind.DESCRIPTOR.fields_by_name
    return {fields[name].number: test for name, test in by_name.items()}


def _part_key(part: Message) -> bytes:
    """The part with its kind, so that one message is never taken for another."""
    return f"{part.DESCRIPTOR.name}:".encode() + part.SerializeToString()


def _anything(_: object) -> bool:
    return True


def _payload(payload: task_pb2.Payload) -> bool:
    return len(payload.data) <= MAX_PAYLOAD_BYTES and payload.content_type in _CONTENT_TYPES


def _delay(delay: Any) -> bool:
    return bool(0 <= delay.seconds < _DELAY_S and 0 <= delay.nanos < 10**9)


def _handler(name: str) -> bool:
    return len(name) <= MAX_NAME_CHARACTERS and _HANDLER.fullmatch(name) is not None


def _owner(name: str) -> bool:
    return name != EVERYBODY and _PLAIN_WORDS.fullmatch(name) is not None


def _labels(pairs: Any) -> bool:
    if len(pairs) > MAX_LABELS:
        return False
    return all(_label_key(key) and _label_value(value) for key, value in pairs.items())


def _key(key: str) -> bool:
    return "*" not in key and _PLAIN_WORDS.fullmatch(key) is not None


def _label_key(key: str) -> bool:
    return len(key) <= 63 and _LABEL_KEY.fullmatch(key) is not None


def _label_value(value: str) -> bool:
    return not value or _PLAIN_WORDS.fullmatch(value) is not None


def _names(names: Any) -> bool:
    return len(names) <= MAX_BATCH_ITEMS and all(map(_TASK_NAME.fullmatch, names))


def _read(message: pb.GetTaskRequest) -> bool:
    return _all_plain(message, _OF_GET) and bool(message.name)


def _read_many(message: pb.BatchGetTasksRequest) -> bool:
    return _all_plain(message, _OF_BATCH_GET) and bool(message.names)


def _wait(message: pb.WaitTaskRequest) -> bool:
    return _all_plain(message, _OF_WAIT) and bool(message.name)


def _name(name: str) -> bool:
    return _TASK_NAME.fullmatch(name) is not None


_TASK: Final[Mapping[str, Test]] = {
    "handler": _handler,
    "payload": _payload,
    "delay": _delay,
    "priority": range(MAX_PRIORITY + 1).__contains__,
    "labels": _labels,
    "selector": _labels,
    "delivery_mode": frozenset(task_pb2.DeliveryMode.values()).__contains__,
    "owner": _owner,
    "concurrency_key": _key,
}
_CREATE: Final[Mapping[str, Test]] = {
    "parent": OWN_PARENTS.__contains__,
    "request_id": lambda value: _REQUEST_ID.fullmatch(value) is not None,
    "validate_only": _anything,
    "resend": _anything,
}
_VIEW: Final[Mapping[str, Test]] = {
    "view": frozenset(pb.TaskView.values()).__contains__,
    "allow_stale": _anything,
}
_OF_GET: Final = _numbered(pb.GetTaskRequest, {**_VIEW, "name": _name})
_OF_BATCH_GET: Final = _numbered(
    pb.BatchGetTasksRequest, {**_VIEW, "names": _names, "parent": OWN_PARENTS.__contains__}
)
_OF_WAIT: Final = _numbered(pb.WaitTaskRequest, {"name": _name, "timeout": _delay})
