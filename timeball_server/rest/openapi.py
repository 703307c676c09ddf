"""The OpenAPI 3.1 document, made from the same descriptors that requests are routed by.

Sentences come from the protos' comments, which descriptors do not carry: `comments.json` next to
this file holds them, and a test holds it to the protos.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from timeball_server.rest.answers import JSON_TYPE, PROBLEM_TYPE
from timeball_server.rest.preconditions import HEADER as IF_MATCH
from timeball_server.rest.preconditions import takes_etag
from timeball_server.rest.routes import WHOLE_BODY, Route
from timeball_server.rest.schemas import ERROR_SCHEMAS, TEXTS, scalar

Json = dict[str, Any]
_ERRORS: Final[Mapping[str, str]] = {
    "400": "The request can never succeed as it is.",
    "401": "The credential is missing or not known.",
    "403": "The credential does not allow this.",
    "404": "There is no such thing in your namespace.",
    "409": "The thing is not in a state that allows this, or the request id was used before.",
    "412": "It has changed since the etag was read.",
    "429": "A limit was reached; wait as told.",
    "503": "Not now; the same request may succeed in a moment.",
}
_RETRIED: Final = ("429", "503")


@cache
def comments() -> Mapping[str, str]:
    """Sentences of the protos by full name."""
    text = files("timeball_server.rest").joinpath("comments.json").read_text(encoding="utf-8")
    found: dict[str, str] = json.loads(text)
    return found


def document(routes: Sequence[Route], sentences: Mapping[str, str]) -> Json:
    """The document.

    Args:
        sentences: of services, methods, messages, fields and enums, by full name.
    """
    return _Writer(routes, sentences).document()


class _Writer:
    """Writes one document; collects the messages that its paths mention."""

    def __init__(self, routes: Sequence[Route], sentences: Mapping[str, str]) -> None:
        self._routes = routes
        self._sentences = sentences
        self._schemas: Json = {}

    def document(self) -> Json:
        paths: dict[str, Json] = {}
        for route in self._routes:
            path, names = _split_path(route)
            paths.setdefault(path, {})[route.method.lower()] = self._operation(route, names)
        services = {route.rpc.containing_service.full_name: None for route in self._routes}
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "Timeball",
                "version": "v1",
                "description": "A distributed task scheduler: promises to run a task at its "
                "instant, and says what became of it.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "tags": [self._tag(name) for name in services],
            "security": [{}, {"key": []}],
            "paths": paths,
            "components": {
                "schemas": dict(sorted({**self._schemas, **ERROR_SCHEMAS}.items())),
                "responses": {status: _error_response(status) for status in _ERRORS},
                "securitySchemes": {
                    "key": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An API key, tb.{key id}.{secret}. Development servers "
                        "ask for none.",
                    }
                },
            },
        }

    def _tag(self, service: str) -> Json:
        return {"name": service.rpartition(".")[2], **self._described(service)}

    def _operation(self, route: Route, names: Mapping[str, str]) -> Json:
        parameters = [*self._in_path(route, names), *self._in_query(route), *_in_header(route)]
        operation: Json = {
            "operationId": route.rpc.name,
            "tags": [route.rpc.containing_service.name],
            "summary": self._sentences.get(route.rpc.full_name, ""),
            "parameters": parameters,
            "responses": self._responses(route),
        }
        if route.body:
            operation["requestBody"] = self._body(route)
        return operation

    def _in_path(self, route: Route, names: Mapping[str, str]) -> Iterator[Json]:
        for name, field in names.items():
            found = _field_at(route.rpc.input_type, field)
            yield {
                "name": name,
                "in": "path",
                "required": True,
                "description": f"Part of {found.json_name}: {self._sentences[found.full_name]}",
                "schema": {"type": "string"},
            }

    def _in_query(self, route: Route) -> Iterator[Json]:
        if route.body == WHOLE_BODY:
            return
        taken = {route.body, *(each.field for each in route.template.variables)}
        for field in route.rpc.input_type.fields:
            if field.name not in taken:
                yield {
                    "name": field.json_name,
                    "in": "query",
                    **self._described(field.full_name),
                    "schema": self._field(field),
                }

    def _body(self, route: Route) -> Json:
        kind = route.rpc.input_type
        if route.body == WHOLE_BODY:
            taken = {each.field for each in route.template.variables}
            schema = self._object(kind, without=taken)
            return {"required": "required" in schema, "content": {JSON_TYPE: {"schema": schema}}}
        inner: Any = kind.fields_by_name[route.body].message_type
        whole = self._reference(inner)
        if route.method != "PATCH":
            return {"required": True, "content": {JSON_TYPE: {"schema": whole}}}
        part = {name: value for name, value in self._object(inner).items() if name != "required"}
        return {"required": True, "content": {JSON_TYPE: {"schema": part}}}

    def _responses(self, route: Route) -> Json:
        kind: Any = route.rpc.output_type
        if route.response_body:
            kind = kind.fields_by_name[route.response_body].message_type
        good: Json = {
            "description": self._sentences.get(kind.full_name, "Done."),
            "content": {JSON_TYPE: {"schema": self._reference(kind)}},
        }
        found = {"200": good}
        if route.creates:
            location = {"description": "Path of what was made.", "schema": {"type": "string"}}
            found["201"] = {**good, "headers": {"Location": location}}
        for status in _ERRORS:
            found[status] = {"$ref": f"#/components/responses/{status}"}
        return found

    def _reference(self, kind: Descriptor) -> Json:
        if kind.name not in self._schemas:
            self._schemas[kind.name] = {}  # stands while its fields are written
            self._schemas[kind.name] = self._object(kind)
        return {"$ref": f"#/components/schemas/{kind.name}"}

    def _object(self, kind: Descriptor, without: Iterable[str] = ()) -> Json:
        left_out = set(without)
        fields = [field for field in kind.fields if field.name not in left_out]
        schema: Json = {"type": "object", **self._described(kind.full_name)}
        schema["properties"] = {field.json_name: self._property(field) for field in fields}
        needed = [f.json_name for f in fields if field_behavior_pb2.REQUIRED in _behaviours(f)]
        if needed:
            schema["required"] = needed
        return schema

    def _property(self, field: FieldDescriptor) -> Json:
        schema = {**self._field(field), **self._described(field.full_name)}
        behaviours = _behaviours(field)
        if field_behavior_pb2.OUTPUT_ONLY in behaviours:
            schema["readOnly"] = True
        return schema

    def _field(self, field: FieldDescriptor) -> Json:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            value = self._one(kind.fields_by_name["value"])
            return {"type": "object", "additionalProperties": value}
        one = self._one(field)
        return {"type": "array", "items": one} if field.is_repeated else one

    def _one(self, field: FieldDescriptor) -> Json:
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        if field.message_type is None:
            return scalar(field)
        text = TEXTS.get(field.message_type.full_name)
        return dict(text) if text is not None else self._reference(field.message_type)

    def _enum(self, kind: EnumDescriptor) -> Json:
        if kind.name not in self._schemas:
            values = [value.name for value in kind.values]
            told = self._described(kind.full_name)
            self._schemas[kind.name] = {"type": "string", "enum": values, **told}
        return {"$ref": f"#/components/schemas/{kind.name}"}

    def _described(self, name: str) -> Json:
        sentence = self._sentences.get(name)
        return {"description": sentence} if sentence else {}


def _field_at(kind: Descriptor, path: str) -> FieldDescriptor:
    """The field of a path such as task.name."""
    *outer, last = path.split(".")
    inside: Any = kind
    for part in outer:
        inside = inside.fields_by_name[part].message_type
    found: FieldDescriptor = inside.fields_by_name[last]
    return found


def _split_path(route: Route) -> tuple[str, dict[str, str]]:
    """The path with a parameter per segment, and the field that each parameter is a part of."""
    parts = list(route.template.parts)
    names: dict[str, str] = {}
    for variable in route.template.variables:
        for position in range(variable.start, variable.end):
            if parts[position] == "*":
                before = parts[position - 1] if position > variable.start else variable.field
                name = before.removesuffix("s") if position > variable.start else before
                parts[position] = f"{{{name}}}"
                names[name] = variable.field
    verb = route.template.verb
    return "".join(f"/{part}" for part in parts) + (f":{verb}" if verb else ""), names


def _in_header(route: Route) -> Iterator[Json]:
    if "request_id" in route.rpc.input_type.fields_by_name:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "The same key always gives the same answer; a UUID becomes requestId.",
            "schema": {"type": "string", "maxLength": 255},
        }
    if takes_etag(route.rpc.input_type, route.method):
        yield {
            "name": IF_MATCH,
            "in": "header",
            "description": "The etag that was read, in quotes: nothing is changed if it is stale.",
            "schema": {"type": "string", "maxLength": 202},
        }


def _behaviours(field: FieldDescriptor) -> Sequence[int]:
    options: Any = field.GetOptions()
    found: Sequence[int] = options.Extensions[field_behavior_pb2.field_behavior]
    return found


def _error_response(status: str) -> Json:
    response: Json = {
        "description": _ERRORS[status],
        "content": {
            JSON_TYPE: {"schema": {"$ref": "#/components/schemas/Error"}},
            PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}},
        },
    }
    if status in _RETRIED:
        seconds = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
        response["headers"] = {"Retry-After": seconds}
    return response
