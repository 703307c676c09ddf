"""The API as JSON over HTTP: a real `timeball dev` process, and a cluster that asks for keys."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from tests.support import dev_tasks
from tests.support.dev_server import DevServer, ending
from timeball_server.core.minting import fresh_request_id
from timeball_server.dev.wiring import DevCluster, DevConfig
from timeball_server.rest.app import MAX_BODY_BYTES
from timeball_server.rpc.auth import ApiKeys, NotLoopback, OpenLoopback, Role, StoredKey, key_digest
from timeball_server.runtime.clock import SystemClock

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 20
TASKS = "/v1/namespaces/-/tasks"
PEPPER = b"only this test's pepper"
SHOP, VIEWER = "tb.shop.secret-of-shop", "tb.viewer.secret-of-viewer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def reason(self) -> str:
        return str(self.json["error"]["details"][0]["reason"])


def ask(
    address: str,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One request on a connection of its own; a body that is no bytes is sent as JSON."""
    host, _, port = address.rpartition(":")
    raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    sent = {} if raw is None else {"Content-Type": "application/json"}
    with closing(http.client.HTTPConnection(host, int(port), timeout=DEADLINE_S)) as connection:
        connection.request(method, path, raw, {**sent, **(headers or {})})
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(status=answer.status, headers=names, raw=answer.read())


def echo(text: str, **more: object) -> dict[str, object]:
    """A task that answers its text."""
    arguments = base64.b64encode(json.dumps({"value": text}).encode()).decode()
    payload = {"contentType": "application/json", "data": arguments}
    return {"handler": dev_tasks.echo.name, "payload": payload, **more}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a development server answers HTTP."""
    server = DevServer(tmp_path_factory.mktemp("rest"), http=("--http", "127.0.0.1:0"))
    with ending(server):
        server.start()
        found = re.search(r"http://(\S+)/", server.output())
        assert found is not None
        yield found[1]
        assert ask(found[1], "GET", "/v1/cluster").status == 200
        assert server.terminate() == 0
        assert "Traceback" not in server.output()


def test_a_task_lives_its_life_over_http(dev: str) -> None:
    made = ask(dev, "POST", TASKS, echo("hello"), {"X-Request-Id": "walk-1"})
    assert (made.status, made.headers["x-request-id"]) == (201, "walk-1")
    path = made.headers["location"]
    assert path == f"/v1/{made.json['name']}"
    ended = ask(dev, "GET", f"{path}:wait?timeout=10s").json
    assert (ended["done"], ended["task"]["state"]) == (True, "TASK_STATE_SUCCEEDED")
    task = ask(dev, "GET", path).json
    assert json.loads(base64.b64decode(task["result"]["data"])) == "hello"
    assert "result" not in ask(dev, "GET", f"{path}?view=TASK_VIEW_BASIC").json
    listed = ask(dev, "GET", f"{TASKS}?states=TASK_STATE_SUCCEEDED&pageSize=1000").json["tasks"]
    assert task["name"] in [each["name"] for each in listed]


def test_a_task_is_cancelled_and_only_once(dev: str) -> None:
    path = ask(dev, "POST", TASKS, echo("never", delay="3600s")).headers["location"]
    cancelled = ask(dev, "POST", f"{path}:cancel", {"reason": "not wanted"})
    assert (cancelled.status, cancelled.json["state"]) == (200, "TASK_STATE_CANCELLED")
    ended = ask(dev, "POST", TASKS, echo("x")).headers["location"]
    assert ask(dev, "GET", f"{ended}:wait").json["done"] is True
    late = ask(dev, "POST", f"{ended}:cancel")
    assert (late.status, late.reason) == (409, "TOO_LATE")
    page = ask(dev, "GET", f"{TASKS}?pageSize=1").json
    assert len(page["tasks"]) == 1
    token = page["nextPageToken"]
    assert ask(dev, "GET", f"{TASKS}?pageSize=1&pageToken={token}").json["tasks"] != page["tasks"]


def test_why_a_task_waits_is_told_over_http(dev: str) -> None:
    wish = echo("never", selector={"zone": "moon"})
    path = ask(dev, "POST", TASKS, wish).headers["location"]
    told = ask(dev, "GET", f"{path}:explain")
    assert told.status == 200
    assert f"/v1/{told.json['name']}" == path
    assert told.json["blocking"]["cause"] == "BLOCKING_CAUSE_NO_LABEL"
    assert told.json["blocking"]["details"]["label"] == "zone=moon"
    absent = ask(dev, "GET", f"{path[:-4]}0000:explain")
    assert (absent.status, absent.reason) == (404, "TASK_NOT_FOUND")


def test_a_task_is_changed_over_http(dev: str) -> None:
    made = ask(dev, "POST", TASKS, echo("before", delay="3600s", labels={"team": "a"}))
    path, etag = made.headers["location"], made.json["etag"]
    after = {"payload": echo("after")["payload"], "priority": 8}
    changed = ask(dev, "PATCH", path, {**after, "etag": etag})
    assert (changed.status, changed.json["priority"]) == (200, 8)
    assert changed.json["labels"] == {"team": "a"}
    stale = ask(dev, "PATCH", path, {"priority": 1, "etag": etag})
    assert (stale.status, stale.reason) == (412, "STALE_ETAG")
    cleared = ask(dev, "PATCH", f"{path}?updateMask=labels,timeouts", {"handler": "not.looked.at"})
    assert cleared.status == 200
    assert "labels" not in cleared.json
    moved = ask(dev, "POST", f"{path}:reschedule", {"delay": "7200s"})
    assert (moved.status, moved.json["state"]) == (200, "TASK_STATE_SCHEDULED")
    assert moved.json["dueTime"] > changed.json["dueTime"]
    assert ask(dev, "DELETE", path).reason == "FAILED_PRECONDITION"
    assert ask(dev, "POST", f"{path}:retry").json["name"] == made.json["name"]
    ended = ask(dev, "GET", f"{path}:wait?timeout=10s").json["task"]
    assert json.loads(base64.b64decode(ended["result"]["data"])) == "after"
    assert ask(dev, "POST", f"{path}:reschedule").reason == "TOO_LATE"
    assert ask(dev, "DELETE", f"{path}?etag=r1").reason == "STALE_ETAG"
    gone = ask(dev, "DELETE", f"{path}?etag={ended['etag']}")
    assert (gone.status, gone.json) == (200, {})
    assert ask(dev, "GET", path).status == 404


def test_a_change_that_cannot_be_meant_names_its_field(dev: str) -> None:
    path = ask(dev, "POST", TASKS, echo("x", delay="3600s")).headers["location"]
    for body, query, field in (
        ({"runTime": "2030-01-01T00:00:00Z"}, "", "task.run_time"),
        ({"handler": "it.echo"}, "", "task.handler"),
        ({"priority": 10}, "", "task.priority"),
        ({"priority": 1, "etag": "x"}, "", "task.etag"),
        ({}, "", "update_mask"),
        ({"priority": 1}, "?updateMask=runTime", "update_mask"),
        ({"priority": 1}, "?updateMask=retry.maxAttempts", "update_mask"),
        ({"name": "namespaces/-/tasks/other", "priority": 1}, "", "task.name"),
    ):
        refused = ask(dev, "PATCH", path + query, body)
        assert refused.status == 400, (body, query, refused.raw)
        (violations,) = [
            each["fieldViolations"]
            for each in refused.json["error"]["details"]
            if "fieldViolations" in each
        ]
        assert [each["field"] for each in violations] == [field], (body, query)
    both = {"delay": "1s", "runTime": "2030-01-01T00:00:00Z"}
    assert ask(dev, "POST", f"{path}:reschedule", both).status == 400
    assert ask(dev, "PUT", path, {}).status == 405
    found = ask(dev, "POST", f"{path}:cancel", {"terminate": True}).json
    assert found["state"] == "TASK_STATE_TERMINATED"
    assert [entry["event"] for entry in found["journal"]] == ["CREATED", "TERMINATED"]


def test_a_wait_that_ends_first_says_so(dev: str) -> None:
    path = ask(dev, "POST", TASKS, echo("later", delay="3600s")).headers["location"]
    waited = ask(dev, "GET", f"{path}:wait?timeout=0.05s")
    assert waited.status == 200
    assert "done" not in waited.json
    assert waited.json["task"]["state"] == "TASK_STATE_SCHEDULED"


def fresh_uuid() -> str:
    """A UUID version 7 of now."""
    return str(UUID(bytes=fresh_request_id(SystemClock().now().wall_ms, bytes(10))))


def test_a_key_of_another_time_has_expired(dev: str) -> None:
    """Its first sending would have made a task whose bucket was removed long ago."""
    headers = {"Idempotency-Key": "018f2f5e-7a3b-7c21-9d4e-5f6071829304"}
    late = ask(dev, "POST", TASKS, echo("late", delay="3600s"), headers)
    assert (late.status, late.reason) == (404, "TASK_EXPIRED")


@pytest.mark.parametrize("key", [fresh_uuid(), "order-17", '"order 18"'], ids=["uuid", "a", "b"])
def test_the_same_key_is_the_same_task(dev: str, key: str) -> None:
    headers = {"Idempotency-Key": key}
    replies = [ask(dev, "POST", TASKS, echo(key, delay="3600s"), headers) for _ in range(3)]
    assert [reply.status for reply in replies] == [201] * 3
    assert len({reply.json["name"] for reply in replies}) == 1
    other = ask(dev, "POST", TASKS, echo("something else", delay="3600s"), headers)
    assert (other.status, other.reason) == (409, "REQUEST_ID_REUSED")


def test_a_check_creates_nothing(dev: str) -> None:
    owner = echo("x", owner="only-checked")
    checked = ask(dev, "POST", f"{TASKS}?validateOnly=true", owner)
    assert checked.status == 200
    assert "location" not in checked.headers
    assert ask(dev, "GET", f"{TASKS}?owner=only-checked").json == {}


def test_many_are_created_and_each_one_fails_by_itself(dev: str) -> None:
    requests = [{"task": echo("a")}, {"task": {"handler": "9"}}, {"task": echo("b")}]
    reply = ask(dev, "POST", f"{TASKS}:batchCreate", {"requests": requests})
    assert reply.status == 200
    assert [next(iter(each)) for each in reply.json["results"]] == ["task", "error", "task"]
    assert reply.json["results"][1]["error"]["field"] == "task.handler"


def test_a_schedule_lives_its_life_over_http(dev: str) -> None:
    schedule = {"task": echo("tick"), "interval": {"every": "3600s"}}
    made = ask(dev, "POST", "/v1/namespaces/-/schedules", schedule)
    assert made.status == 201
    path = made.headers["location"]
    assert ask(dev, "GET", path).json["interval"]["every"] == "3600s"
    assert ask(dev, "DELETE", path).json == {}
    assert ask(dev, "GET", path).json["ended"] is True


def test_errors_name_fields_in_both_shapes(dev: str) -> None:
    wrong = {"handler": "9", "priority": 99}
    fields = ["task.handler", "task.priority"]
    shown = ask(dev, "POST", TASKS, wrong)
    assert shown.status == 400
    found = shown.json["error"]["details"][1]["fieldViolations"]
    assert [each["field"] for each in found] == fields
    problem = ask(dev, "POST", TASKS, wrong, {"Accept": "application/problem+json"})
    assert problem.headers["content-type"] == "application/problem+json"
    assert (problem.json["status"], problem.json["reason"]) == (400, "INVALID_REQUEST")
    assert [each["field"] for each in problem.json["errors"]] == fields


MISSING = f"/v1/namespaces/-/tasks/{'0' * 40}"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "reason"),
    [
        ("GET", "/v1/nowhere", None, {}, 404, "PATH_NOT_FOUND"),
        ("GET", "/v1/namespaces/other/tasks/" + "0" * 40, None, {}, 404, "TASK_NOT_FOUND"),
        ("GET", MISSING[:-1], None, {}, 400, "INVALID_REQUEST"),
        ("GET", "/v1/namespaces/%FF/tasks", None, {}, 400, "INVALID_REQUEST"),
        ("GET", f"{TASKS}?owner=%FF", None, {}, 400, "INVALID_REQUEST"),
        ("GET", f"{TASKS}?colour=red", None, {}, 400, "INVALID_REQUEST"),
        ("GET", "/v1/namespaces/other/tasks", None, {}, 403, "PERMISSION_DENIED"),
        ("PUT", TASKS, {}, {}, 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/", {}, {}, 405, "METHOD_NOT_ALLOWED"),
        ("POST", TASKS, b"{", {}, 400, "INVALID_REQUEST"),
        ("POST", TASKS, b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415,
         "UNSUPPORTED_MEDIA_TYPE"),
        ("POST", TASKS, b" " * (MAX_BODY_BYTES + 1), {}, 413, "BODY_TOO_LARGE"),
        ("POST", f"{MISSING}:cancel", None, {"Origin": "http://evil.example"}, 403,
         "FOREIGN_ORIGIN"),
        ("GET", "/v1/cluster", None, {"Host": "evil.example"}, 403, "FOREIGN_ORIGIN"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    dev: str,
    method: str,
    path: str,
    body: object,
    headers: Mapping[str, str],
    status: int,
    reason: str,
) -> None:
    reply = ask(dev, method, path, body, headers)
    assert (reply.status, reply.reason) == (status, reason)
    assert "access-control-allow-origin" not in reply.headers


def test_head_and_options_are_answered(dev: str) -> None:
    whole, head = ask(dev, "GET", "/openapi.json"), ask(dev, "HEAD", "/openapi.json")
    assert (head.status, head.raw) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.raw))
    options = ask(dev, "OPTIONS", TASKS)
    assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert ask(dev, "OPTIONS", "/v1/nowhere").status == 404


def test_the_door_describes_itself(dev: str) -> None:
    committed = json.loads((ROOT / "docs" / "api" / "openapi.json").read_text())
    assert ask(dev, "GET", "/openapi.json").json == committed
    page = ask(dev, "GET", "/")
    assert page.headers["content-type"].startswith("text/html")
    assert "none" in page.headers["content-security-policy"]
    assert b"/v1/{parent=namespaces/*}/tasks:batchCreate" in page.raw


def test_bytes_that_are_no_http_do_no_harm(dev: str) -> None:
    host, _, port = dev.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as connection:
        connection.sendall(b"\x00\xff\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert ask(dev, "GET", "/v1/cluster").json["leader"] == "coordinator-1"


def test_addresses_that_others_reach_are_refused(tmp_path: Path) -> None:
    server = DevServer(tmp_path, http=("--http", "0.0.0.0:0"))
    with ending(server), pytest.raises(AssertionError, match="ended with 2"):
        server.start()
    assert "--http: 0.0.0.0:0 can be reached from other machines" in server.output()


@pytest.mark.asyncio
async def test_open_access_is_never_served_to_others() -> None:
    config = DevConfig(
        listen="127.0.0.1:0", data=None, slots=1, start_log=None, version="1", http="0.0.0.0:0"
    )
    cluster = DevCluster(config, OpenLoopback(config.listen), {})
    with pytest.raises(NotLoopback):
        await cluster.start()


def stored(key: str, role: Role) -> StoredKey:
    return StoredKey(
        digest=key_digest(key, PEPPER),
        subject=key.split(".")[1],
        namespace="shop",
        roles=frozenset({role}),
    )


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[str]:
    """Where a cluster that asks for keys answers HTTP."""
    keys = {"shop": stored(SHOP, Role.SUBMITTER), "viewer": stored(VIEWER, Role.VIEWER)}
    config = DevConfig(
        listen="127.0.0.1:0", data=None, slots=1, start_log=None, version="1", http="127.0.0.1:0"
    )
    cluster = DevCluster(config, ApiKeys(keys, PEPPER, SystemClock()), {})
    await cluster.start()
    try:
        yield cluster.http_address
    finally:
        await cluster.stop()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.asyncio
async def test_keys_are_asked_for_and_roles_kept(guarded: str) -> None:
    async def status(method: str, path: str, body: object, headers: dict[str, str]) -> Reply:
        return await asyncio.to_thread(ask, guarded, method, path, body, headers)

    for headers in ({}, bearer("tb.shop.wrong"), {"Authorization": SHOP}, bearer("")):
        reply = await status("GET", TASKS, None, headers)
        assert (reply.status, reply.reason) == (401, "UNAUTHENTICATED")
        assert reply.headers["www-authenticate"] == "Bearer"
    made = await status("POST", TASKS, echo("x"), bearer(SHOP))
    assert made.status == 201
    assert made.json["name"].startswith("namespaces/shop/tasks/")
    assert made.json["owner"] == "shop"
    path = made.headers["location"]
    assert (await status("GET", path, None, bearer(VIEWER))).status == 200
    refused = await status("POST", TASKS, echo("x"), bearer(VIEWER))
    assert (refused.status, refused.reason) == (403, "PERMISSION_DENIED")
    assert (await status("GET", "/v1/cluster", None, bearer(SHOP))).status == 403
    urgent = await status("POST", TASKS, echo("x", priority=9), bearer(SHOP))
    assert urgent.json["error"]["details"][1]["fieldViolations"][0]["field"] == "task.priority"


@pytest.mark.asyncio
async def test_who_waits_while_the_server_stops_is_sent_elsewhere() -> None:
    config = DevConfig(
        listen="127.0.0.1:0", data=None, slots=1, start_log=None, version="1", http="127.0.0.1:0"
    )
    cluster = DevCluster(config, OpenLoopback(config.listen), {})
    await cluster.start()
    address = cluster.http_address
    made = await asyncio.to_thread(ask, address, "POST", TASKS, echo("x", delay="3600s"))
    asked = threading.Event()

    def wait_over_http() -> Reply:
        host, _, port = address.rpartition(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=DEADLINE_S)) as connection:
            connection.request("GET", f"{made.headers['location']}:wait?timeout=30s")
            asked.set()
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(status=answer.status, headers=names, raw=answer.read())

    waiting = asyncio.create_task(asyncio.to_thread(wait_over_http))
    await asyncio.to_thread(asked.wait, DEADLINE_S)
    # A request after it on the same loop is answered: the wait before it is in hand by then.
    assert (await asyncio.to_thread(ask, address, "GET", "/v1/cluster")).status == 200
    await cluster.stop()
    reply = await waiting
    assert (reply.status, reply.reason) == (503, "DRAINING")
    assert int(reply.headers["retry-after"]) >= 1
