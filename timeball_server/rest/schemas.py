"""JSON schemas of what is no message of ours: scalars, instants, durations and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

Schema = Mapping[str, Any]
TEXTS: Final[Mapping[str, Schema]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {
        "type": "string",
        "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$",
        "examples": ["1.5s"],
    },
    "google.protobuf.FieldMask": {"type": "string", "examples": ["labels,priority"]},
}
"""Messages that are written as a text."""
_INT32: Final[Schema] = {"type": "integer", "format": "int32"}
_UINT32: Final[Schema] = {"type": "integer", "format": "int32", "minimum": 0}
_INT64: Final[Schema] = {"type": ["string", "integer"], "format": "int64"}
_NUMBER: Final[Schema] = {"type": "number", "format": "double"}
_SCALARS: Final[Mapping[int, Schema]] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_DOUBLE: _NUMBER,
    FieldDescriptor.TYPE_FLOAT: {**_NUMBER, "format": "float"},
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_FIXED32: _UINT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT64: _INT64,
    FieldDescriptor.TYPE_FIXED64: _INT64,
}
_TEXT: Final[Schema] = {"type": "string"}
_WORDS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}
_VIOLATION: Final[Schema] = {
    "type": "object",
    "properties": {"field": _TEXT, "description": _TEXT},
}
ERROR_SCHEMAS: Final[Mapping[str, Schema]] = {
    "Error": {
        "type": "object",
        "description": "An error in its default shape.",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "status", "message", "details"],
                "properties": {
                    "code": {"type": "integer", "description": "HTTP status."},
                    "status": {"type": "string", "description": "Name of the gRPC status."},
                    "message": {"type": "string", "description": "A sentence for people."},
                    "details": {
                        "type": "array",
                        "description": "ErrorInfo with the stable reason, BadRequest with the "
                        "fields that are wrong, RetryInfo.",
                        "items": {"type": "object", "properties": {"@type": _TEXT}},
                    },
                },
            }
        },
    },
    "Problem": {
        "type": "object",
        "description": "An error by RFC 9457, for callers that accept it.",
        "required": ["type", "title", "status", "detail", "reason"],
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "A sentence for people."},
            "reason": {"type": "string", "description": "Stable word for programs."},
            "errors": {"type": "array", "items": _VIOLATION},
            "metadata": _WORDS,
        },
    },
}


def scalar(field: FieldDescriptor) -> dict[str, Any]:
    """The schema of one value of a field that is no message and no enum."""
    return dict(_SCALARS[field.type])
