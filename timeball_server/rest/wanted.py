"""What would have been accepted, for values that protobuf's parser refuses in its own words."""

from __future__ import annotations

import re
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_BY_MESSAGE: Final = {
    "google.protobuf.Timestamp": "must be an instant with its zone, such as 2030-01-31T09:00:00Z",
    "google.protobuf.Duration": "must be a text of seconds, such as 1.5s",
    "google.protobuf.FieldMask": "must name fields with commas between them, such as labels,retry",
}
_TWICE: Final = re.compile(r'type "([\w.]+)" should not have multiple "(\w+)" oneof')


def wanted(descriptor: Descriptor, path: str) -> str:
    """What the field of this path takes; empty where the parser's own words have to do.

    Args:
        descriptor: of the request.
        path: as in the protos, such as task.run_time; positions in lists are left out.
    """
    field: FieldDescriptor | None = None
    inside: Any = descriptor
    for name in path.split("."):
        if inside is None or name not in inside.fields_by_name:
            return ""
        field = inside.fields_by_name[name]
        inside = field.message_type
    if field is None:
        return ""
    if field.enum_type is not None:
        return f"must be one of {', '.join(field.enum_type.values_by_name)}"
    return "" if inside is None else _BY_MESSAGE.get(inside.full_name, "")


def said_twice(descriptor: Descriptor, words: str) -> str:
    """The sentence for fields of which a request may say one; empty if that is not what is wrong.

    Args:
        words: the parser's own.
    """
    found = _TWICE.search(words)
    if found is None:
        return ""
    message = descriptor.file.pool.FindMessageTypeByName(found[1])
    names = [field.json_name for field in message.oneofs_by_name[found[2]].fields]
    return f"say one of {', '.join(names)}, not several"
