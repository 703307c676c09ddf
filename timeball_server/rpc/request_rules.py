"""Rules of requests that annotations cannot say, applied to every field of every message.

Text is text: no control, direction or invisible characters. Instants and durations are ones
that protobuf defines. A due time lies within the horizon of the injected clock. Two fields
that contradict each other are refused. Output-only fields are ignored in requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from timeball.errors import Violation
from timeball.v1 import admin_service_pb2

from timeball_server.core.limits import HORIZON_MS
from timeball_server.core.model import EVERYBODY
from timeball_server.ports.clock import Clock
from timeball_server.rpc.convert import ms_from_duration, ms_from_timestamp

MIN_TIMESTAMP_S: Final = -62_135_596_800
MAX_TIMESTAMP_S: Final = 253_402_300_799
MAX_DURATION_S: Final = 315_576_000_000
WITHIN_HORIZON: Final = frozenset(
    {
        "timeball.v1.Task.run_time",
        "timeball.v1.RescheduleTaskRequest.run_time",
        "timeball.v1.Schedule.start_time",
    }
)
"""Fields that name a first due time."""
_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction marks and overrides
    "\u200b\u2028\u2029\u2060-\u2064\ufeff\ufff9-\ufffb\ufffe\uffff]"  # invisible or no characters
)
_UNFIT_SENTENCE = (
    "must be plain text without control, direction or invisible characters, got U+{:04X} "
    "as character {}"
)
_DAY_MS: Final = 86_400_000

Found = list[Violation]
Check = Callable[[Any, str, Found], None]


class RequestRules:
    """Walks a message along a plan that is made once per message type.

    Args:
        clock: says what is beyond the horizon.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._plans: dict[str, Mapping[int, Check]] = {}

    def violations(self, message: Message) -> Found:
        """Everything that these rules have against a message."""
        found: Found = []
        self._message(message, "", found)
        return found

    def _message(self, message: Message, path: str, found: Found) -> None:
        descriptor: Any = message.DESCRIPTOR
        plan = self._plans.get(descriptor.full_name)
        if plan is None:
            plan = self._plans[descriptor.full_name] = dict(self._plan(descriptor))
        for field, value in message.ListFields():
            check = plan.get(field.number)
            if check is not None:
                check(value, f"{path}{field.name}", found)
        pair = _PAIRS.get(descriptor.full_name)
        if pair is not None:
            pair(message, path, found)

    def _plan(self, descriptor: Descriptor) -> Iterator[tuple[int, Check]]:
        for field in descriptor.fields:
            behaviour = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
            check = self._check_of(field)
            if check is not None and field_behavior_pb2.OUTPUT_ONLY not in behaviour:
                yield field.number, check

    def _check_of(self, field: FieldDescriptor) -> Check | None:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            value = self._check_of(entry.fields_by_name["value"])
            return partial(_map, _text, value)
        check = self._check_of_one(field)
        return partial(_each, check) if field.is_repeated and check is not None else check

    def _check_of_one(self, field: FieldDescriptor) -> Check | None:
        if field.type == FieldDescriptor.TYPE_STRING:
            return _text
        if field.message_type is None:
            return None
        if field.message_type.full_name == Timestamp.DESCRIPTOR.full_name:
            return self._first_due if field.full_name in WITHIN_HORIZON else _timestamp
        if field.message_type.full_name == Duration.DESCRIPTOR.full_name:
            return _duration
        return lambda value, path, found: self._message(value, f"{path}.", found)

    def _first_due(self, stamp: Timestamp, path: str, found: Found) -> None:
        before = len(found)
        _timestamp(stamp, path, found)
        latest_ms = self._clock.now().wall_ms + HORIZON_MS
        if len(found) == before and ms_from_timestamp(stamp) > latest_ms:
            days = HORIZON_MS // _DAY_MS
            latest = datetime.fromtimestamp(latest_ms // 1000, UTC).isoformat()
            sentence = f"must lie at most {days} days ahead, that is until {latest}"
            found.append(Violation(path, sentence))


def _each(check: Check, values: Any, path: str, found: Found) -> None:
    for position, value in enumerate(values):
        check(value, f"{path}[{position}]", found)


def _map(key_check: Check, value_check: Check | None, pairs: Any, path: str, found: Found) -> None:
    for key, value in pairs.items():
        inner = f"{path}[{json.dumps(key)}]"
        key_check(key, inner, found)
        if value_check is not None:
            value_check(value, inner, found)


def _text(value: str, path: str, found: Found) -> None:
    unfit = _UNFIT.search(value)
    if unfit is not None:
        sentence = _UNFIT_SENTENCE.format(ord(unfit.group()), unfit.start() + 1)
        found.append(Violation(path, sentence))
    elif value.isspace():
        found.append(Violation(path, "must not consist of spaces only"))


def _timestamp(stamp: Timestamp, path: str, found: Found) -> None:
    if not 0 <= stamp.nanos < 10**9:
        sentence = f"nanos must be between 0 and 999999999, got {stamp.nanos}"
        found.append(Violation(path, sentence))
    elif not MIN_TIMESTAMP_S <= stamp.seconds <= MAX_TIMESTAMP_S:
        sentence = f"must lie in the years 1 to 9999, got {stamp.seconds} s since 1970"
        found.append(Violation(path, sentence))


def _duration(duration: Duration, path: str, found: Found) -> None:
    seconds, nanos = duration.seconds, duration.nanos
    if not -(10**9) < nanos < 10**9:
        sentence = f"nanos must be between -999999999 and 999999999, got {nanos}"
        found.append(Violation(path, sentence))
    elif seconds * nanos < 0:
        found.append(Violation(path, "seconds and nanos must have the same sign"))
    elif abs(seconds) > MAX_DURATION_S:
        found.append(Violation(path, f"must be shorter than 10000 years, got {seconds} s"))


def _retry(retry: Any, path: str, found: Found) -> None:
    if retry.HasField("initial_delay") and retry.HasField("max_delay"):
        first_ms, longest_ms = map(ms_from_duration, (retry.initial_delay, retry.max_delay))
        if longest_ms < first_ms:
            sentence = f"must be at least initial_delay ({first_ms} ms), got {longest_ms} ms"
            found.append(Violation(f"{path}max_delay", sentence))


def _task(task: Any, path: str, found: Found) -> None:
    if task.HasField("run_time") and task.HasField("delay"):
        found.append(Violation(f"{path}delay", "must be absent when run_time is set"))
    if task.owner == EVERYBODY:
        sentence = f"must be a user; {EVERYBODY} stands for everybody when tasks are listed"
        found.append(Violation(f"{path}owner", sentence))


def _schedule(schedule: Any, path: str, found: Found) -> None:
    for name in ("run_time", "delay"):
        if schedule.task.HasField(name):
            sentence = "must be absent: a schedule's task has no time of its own"
            found.append(Violation(f"{path}task.{name}", sentence))
    if schedule.task.concurrency_key:
        sentence = "must be absent: a schedule's runs keep to its overlap policy instead"
        found.append(Violation(f"{path}task.concurrency_key", sentence))
    _ordered("start_time", "end_time", schedule, path, found)


def _redrive(request: Any, path: str, found: Found) -> None:
    """Nothing said is more often a list that came out empty than a wish to do everything again."""
    chosen = request.names or request.handler or request.page_token
    if not chosen and not request.HasField("failed_from") and not request.HasField("failed_to"):
        sentence = "must name dead letters; or say handler, failed_from or failed_to instead"
        found.append(Violation(f"{path}names", sentence))


def _limit(limit: Any, path: str, found: Found) -> None:
    """What a kind of limit has, and what it has not."""
    named = admin_service_pb2.LimitKind.DESCRIPTOR.values_by_number.get(limit.kind)
    kind = named.name.removeprefix("LIMIT_KIND_") if named else ""
    if kind not in _LIMITED_BY:
        return  # the field's own rule says what kinds there are
    of_namespace = kind == "NAMESPACE"
    if of_namespace == bool(limit.pattern):
        sentence = "must be absent" if of_namespace else "must be set: the key or handler"
        found.append(Violation(f"{path}pattern", sentence))
    allowed = _LIMITED_BY[kind]
    for name in ("concurrency", "rate", "weight"):
        if limit.HasField(name) and name not in allowed:
            found.append(
                Violation(f"{path}{name}", f"is nothing of a {kind.lower()}; leave it out")
            )
    if not any(limit.HasField(name) for name in allowed):
        others = "".join(f", or {name}" for name in allowed[1:])
        found.append(Violation(f"{path}{allowed[0]}", f"must be set{others}"))


def _interval(interval: Any, path: str, found: Found) -> None:
    every_ms, phase_ms = map(ms_from_duration, (interval.every, interval.phase))
    if phase_ms >= every_ms > 0:
        sentence = f"must be less than every ({every_ms} ms), got {phase_ms} ms"
        found.append(Violation(f"{path}phase", sentence))


def _ordered(first: str, last: str, message: Any, path: str, found: Found) -> None:
    if message.HasField(first) and message.HasField(last):
        start, end = getattr(message, first), getattr(message, last)
        if (end.seconds, end.nanos) < (start.seconds, start.nanos):
            found.append(Violation(f"{path}{last}", f"must not lie before {first}"))


_LIMITED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "KEY": ("concurrency", "rate"),
    "HANDLER": ("rate",),
    "NAMESPACE": ("weight",),
}
"""What each kind of limit may say, and must say one of."""
_PAIRS: Final[Mapping[str, Check]] = {
    "timeball.v1.RetryPolicy": _retry,
    "timeball.v1.Interval": _interval,
    "timeball.v1.Task": _task,
    "timeball.v1.Schedule": _schedule,
    "timeball.v1.Limit": _limit,
    "timeball.v1.ListTasksRequest": partial(_ordered, "created_from", "created_to"),
    "timeball.v1.RedriveDeadLettersRequest": _redrive,
}
"""Rules between two fields of one message. As CEL they would copy the message, payload and all."""
