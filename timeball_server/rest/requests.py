"""A request message out of path, query, headers and body.

Owns protobuf's JSON mapping on the way in, stricter than the library: unknown, repeated and
half-understood input is refused with the path of the field. Decides nothing about content: the
gate's validator does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid5

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from timeball.errors import InvalidRequest, refused

from timeball_server.rest.json_shapes import (
    TEXTUAL,
    WHOLE_KINDS,
    check_shape,
    check_whole,
    field_named,
    known_names,
)
from timeball_server.rest.routes import WHOLE_BODY, Found
from timeball_server.rest.wanted import said_twice, wanted

MAX_KEY_CHARACTERS: Final = 255
"""Longest Idempotency-Key."""
_KEYS: Final = UUID("5a6b1d0c-8f0e-5c1e-9d38-1c1f9a1d7c55")
"""Name space of request ids that are made from keys which are no UUIDs."""
_MASK: Final = "google.protobuf.FieldMask"
_BOOLS: Final = {"true": True, "false": False}
_FAILED = re.compile(r"Failed to parse (\w+) field: ")
_PLACE = re.compile(r"(?: at [\w.\[\]]+)?\.*$")


def request_message(
    found: Found, query: Iterable[tuple[str, str]], body: bytes, idempotency_key: str | None
) -> Message:
    """The request that the caller means.

    Args:
        found: the route, and what its path says.
        query: decoded names and values, in order.
        body: as it came.
        idempotency_key: value of the header, None if there is none.

    Raises:
        InvalidRequest: it cannot be read; names the field where there is one.
    """
    route = found.route
    descriptor: Any = route.request.DESCRIPTOR
    document = _body_document(route.body, body)
    check_shape(document, descriptor)
    bound = {*found.variables, route.body}
    document.update(_query_document(descriptor, query, bound))
    message = _parsed(document, route.request())
    _set_variables(message, found.variables)
    if idempotency_key is not None and "request_id" in descriptor.fields_by_name:
        _set_request_id(message, request_id_of_key(idempotency_key))
    return message


def request_id_of_key(key: str) -> str:
    """The request id of an Idempotency-Key: itself if it is a UUID, else one made from it.

    Raises:
        InvalidRequest: it is empty, too long or not printable ASCII.
    """
    text = key.strip()
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        text = text[1:-1]  # a quoted string, as structured fields write it
    if not 0 < len(text) <= MAX_KEY_CHARACTERS or not (text.isascii() and text.isprintable()):
        sentence = f"must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters"
        raise refused("Idempotency-Key", sentence)
    try:
        return str(UUID(text))
    except ValueError:
        return str(uuid5(_KEYS, text))


def _body_document(field: str, body: bytes) -> dict[str, Any]:
    """The request as a JSON object, as far as the body says it."""
    if not field:
        if body:
            raise InvalidRequest("this call takes no body: leave it empty")
        return {}
    value = _json(body) if body or field != WHOLE_BODY else {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"the body must be a JSON object, got {_json_kind(value)}")
    return value if field == WHOLE_BODY else {field: value}


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"the body must be JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except ValueError as error:  # not UTF-8, or a number of thousands of digits
        raise InvalidRequest("the body must be JSON in UTF-8 without huge numbers") from error


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"the body must be JSON that names each field once, got {twice} twice")
    return found


def _no_constant(text: str) -> Any:
    raise InvalidRequest(f"the body must be JSON, which has no {text}")


def _json_kind(value: Any) -> str:
    kinds = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _query_document(
    descriptor: Descriptor, query: Iterable[tuple[str, str]], bound: set[str]
) -> dict[str, Any]:
    values: dict[str, list[str]] = {}
    for name, value in query:
        values.setdefault(name, []).append(value)
    document: dict[str, Any] = {}
    for name, given in values.items():
        _put(document, descriptor, name, given, bound)
    return document


def _put(
    document: dict[str, Any], descriptor: Descriptor, name: str, given: list[str], bound: set[str]
) -> None:
    """Put one query parameter, such as owner or interval.every, in its place."""
    field: FieldDescriptor | None = None
    here, inside = document, descriptor
    parts = name.split(".")
    for depth, part in enumerate(parts):
        field = field_named(inside, part)
        if field is None or WHOLE_BODY in bound or (depth == 0 and field.name in bound):
            offered = [] if WHOLE_BODY in bound else known_names(inside, bound)
            known = f"known are {', '.join(offered)}" if offered else "this call takes none"
            raise refused(name, f"is not a query parameter of this call; {known}")
        if depth < len(parts) - 1:
            if field.message_type is None or field.is_repeated:
                raise refused(name, f"{part} has no fields of its own")
            here = here.setdefault(field.name, {})
            inside = field.message_type
    if field is not None:
        _put_value(here, field, name, given)


def _put_value(here: dict[str, Any], field: FieldDescriptor, name: str, given: list[str]) -> None:
    if field.message_type is not None and field.message_type.full_name not in TEXTUAL:
        raise refused(name, "cannot be written in a query; name one of its fields")
    if field.name in here or (len(given) > 1 and not field.is_repeated):
        raise refused(name, "must be given once")
    values = [_typed(field, name, text) for text in given]
    here[field.name] = values if field.is_repeated else values[0]


def _typed(field: FieldDescriptor, name: str, text: str) -> str | bool:
    if field.cpp_type in WHOLE_KINDS:
        check_whole(text, name)
    if field.message_type is not None and field.message_type.full_name == _MASK:
        return _camel(text)
    if field.type != FieldDescriptor.TYPE_BOOL:
        return text
    if text not in _BOOLS:
        raise refused(name, f"must be true or false, got {text!r}")
    return _BOOLS[text]


def _parsed(document: dict[str, Any], message: Message) -> Message:
    try:
        return ParseDict(document, message)
    except (ParseError, ValueError, TypeError, OverflowError) as error:
        words = str(error).splitlines()[0]
        path = ".".join(_snake(name) for name in _FAILED.findall(words))
        reason = _PLACE.sub("", _FAILED.sub("", words))
        descriptor: Any = message.DESCRIPTOR
        if not path:
            twice = said_twice(descriptor, words)
            raise InvalidRequest(twice or f"the request cannot be read: {reason}") from error
        sentence = wanted(descriptor, path) or f"has a value of another kind: {reason}"
        raise refused(path, sentence) from error


def _snake(name: str) -> str:
    """Paths are written as in the protos, whichever door an error leaves by."""
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)


def _camel(paths: str) -> str:
    """A mask as protobuf's JSON writes it; as the protos write it is good too."""
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), paths)


def _set_variables(message: Message, variables: Mapping[str, str]) -> None:
    for path, value in variables.items():
        *outer, name = path.split(".")
        inside: Any = message
        for part in outer:
            inside = getattr(inside, part)
        if getattr(inside, name) not in ("", value):
            raise refused(path, "differs from the path; leave it out of the body")
        setattr(inside, name, value)


def _set_request_id(message: Any, request_id: str) -> None:
    """A caller that sends a key may be repeating itself: nobody but it knows, so it counts so."""
    if message.request_id not in ("", request_id):
        raise refused("request_id", "differs from the header Idempotency-Key; send one of them")
    message.request_id = request_id
    if "resend" in message.DESCRIPTOR.fields_by_name:
        message.resend = True
