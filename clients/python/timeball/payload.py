"""Arguments and results as bytes: a JSON object of named arguments, and one JSON value back.

Never unpickles and never looks inside other media types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from timeball.errors import FailedPrecondition, InvalidRequest, Violation

CONTENT_TYPE = "application/json"


def encode_arguments(arguments: Mapping[str, object]) -> bytes:
    """The named arguments as a JSON object.

    Raises:
        InvalidRequest: a value has no JSON form; the message says which argument.
    """
    try:
        return msgspec.json.encode(dict(arguments))
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise _unencodable(arguments, error) from error


def _unencodable(arguments: Mapping[str, object], error: Exception) -> InvalidRequest:
    field, description = "arguments", str(error)
    for name, value in arguments.items():
        try:
            msgspec.json.encode(value)
        except (TypeError, ValueError, RecursionError, OverflowError) as narrower:
            field, description = f"$.{name}", str(narrower)
            break
    return InvalidRequest(
        f"{field} has no JSON form: {description}", violations=[Violation(field, description)]
    )


def decode_result(data: bytes, content_type: str, result_type: Any) -> Any:
    """What a handler returned, as `result_type`.

    Args:
        data: the bytes; none at all means None.
        content_type: their media type.
        result_type: a type that msgspec understands; bytes takes any media type as it is.

    Raises:
        FailedPrecondition: the bytes are not such a value, so the handler that ran is not the one
            that is declared here.
    """
    if not data:
        return None
    is_json = content_type.partition(";")[0].strip() == CONTENT_TYPE
    if not is_json:
        if result_type in (bytes, Any):
            return data
        raise FailedPrecondition(f"the result is {content_type or 'untyped'}, not {CONTENT_TYPE}")
    try:
        return msgspec.json.decode(data, type=result_type)
    except msgspec.DecodeError as error:
        raise FailedPrecondition(
            f"the result does not fit its declared type: {error}; "
            "was the task run by another version of the handler?"
        ) from error
