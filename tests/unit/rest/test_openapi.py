"""The OpenAPI document: what is committed is what the protos say, and it holds together."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

from timeball_server.rest.openapi import comments, document
from timeball_server.rest.routes import read_routes
from timeball_server.rpc.access import ACCESS

ROOT = Path(__file__).resolve().parents[3]
ROUTES = read_routes()
DOCUMENT = document(ROUTES, comments())


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("openapi_tool", ROOT / "tools" / "openapi.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_files_are_what_the_protos_say() -> None:
    stale = [path.name for path, text in tool().generated().items() if path.read_text() != text]
    assert stale == [], "run python tools/openapi.py"


def test_the_served_document_is_the_committed_one() -> None:
    committed = json.loads((ROOT / "docs" / "api" / "openapi.json").read_text())
    assert committed == json.loads(json.dumps(DOCUMENT))


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from nodes(each)
    elif isinstance(value, list):
        for each in value:
            yield from nodes(each)


def test_every_reference_leads_somewhere() -> None:
    references = [node["$ref"] for node in nodes(DOCUMENT) if "$ref" in node]
    assert references
    for reference in references:
        here: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            here = here[part]
        assert here


def test_every_operation_declares_its_paths_parameters_and_has_its_own_name() -> None:
    names: list[str] = []
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            declared = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
            assert declared == re.findall(r"{(\w+)}", path)
            names.append(operation["operationId"])
    assert len(names) == len(set(names))


def test_everything_described_has_a_sentence() -> None:
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            assert operation["summary"], operation["operationId"]
            for each in operation["parameters"]:
                assert each["description"], (operation["operationId"], each["name"])
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema["description"], name


def test_who_changes_a_part_need_not_send_the_rest() -> None:
    path = DOCUMENT["paths"]["/v1/namespaces/{namespace}/tasks/{task}"]
    body = path["patch"]["requestBody"]["content"]["application/json"]["schema"]
    assert "required" not in body
    assert body["properties"] == DOCUMENT["components"]["schemas"]["Task"]["properties"]
    assert DOCUMENT["components"]["schemas"]["Task"]["required"] == ["handler"]
    queries = [each["name"] for each in path["patch"]["parameters"] if each["in"] == "query"]
    assert queries == ["updateMask", "requestId", "resend"]


def test_every_route_is_one_that_the_gate_knows() -> None:
    assert {route.rpc_path for route in ROUTES} <= set(ACCESS)


def test_comments_belong_to_what_stands_below_them() -> None:
    source = """
    package a.b;
    // A service.
    service S {
      // A method.
      rpc Do(DoRequest) returns (DoResponse) {
        option (google.api.http) = {get: "/v1/{name=x/*}"};
      }
    }
    // Not this.

    // A message,
    // in two lines.
    message M {
      // A field.
      map<string, string> field = 1 [(x).string = {pattern: "^{0,62}}$"}];
      oneof o {
        // Inside.
        string inside = 2;
      }
      string silent = 3;
    }
    // Kinds.
    enum E {
      // None.
      E_NONE = 0;
    }
    """
    assert dict(tool().proto_comments(dedent(source))) == {
        "a.b.S": "A service.",
        "a.b.S.Do": "A method.",
        "a.b.M": "A message, in two lines.",
        "a.b.M.field": "A field.",
        "a.b.M.inside": "Inside.",
        "a.b.E": "Kinds.",
        "a.b.E.E_NONE": "None.",
    }
