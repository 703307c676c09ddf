"""Logs of a whole run: one JSON object per line, stable names, and nobody's secrets or payloads."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import timeball
from timeball import errors
from timeball.v1 import task_service_pb2, task_service_pb2_grpc

from tests.support import dev_tasks
from tests.support.dev_server import DevServer, ending
from tests.support.polls import until

PATIENCE = "20s"
CANARY = "canary-4f1d7c"
KEY = f"tb.nobody.{CANARY}"
ALWAYS = {"event", "level", "logger", "node", "timestamp"}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    options = ("--no-http", "--log-level", "debug", "--log-json")
    server = DevServer(tmp_path_factory.mktemp("dev"), http=options)
    with ending(server):
        server.start()
        yield server


@pytest.fixture(scope="module")
def request_ids(dev: DevServer) -> dict[str, str]:
    """Everything that a caller may do, each with the canary wherever something secret may stand."""
    ids = {name: str(uuid.uuid4()) for name in ("create", "cancel", "schedule", "namespace")}
    with timeball.Client(dev.address, api_key=KEY, deadline=PATIENCE) as client:
        echo = dev_tasks.echo.options(request_id=ids["create"]).prepare(CANARY)
        assert client.submit(echo).result(timeout=PATIENCE) == CANARY
        bad = client.submit(dev_tasks.refuse.prepare(CANARY))
        client.wait(bad.name, timeout=PATIENCE)
        client.admin.redrive([bad.name])
        later = client.submit(dev_tasks.echo.options(delay="1h").prepare(CANARY))
        client.cancel(later.name, reason=CANARY, request_id=ids["cancel"])
        client.batch_submit([dev_tasks.echo.prepare(CANARY)] * 3)
        every = timeball.every("1h")
        options: Any = {"request_id": ids["schedule"]}
        made = client.create_schedule(every, dev_tasks.echo.name, {"value": CANARY}, **options)
        client.delete_schedule(made.name)
        client.admin.create_namespace("shop", request_id=ids["namespace"])
        client.admin.create_user("anna", email=f"{CANARY}@example.org")
        with pytest.raises(errors.FailedPrecondition):
            client.admin.create_key("anna", roles=["viewer"])
        with pytest.raises(errors.InvalidRequest):
            client.submit("not a handler", {"value": CANARY})
    with grpc.insecure_channel(dev.address) as channel:
        stub: Any = task_service_pb2_grpc.TaskServiceStub(channel)
        listed = task_service_pb2.ListTasksRequest(page_token=CANARY)
        with pytest.raises(grpc.RpcError):
            stub.ListTasks(listed, timeout=20, metadata=[("authorization", f"Bearer {KEY}")])
    return ids


def lines(dev: DevServer) -> list[dict[str, Any]]:
    """The log so far; the words for people at the start are no part of it."""
    whole, _, _ = dev.output().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]


def test_every_line_is_one_object_with_the_same_names(
    dev: DevServer, request_ids: dict[str, str]
) -> None:
    found = lines(dev)
    assert len(found) > 10
    for line in found:
        assert line.keys() >= ALWAYS, line
    loose = [line for line in dev.output().splitlines() if not line.startswith("{")]
    assert all(line.startswith(("timeball ", "  ")) for line in loose), loose


def test_whoever_changes_something_is_told_with_the_request_and_its_outcome(
    dev: DevServer, request_ids: dict[str, str]
) -> None:
    wanted = {
        ("CreateTask", request_ids["create"]),
        ("CancelTask", request_ids["cancel"]),
        ("CreateSchedule", request_ids["schedule"]),
    }

    def calls() -> dict[tuple[str, str], dict[str, Any]]:
        return {
            (line["method"], line["request_id"]): line
            for line in lines(dev)
            if line["logger"] == "calls"
        }

    found = until(lambda: calls() if wanted <= calls().keys() else None, "a line for each call")
    for key in wanted:
        line = found[key]
        assert (line["event"], line["subject"], line["outcome"]) == ("call", "dev", "OK")
        assert line["namespace"] == "default"
    refused = [line for line in found.values() if line["outcome"] == "INVALID_ARGUMENT"]
    assert {line["method"] for line in refused} == {"CreateTask"}
    (audited,) = [
        line
        for line in lines(dev)
        if line["logger"] == "audit" and line.get("request_id") == request_ids["namespace"]
    ]
    assert (audited["event"], audited["actor"], audited["action"]) == (
        *("audit", "dev"),
        "CreateNamespace",
    )
    assert (audited["target"], audited["outcome"]) == ("shop", "OK")


def test_secrets_and_payloads_are_never_logged(dev: DevServer, request_ids: dict[str, str]) -> None:
    assert dev.terminate() == 0
    assert CANARY not in dev.output()
