"""Lists and batches over the wire: filters, everybody's tasks, tokens after a restart, REST."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
import timeball
from timeball import errors
from timeball.states import TaskState
from timeball.v1 import task_pb2, task_service_pb2, task_service_pb2_grpc

from tests.support import dev_tasks
from tests.support.dev_server import DevServer, ending
from tests.support.polls import until
from timeball_server.rpc.status import error_from_rpc

PATIENCE = "20s"
ENDED = [TaskState.SUCCEEDED, TaskState.FAILED]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    server = DevServer(tmp_path_factory.mktemp("dev"), http=("--http", "127.0.0.1:0"))
    with ending(server):
        server.start()
        yield server


@pytest.fixture(scope="module")
def client(dev: DevServer) -> Iterator[timeball.Client]:
    with timeball.Client(dev.address, deadline=PATIENCE) as made:
        yield made


@pytest.fixture(scope="module")
def mine(client: timeball.Client) -> dict[str, str]:
    """Names of tasks of three users: ended well and badly, and one of the far future."""
    good = client.submit(dev_tasks.echo.options(owner="anna", labels={"desk": "7"}).prepare("x"))
    bad = client.submit(dev_tasks.refuse.options(owner="berta", labels={"desk": "8"}).prepare("no"))
    later = client.submit(dev_tasks.echo.options(owner="anna", delay="1h").prepare("y"))
    for handle in (good, bad):
        client.wait(handle.name, timeout=PATIENCE)
    return {"good": good.name, "bad": bad.name, "later": later.name}


def names(found: Any) -> list[str]:
    return [task.name for task in found]


def test_everybody_s_tasks_are_listed_by_where_they_came_to(
    client: timeball.Client, mine: dict[str, str]
) -> None:
    def listed(*states: TaskState, **more: Any) -> list[str]:
        return names(client.list(owner="-", states=states, **more))

    until(lambda: len(listed(*ENDED)) == 2, "two ended tasks in the lists")
    assert listed(*ENDED) == [mine["bad"], mine["good"]]
    assert listed(TaskState.FAILED) == [mine["bad"]]
    assert listed(*ENDED, label="desk=7") == [mine["good"]]
    assert listed(*ENDED, handler="it.refuse") == [mine["bad"]]
    assert listed(*ENDED, page_size=1) == [mine["bad"], mine["good"]]
    with pytest.raises(errors.InvalidRequest) as caught:
        listed(TaskState.SCHEDULED)
    assert [each.field for each in caught.value.violations] == ["states"]


def test_tasks_that_wait_for_another_attempt_and_cancelled_ones_are_listed_for_everybody(
    client: timeball.Client, mine: dict[str, str]
) -> None:
    later = timeball.RetryPolicy(initial_delay="1h", jitter=0.0)
    waiting = client.submit(dev_tasks.flaky.options(owner="carla", retry=later).prepare(3))

    def listed(state: TaskState) -> list[str]:
        return names(client.list(owner="-", states=[state]))

    until(lambda: listed(TaskState.RETRYING) == [waiting.name], "the waiting task in the list")
    client.cancel(waiting.name)
    until(lambda: listed(TaskState.CANCELLED) == [waiting.name], "the cancelled task in the list")
    assert listed(TaskState.RETRYING) == []


def test_one_user_s_tasks_are_chosen_by_state_label_and_due_time(
    client: timeball.Client, mine: dict[str, str]
) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=30)
    assert names(client.list(owner="anna")) == [mine["later"], mine["good"]]
    assert names(client.list(owner="anna", label="desk=7")) == [mine["good"]]
    assert names(client.list(owner="anna", due_from=soon)) == [mine["later"]]
    assert names(client.list(owner="anna", due_to=soon)) == [mine["good"]]
    assert names(client.list(owner="anna", states=[TaskState.SCHEDULED])) == [mine["later"]]
    assert names(client.list(owner="nobody")) == []
    for wrong, field in [
        ({"label": "desk"}, "label"),
        ({"label": "=7"}, "label"),
        ({"due_from": soon, "due_to": soon}, "due_from"),
    ]:
        with pytest.raises(errors.InvalidRequest) as caught:
            names(client.list(owner="anna", **wrong))  # type: ignore[arg-type]
        assert [each.field for each in caught.value.violations] == [field]


def test_a_task_cannot_belong_to_everybody(client: timeball.Client) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        client.submit(dev_tasks.echo.options(owner="-").prepare("x"))
    assert [each.field for each in caught.value.violations] == ["task.owner"]


def test_many_are_read_at_once_each_by_itself(
    client: timeball.Client, mine: dict[str, str]
) -> None:
    wanted = [mine["bad"], mine["later"], mine["good"], mine["good"]]
    unknown = mine["good"][:-1] + ("0" if mine["good"][-1] != "0" else "1")
    foreign = mine["good"].replace("namespaces/-", "namespaces/other")
    foreign = foreign.replace("namespaces/default", "namespaces/other")
    found = client.get_many([*wanted, unknown, foreign])
    tasks = [task for task in found if isinstance(task, task_pb2.Task)]
    assert names(tasks) == wanted
    assert [task.HasField("payload") for task in tasks] == [False] * 4
    assert [type(each) for each in found[4:]] == [errors.TaskNotFound] * 2
    full = client.get_many([mine["good"]], full=True)[0]
    assert isinstance(full, task_pb2.Task)
    assert full.result.data == b'"x"'
    assert full.journal


def test_the_wire_refuses_what_is_no_request_of_many(dev: DevServer, mine: dict[str, str]) -> None:
    with grpc.insecure_channel(dev.address) as channel:
        stub: Any = task_service_pb2_grpc.TaskServiceStub(channel)
        for request, field in [
            (task_service_pb2.BatchGetTasksRequest(), "names"),
            (task_service_pb2.BatchGetTasksRequest(names=[mine["good"]] * 1_001), "names"),
            (task_service_pb2.BatchGetTasksRequest(names=[mine["good"], "x"]), "names[1]"),
            (
                task_service_pb2.BatchGetTasksRequest(names=["namespaces/-/tasks/" + "0" * 40]),
                "names[0]",
            ),
            (
                task_service_pb2.BatchGetTasksRequest(
                    parent="namespaces/other", names=[mine["good"]]
                ),
                "parent",
            ),
        ]:
            with pytest.raises(grpc.RpcError) as caught:
                stub.BatchGetTasks(request, timeout=20)
            error = error_from_rpc(caught.value)  # type: ignore[arg-type] # same shape as aio's
            assert field in [each.field for each in error.violations], error


def test_rest_reads_many_and_lists_with_the_same_words(
    dev: DevServer, mine: dict[str, str]
) -> None:
    address = until(lambda: _http_address(dev), "the address of JSON over HTTP")
    batch = _ask(address, "POST", "/v1/namespaces/-/tasks:batchGet", {"names": [mine["good"]]})
    assert [each["task"]["name"] for each in batch["results"]] == [mine["good"]]
    query = "owner=-&states=TASK_STATE_FAILED&label=desk%3D8"
    listed = _ask(address, "GET", f"/v1/namespaces/-/tasks?{query}", None)
    assert [each["name"] for each in listed["tasks"]] == [mine["bad"]]


def test_rest_administers_with_the_same_words(dev: DevServer) -> None:
    address = until(lambda: _http_address(dev), "the address of JSON over HTTP")
    made = _ask(address, "POST", "/v1/namespaces", {"namespaceId": "shop", "title": "S"}, 201)
    assert (made["name"], made["enabled"]) == ("namespaces/shop", True)
    wanted = {"userId": "anna@example.org", "email": "anna@example.org"}
    user = _ask(address, "POST", "/v1/namespaces/shop/users", wanted, 201)
    path = f"/v1/{user['name']}"
    assert _ask(address, "GET", path, None) == user
    assert "enabled" not in _ask(address, "POST", f"{path}:disable", {})
    assert [
        u["name"] for u in _ask(address, "GET", "/v1/namespaces/shop/users", None)["users"]
    ] == [user["name"]]
    query = "parent=namespaces/shop&action=DisableUser"
    (entry,) = _ask(address, "GET", f"/v1/audit?{query}", None)["entries"]
    assert (entry["actor"], entry["target"]) == ("dev", "shop/anna@example.org")
    shards = _ask(address, "GET", "/v1/shards?pageSize=3", None)
    assert (len(shards["shards"]), bool(shards["nextPageToken"])) == (3, True)
    moved = _ask(address, "POST", "/v1/shards:move", {"shard": 1, "node": "scheduler-1"})
    assert moved["pinned"] == "scheduler-1"
    refused = _ask(address, "POST", "/v1/namespaces/shop/keys", {"subject": "a"}, 400)
    assert refused["error"]["details"][1]["fieldViolations"][0]["field"] == "roles"


def test_a_page_token_outlives_a_restart_and_belongs_to_its_query(
    dev: DevServer, mine: dict[str, str]
) -> None:
    def ask(**more: Any) -> Any:
        with grpc.insecure_channel(dev.address) as channel:
            stub: Any = task_service_pb2_grpc.TaskServiceStub(channel)
            request = task_service_pb2.ListTasksRequest(owner="anna", page_size=1, **more)
            return stub.ListTasks(request, timeout=20, wait_for_ready=True)

    first = ask()
    assert names(first.tasks) == [mine["later"]]
    assert dev.terminate() == 0
    dev.start()
    assert names(ask(page_token=first.next_page_token).tasks) == [mine["good"]]
    for other in ({"label": "desk=7"}, {"states": [task_pb2.TASK_STATE_FAILED]}):
        with pytest.raises(grpc.RpcError) as caught:
            ask(page_token=first.next_page_token, **other)
        error = error_from_rpc(caught.value)  # type: ignore[arg-type] # same shape as aio's
        assert [each.field for each in error.violations] == ["page_token"]


def _http_address(dev: DevServer) -> str:
    lines = [line for line in dev.output().splitlines() if "the same as JSON" in line]
    return lines[-1].rpartition("http://")[2].strip("/") if lines else ""


def _ask(address: str, method: str, path: str, body: object, status: int = 200) -> Any:
    host, _, port = address.rpartition(":")
    raw = None if body is None else json.dumps(body)
    headers = {} if raw is None else {"Content-Type": "application/json"}
    with closing(http.client.HTTPConnection(host, int(port), timeout=20)) as connection:
        connection.request(method, path, raw, headers)
        answer = connection.getresponse()
        raw_answer = answer.read()
        assert answer.status == status, raw_answer
        return json.loads(raw_answer)
