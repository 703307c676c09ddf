"""Whether a JSON document has the shape of a message: known names once each, right brackets.

Protobuf's own parser lets some of this pass in silence: an empty array as a message, bytes that
are no base64, a field under both of its names.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from timeball.errors import refused

TEXTUAL: Final = frozenset(
    {"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"}
)
"""Messages that are written as a text."""
_BASE64 = re.compile(r"^[A-Za-z0-9+/_-]*={0,2}$")
_WHOLE = re.compile(r"^-?[0-9]{1,20}$")
WHOLE_KINDS: Final = frozenset(
    {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32}
    | {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64}
)
"""Whole numbers, in memory, of any width."""


def field_named(descriptor: Descriptor, name: str) -> FieldDescriptor | None:
    """The field of this name, as the protos or as JSON writes it."""
    found = descriptor.fields_by_name.get(name)
    if found is not None:
        return found
    return next((field for field in descriptor.fields if field.json_name == name), None)


def known_names(descriptor: Descriptor, without: Container[str] = ()) -> list[str]:
    """JSON names of the fields."""
    return [field.json_name for field in descriptor.fields if field.name not in without]


def check_shape(document: Any, descriptor: Descriptor, path: str = "") -> None:
    """Refuse what is no such message.

    Args:
        document: parsed JSON.
        path: where it stands, empty for the request itself.

    Raises:
        InvalidRequest: names the first field that is wrong.
    """
    if not isinstance(document, dict):
        raise refused(path, "must be a JSON object")
    seen: set[str] = set()
    for name, value in document.items():
        field = field_named(descriptor, name)
        if field is None:
            known = ", ".join(known_names(descriptor))
            raise refused(_inside(path, name), f"is not a field here; known are {known}")
        if field.name in seen:
            raise refused(_inside(path, field.name), "must be given once")
        seen.add(field.name)
        if value is not None:
            _check_field(value, field, _inside(path, field.name))


def _check_field(value: Any, field: FieldDescriptor, path: str) -> None:
    if not field.is_repeated:
        _check_one(value, field, path)
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        _check_map(value, field, path)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            _check_one(item, field, f"{path}[{position}]")
    else:
        raise refused(path, "must be a JSON array")


def _check_map(value: Any, field: FieldDescriptor, path: str) -> None:
    if not isinstance(value, dict):
        raise refused(path, "must be a JSON object")
    kind: Any = field.message_type
    item = kind.fields_by_name["value"]
    for key, each in value.items():
        _check_one(each, item, f'{path}["{key}"]')


def _check_one(value: Any, field: FieldDescriptor, path: str) -> None:
    kind = field.message_type
    if kind is not None and kind.full_name not in TEXTUAL:
        check_shape(value, kind, path)
    elif kind is not None or field.type == FieldDescriptor.TYPE_STRING:
        _check_text(value, path)
    elif field.type == FieldDescriptor.TYPE_BYTES:
        _check_text(value, path)
        if not _BASE64.match(value):
            raise refused(path, "must be base64")
    elif field.cpp_type in WHOLE_KINDS:
        check_whole(value, path)
    elif isinstance(value, dict | list):
        raise refused(path, "must be a single value")


def check_whole(value: Any, path: str) -> None:
    """Refuse what is no whole number, as a number or as a text.

    Raises:
        InvalidRequest: names the field.
    """
    if isinstance(value, bool) or not _WHOLE.match(str(value)):
        raise refused(path, "must be a whole number")


def _check_text(value: Any, path: str) -> None:
    if not isinstance(value, str):
        raise refused(path, "must be a text in quotes")


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
