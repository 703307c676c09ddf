"""What a file or an app's code declares of schedules, and how that differs from what is there.

Pure: reads bytes and messages, asks nobody.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timeball.cli.schedule_words import (
    BESIDE_WORDS,
    OPTION_WORDS,
    TASK_WORDS,
    WHEN_WORDS,
    says_when,
    task_options_of,
    timing_of,
)
from timeball.errors import InvalidRequest, TimeballError, Violation, refused

if TYPE_CHECKING:
    from timeball.declared import Declared
    from timeball.v1 import schedule_service_pb2 as pb

KNOWN_WORDS = (
    "handler",
    "arguments",
    *WHEN_WORDS,
    *BESIDE_WORDS,
    *OPTION_WORDS,
    *TASK_WORDS,
)
GROUP_LABEL = "applied"
_GROUP_DEFAULT = "default"
# What the service makes of what is not said.
_CATCH_UP = {"policy": "CATCH_UP_POLICY_ONE", "window": "600s"}
_RETRY = {
    "maxAttempts": 5,
    "initialDelay": "1s",
    "coefficient": 2.0,
    "maxDelay": "300s",
    "jitter": 1.0,
}
_TASK = {"priority": 4, "deliveryMode": "DELIVERY_MODE_AT_LEAST_ONCE"}
_TASK_FIELDS = (
    "handler",
    "payload",
    "priority",
    "labels",
    "selector",
    "retry",
    "timeouts",
    "deliveryMode",
    "owner",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One field that is not as wished."""

    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.field}: {_text(self.before)} -> {_text(self.after)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What becomes of one schedule: create, update, unchanged or delete."""

    action: str
    name: str
    wished: pb.Schedule
    etag: str = ""
    changes: tuple[Change, ...] = ()

    def row(self) -> tuple[str, str, str]:
        """One line of the plan."""
        return (self.action, self.name, "; ".join(map(str, self.changes)))

    def told(self) -> dict[str, Any]:
        """The step for programs."""
        listed = [
            {"field": each.field, "before": each.before, "after": each.after}
            for each in self.changes
        ]
        return {"action": self.action, "name": self.name, "changes": listed}


def read_file(data: bytes) -> tuple[str, dict[str, pb.Schedule]]:
    """The group and the schedules by name that a TOML file declares.

    Raises:
        InvalidRequest: it is no TOML, or a word is unknown or cannot be read; violations name the
            schedule and the word.
    """
    try:
        declared = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise refused("FILE", f"is no TOML: {error}") from error
    group = declared.pop("group", _GROUP_DEFAULT)
    schedules = declared.pop("schedules", {})
    if declared:
        known = "a file has group and [schedules.NAME]"
        raise refused(next(iter(declared)), f"is not known here; {known}")
    if not isinstance(group, str) or not isinstance(schedules, dict):
        raise refused("schedules", "write group as a text and each schedule as [schedules.NAME]")
    return group, {name: _wished(name, group, words) for name, words in schedules.items()}


def _wished(name: str, group: str, words: Any) -> pb.Schedule:
    path = f"schedules.{name}"
    if not isinstance(words, dict):
        raise refused(path, "is a table: [schedules.NAME]")
    for word in words:
        if word not in KNOWN_WORDS:
            raise refused(f"{path}.{word}", f"is not known; there are {', '.join(KNOWN_WORDS)}")
    with _said_of(path):
        return _message(name, group, words)


@contextmanager
def _said_of(path: str) -> Iterator[None]:
    """Whatever is refused inside is refused of this schedule."""
    try:
        yield
    except TimeballError as error:
        found = [Violation(f"{path}.{v.field}", v.description) for v in error.violations]
        raise InvalidRequest(f"{path}.{error.message}", violations=found) from error
    except (TypeError, ValueError) as error:
        raise refused(path, str(error)) from error


def read_code(group: str, declared: Iterable[Declared]) -> dict[str, pb.Schedule]:
    """The schedules by name that code declares with `declare_schedule`.

    Raises:
        InvalidRequest: a value cannot be sent; violations name the schedule and the field.
    """
    found: dict[str, pb.Schedule] = {}
    for each in declared:
        with _said_of(f"schedules.{each.name}"):
            found[each.name] = _grouped(each, group)
    return found


def _grouped(each: Declared, group: str) -> pb.Schedule:
    from timeball._timings import schedule_of

    wished = schedule_of(each.timing, each.submission, each.name)
    wished.labels[GROUP_LABEL] = group
    return wished


def _message(name: str, group: str, words: Mapping[str, Any]) -> pb.Schedule:
    from timeball._timings import schedule_of
    from timeball.options import submission

    if not isinstance(words.get("handler"), str):
        raise refused("handler", "must be set: the name of the handler to run")
    if not says_when(words):
        raise refused("cron", "say cron, every or after_completion")
    labels = {**words.get("labels", {}), GROUP_LABEL: group}
    arguments = words.get("arguments", {})
    ready = submission(words["handler"], arguments, **task_options_of(words))
    return schedule_of(timing_of({**words, "labels": labels}), ready, name)


def changes(known: pb.Schedule, wished: pb.Schedule) -> tuple[Change, ...]:
    """The fields of a schedule that are not as wished.

    What is not said stands for the service's default; only an owner that is not said is left.
    """
    from timeball._timings import TIMING_FIELDS

    before, after = _normal(known), _normal(wished)
    if not wished.task.owner:
        before["task"].pop("owner", None)
    known_as = wished.DESCRIPTOR.fields_by_name
    names = [known_as[name].json_name for name in TIMING_FIELDS]
    found = [_change(name, name, before, after) for name in names]
    tasks = (before["task"], after["task"])
    found += [_change(f"task.{name}", name, *tasks) for name in _TASK_FIELDS]
    return tuple(each for each in found if each is not None)


def _change(path: str, name: str, before: Any, after: Any) -> Change | None:
    if before.get(name) == after.get(name):
        return None
    return Change(field=path, before=before.get(name), after=after.get(name))


def _normal(schedule: pb.Schedule) -> dict[str, Any]:
    """A schedule as JSON with the service's defaults where nothing is said."""
    from google.protobuf.json_format import MessageToDict

    found: dict[str, Any] = MessageToDict(schedule)
    if "calendar" in found:
        found["calendar"] = _calendar(found["calendar"])
    for interval in (found.get("interval", {}), *found.get("calendar", {}).get("intervals", ())):
        if interval.get("phase") == "0s":
            del interval["phase"]
    for name in ("jitter", "flexibleWindow"):
        if found.get(name) == "0s":
            del found[name]
    if "delayAfterCompletion" not in found:
        found["overlap"] = {"policy": "OVERLAP_POLICY_SKIP", **found.get("overlap", {})}
    found["catchUp"] = {**_CATCH_UP, **found.get("catchUp", {})}
    task = {**_TASK, **found.get("task", {})}
    task["retry"] = {**_RETRY, **task.get("retry", {})}
    task["payload"] = _payload(schedule)
    found["task"] = task
    return found


def _calendar(calendar: dict[str, Any]) -> dict[str, Any]:
    kinds = ("dates", "span", "cron")
    excluded = calendar.get("exclusions", [])
    excluded.sort(key=lambda each: [kind in each for kind in kinds].index(True))
    for each in (*calendar.get("crons", ()), *(next(iter(x.values())) for x in excluded)):
        if "startTime" not in each:
            each.setdefault("timeZone", "UTC")
    if "crons" in calendar:
        calendar.setdefault("gap", "GAP_RULE_RUN_AT_END")
        calendar.setdefault("fold", "FOLD_RULE_FIRST")
    else:
        calendar.pop("gap", None)
        calendar.pop("fold", None)
    return calendar


def _payload(schedule: pb.Schedule) -> str:
    return schedule.task.payload.data.decode(errors="replace")


def _text(value: Any) -> str:
    if value is None:
        return "(nothing)"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
