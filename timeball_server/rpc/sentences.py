"""What would be accepted, in a sentence, for each rule of the protos that a request can break.

Regular expressions and rule ids are for programs; people get words and an example. A test
holds that every field with a pattern has words here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.message import Message

_LABEL_KEY = (
    "keys must start and end with a letter or digit, with letters, digits and _ . / - between"
)
_LABEL_VALUE = "values must be one line of text"
_UUID = "must be a UUID such as 018f2f5e-7a3b-7c21-9d4e-5f6071829304, or empty"
_PARENT = (
    "must be namespaces/{namespace}, namespaces/- or empty; for what lies in a schedule, "
    "namespaces/{namespace}/schedules/{schedule}"
)

PATTERNS: Final[Mapping[str, str]] = {
    "handler": "must be a dotted name such as billing.charge: a letter first, then letters, "
    "digits, - and _",
    "content_type": "must be a media type such as application/json, or empty",
    "owner": "must be one line of text without /",
    "parent": _PARENT,
    "request_id": _UUID,
    "name": "must be the full name as the server answered it, such as "
    "namespaces/{namespace}/tasks/{id} or namespaces/{namespace}/schedules/{id}; a task's id has "
    "40 lower-case letters and digits",
    "names": "must be full names as the server answered them, such as "
    "namespaces/{namespace}/tasks/{id}; a task's id has 40 lower-case letters and digits",
    "label": "must be key=value, such as team=billing, or empty",
    "labels": _LABEL_VALUE,
    "selector": _LABEL_VALUE,
    "namespace_id": "must be lower-case letters, digits and hyphens, a letter first, 63 at most",
    "user_id": "must be one line of text without /, and not -",
    "subject": "must be one line of text without /, and not -",
    "email": "must be an address such as billing@example.org, or empty",
    "schedule_id": "must be lower-case letters, digits, dots, _ and -, a letter first, "
    "100 at most, or empty",
    "chosen_name": "must be lower-case letters, digits, dots, _ and -, a letter first, "
    "100 at most, or empty",
    "concurrency_key": "must be one line of text without *",
    "pattern": "must be one line of text, with no * but at its end",
    "reason": "must be one line of text",
    "backfill_id": "must be lower-case letters, digits and hyphens, 63 at most",
    "dates": "must be days such as 2026-12-24",
    "node": "must be the name of a node: lower-case letters, digits, dots and hyphens, 63 at most",
}
"""By field name: what its pattern accepts."""
KEY_PATTERNS: Final[Mapping[str, str]] = {"labels": _LABEL_KEY, "selector": _LABEL_KEY}
"""By field name: what the pattern of its keys accepts."""
_RANGE = re.compile(r"^must be greater than or equal to (\S+) and less than or equal to (\S+)$")
_FROM = re.compile(r"^must be greater than or equal to (\S+)$")
_COUNTED: Final = ("min_len", "max_len", "max_pairs", "min_items", "max_items", "max_bytes")


def sentence_for(rule_id: str, message: str, field: str, value: Any, *, for_key: bool) -> str:
    """What would be accepted and what came instead.

    Args:
        rule_id: such as int32.gte_lte.
        message: protovalidate's own words, used when there are no better ones.
        field: last name of the path.
        value: what came.
        for_key: whether the key of a map entry is meant.
    """
    rule = rule_id.rpartition(".")[2]
    if rule_id == "required":
        return "must be set"
    if rule == "pattern":
        return (KEY_PATTERNS if for_key else PATTERNS).get(field, message)
    if rule == "defined_only" or rule_id == "enum.not_in":
        return f"must be one of the values that the API defines, got {value}"
    subject = "keys " if for_key else ""
    if rule == "min_len" and not value:
        return f"{subject}must not be empty"
    if rule in _COUNTED:
        return f"{subject}{_plain(message)}, got {len(value)}"
    return f"{_plain(message)}{_got(value)}"


def _plain(message: str) -> str:
    """Protovalidate's words for bounds, shorter."""
    found = _RANGE.match(message)
    if found is not None:
        return f"must be between {found[1]} and {found[2]}"
    found = _FROM.match(message)
    if found is not None:
        return f"must be at least {found[1]}"
    return message.removeprefix("map ").removeprefix("array ")


def _got(value: Any) -> str:
    """The value, if a person can read it at a glance."""
    kind = value.DESCRIPTOR.full_name if isinstance(value, Message) else ""
    if kind == "google.protobuf.Duration":
        return f", got {_decimal(value.seconds * 10**9 + value.nanos)}s"
    if kind == "google.protobuf.Timestamp":
        return f", got {value.seconds} s since 1970"
    if isinstance(value, int | float):
        return f", got {value}"
    return ""


def _decimal(nanos: int) -> str:
    """Seconds with as many decimals as it takes."""
    whole, rest = divmod(abs(nanos), 10**9)
    sign = "-" if nanos < 0 else ""
    return f"{sign}{whole}.{rest:09}".rstrip("0").rstrip(".")
