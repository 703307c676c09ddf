"""Path templates: what they match, what they take out of a path, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeball_server.rest.templates import InvalidTemplate, UndecodablePath, parse_template

NAME = "/v1/{name=namespaces/*/tasks/*}"
SEGMENT = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("/v1/cluster", "/v1/cluster", {}),
        ("/v1/cluster", "/v1/cluster/", None),
        ("/v1/cluster", "/v1/clusters", None),
        ("/v1/{id}", "/v1/a", {"id": "a"}),
        ("/v1/{id}", "/v1/a%2Fb", {"id": "a/b"}),
        ("/v1/{id}", "/v1/", None),
        ("/v1/{id}/logs", "/v1/x/logs", {"id": "x"}),
        (NAME, "/v1/namespaces/shop/tasks/1", {"name": "namespaces/shop/tasks/1"}),
        (NAME, "/v1/namespaces/-/tasks/%C3%A9", {"name": "namespaces/-/tasks/é"}),
        (NAME, "/v1/namespaces/a%2Fb/tasks/1", {"name": "namespaces/a%2Fb/tasks/1"}),
        (NAME, "/v1/namespaces/a%2fb/tasks/1", {"name": "namespaces/a%2Fb/tasks/1"}),
        (NAME, "/v1/namespaces/shop/tasks/1:cancel", None),
        (NAME, "/v1/namespaces/shop/tasks/1%3Acancel", {"name": "namespaces/shop/tasks/1:cancel"}),
        (NAME, "/v1/namespaces//tasks/1", None),
        (NAME, "/v1/namespaces/shop/tasks", None),
        (NAME, "/v1/namespaces/shop/schedules/1", None),
        (f"{NAME}:cancel", "/v1/namespaces/s/tasks/1:cancel", {"name": "namespaces/s/tasks/1"}),
        (f"{NAME}:cancel", "/v1/namespaces/s/tasks/1:wait", None),
        (f"{NAME}:cancel", "/v1/namespaces/s/tasks/1", None),
        (f"{NAME}:cancel", "/v1/namespaces/s/tasks/1%3Acancel", None),
        ("/v1/{task.name=namespaces/*/tasks/*}", "/v1/namespaces/s/tasks/1",
         {"task.name": "namespaces/s/tasks/1"}),
        ("/v1/{parent=namespaces/*}/tasks:batchCreate", "/v1/namespaces/s/tasks:batchCreate",
         {"parent": "namespaces/s"}),
    ],
)  # fmt: skip
def test_a_template_matches(template: str, path: str, values: dict[str, str] | None) -> None:
    assert parse_template(template).match(path) == values


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v1/tasks",
        "/v1/{name=**}",
        "/v1/{name",
        "/v1//x",
        "/v1/{Name}",
        "/v1/{name=a//b}",
        "/v1/{task.}",
    ],
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(InvalidTemplate):
        parse_template(text)


def test_a_value_that_is_not_utf_8_is_said_to_be_so() -> None:
    with pytest.raises(UndecodablePath):
        parse_template("/v1/{id}").match("/v1/%FF")


@given(namespace=SEGMENT, task=SEGMENT, verb=st.sampled_from(["", ":cancel", ":wait"]))
def test_what_is_expanded_is_matched(namespace: str, task: str, verb: str) -> None:
    template = parse_template(NAME + verb)
    name = f"namespaces/{namespace}/tasks/{task}"
    if "/" in namespace + task:
        with pytest.raises(InvalidTemplate):
            template.expand({"name": name})
        return
    path = template.expand({"name": name})
    assert path.isascii()
    assert template.match(path) == {"name": name}


@given(value=SEGMENT)
def test_one_segment_holds_any_text(value: str) -> None:
    template = parse_template("/v1/{id}/logs")
    assert template.match(template.expand({"id": value})) == {"id": value}
