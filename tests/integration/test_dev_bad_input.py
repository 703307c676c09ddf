"""Hostile and boundary values over the wire, and a `timeball dev` that is configured wrongly.

Every refusal names the field and says what would be accepted; nothing is written, no call fails
on a bug.
"""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from timeball.errors import InvalidRequest, TimeballError
from timeball.v1 import (
    schedule_service_pb2,
    schedule_service_pb2_grpc,
    task_pb2,
    task_service_pb2,
    task_service_pb2_grpc,
)

from tests.support.bad_requests import REFUSED, Create
from tests.support.dev_server import ROOT, DevServer, environment, timeball_command
from timeball_server.core import limits
from timeball_server.core.buckets import minute_of
from timeball_server.core.ids import Bucket, IdParts, ShardId, encode_id
from timeball_server.rpc.status import error_from_rpc

DEADLINE_S = 20.0
CREATE = "/timeball.v1.TaskService/CreateTask"
CLUSTER_TABLES = ("shards", "owners", "checkpoints", "audit")
"""Written by the cluster of itself; of callers, the audit log holds what administrators do."""
HOME = Bucket(minute_of(1_800_000_000_000), ShardId(1))
UNKNOWN_ID = encode_id(IdParts(HOME, b"nobody's task id"))
UNKNOWN_TASK = f"namespaces/-/tasks/{UNKNOWN_ID}"
DAMAGED_TASK = "namespaces/-/tasks/" + "0" * 40


@pytest.fixture(scope="module")
def channel(dev: DevServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(dev.address) as made:
        yield made


@pytest.fixture(scope="module")
def tasks(channel: grpc.Channel) -> Any:
    return task_service_pb2_grpc.TaskServiceStub(channel)


def update(*paths: str, **task: Any) -> task_service_pb2.UpdateTaskRequest:
    """An update with this mask of a task that says so."""
    mask = FieldMask(paths=paths)
    return task_service_pb2.UpdateTaskRequest(task=task_pb2.Task(**task), update_mask=mask)


def row_counts(dev: DevServer) -> dict[str, int]:
    """How many rows every table has, but for those that a cluster keeps about itself."""
    with closing(sqlite3.connect(f"file:{dev.data}?mode=ro", uri=True)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for (name,) in names.fetchall()
            if name not in CLUSTER_TABLES
        }


def refusal(call: Callable[..., Any], request: Any, **more: Any) -> TimeballError:
    """The family's error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=DEADLINE_S, **more)
    return error_from_rpc(caught.value)  # type: ignore[arg-type] # same shape as grpc.aio's


@pytest.fixture
def nothing_written(dev: DevServer, tasks: Any) -> Iterator[None]:
    """Whatever the test sends, no table has more rows afterwards and the list shows nothing new."""
    before = row_counts(dev)
    yield
    assert row_counts(dev) == before
    listed = tasks.ListTasks(
        task_service_pb2.ListTasksRequest(parent="namespaces/-"), timeout=DEADLINE_S
    )
    assert list(listed.tasks) == []
    assert dev.code is None
    assert "Traceback" not in dev.output()


@pytest.mark.usefixtures("nothing_written")
def test_every_hostile_field_of_a_creation_is_refused_with_its_path(tasks: Any) -> None:
    """One test for the whole table: rows are counted once, before and after all of it."""
    wrong: list[str] = []
    for field, request, words in REFUSED:
        error = refusal(tasks.CreateTask, request)
        paths = [each.field for each in error.violations]
        said = " ".join([error.message, *(each.description for each in error.violations)])
        if not isinstance(error, InvalidRequest) or field not in paths or words not in said:
            wrong.append(f"{field}: {type(error).__name__} {paths} {said}")
    assert wrong == []
    assert len(REFUSED) > 100


@pytest.mark.usefixtures("nothing_written")
def test_an_instant_beyond_the_horizon_is_refused_by_the_clock_of_now(tasks: Any) -> None:
    horizon_s = round(datetime.now(UTC).timestamp()) + limits.HORIZON_MS // 1_000
    late = Create(task=task_pb2.Task(handler="it.echo", run_time=Timestamp(seconds=horizon_s + 60)))
    error = refusal(tasks.CreateTask, late)
    assert [each.field for each in error.violations] == ["task.run_time"]
    fine = Create(
        task=task_pb2.Task(handler="it.echo", run_time=Timestamp(seconds=horizon_s - 60)),
        validate_only=True,
    )
    assert tasks.CreateTask(fine, timeout=DEADLINE_S).task.handler == "it.echo"


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"\x12\x05\x12\x03a\xffb", "task.handler"),
        (b"\x12\x07\x12\x05a\xed\xa0\x80b", "task.handler"),
        (b"\x12\x06\x12\x04a\xc0\x80b", "task.handler"),
        (b"\x1a\x02\xff\xfe", "request_id"),
        (b"\x12\xff\xff\xff\xff\x07", ""),
        (b"\xff\xff\xff\xff", ""),
        (b"\x12", ""),
    ],
    ids=["not-utf8", "surrogate", "overlong", "request-id", "truncated", "garbage", "half"],
)
def test_bytes_that_are_no_request_are_refused(
    channel: grpc.Channel, raw: bytes, field: str
) -> None:
    call: Any = channel.unary_unary(CREATE)
    error = refusal(call, raw)
    assert isinstance(error, InvalidRequest), error
    assert field in [each.field for each in error.violations] or not field


@pytest.mark.usefixtures("nothing_written")
def test_a_message_over_the_limit_is_refused_before_it_is_read(tasks: Any) -> None:
    huge = task_pb2.Payload(data=bytes(limits.MAX_MESSAGE_BYTES + 1))
    error = refusal(tasks.CreateTask, Create(task=task_pb2.Task(handler="a", payload=huge)))
    assert error.code == "RESOURCE_EXHAUSTED"


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "Bearer " + "x" * 4_000)],
        [("authorization", "")],
        [("authorization", "Basic dGI6dGI=")],
        [("x-unknown", "value"), ("x-binary-bin", b"\x00\xff")],
        [("timeball-namespace", "another")],
    ],
)
def test_metadata_that_dev_does_not_know_changes_nothing(
    tasks: Any, metadata: list[tuple[str, str | bytes]]
) -> None:
    wish = Create(task=task_pb2.Task(handler="it.echo"), validate_only=True)
    answer = tasks.CreateTask(wish, timeout=DEADLINE_S, metadata=metadata)
    assert answer.task.handler == "it.echo"


@pytest.mark.usefixtures("nothing_written")
def test_metadata_over_its_limit_is_refused(tasks: Any) -> None:
    metadata = [("x-much", "m" * (2 * limits.MAX_METADATA_BYTES))]
    error = refusal(tasks.ListTasks, task_service_pb2.ListTasksRequest(), metadata=metadata)
    assert error.code in {"RESOURCE_EXHAUSTED", "UNAVAILABLE"}


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("verb", "request_", "code", "field"),
    [
        ("GetTask", task_service_pb2.GetTaskRequest(name=""), "INVALID_ARGUMENT", "name"),
        ("GetTask", task_service_pb2.GetTaskRequest(name="x"), "INVALID_ARGUMENT", "name"),
        (
            "GetTask",
            task_service_pb2.GetTaskRequest(name=UNKNOWN_TASK, view=9),  # type: ignore[arg-type]
            "INVALID_ARGUMENT",
            "view",
        ),
        ("GetTask", task_service_pb2.GetTaskRequest(name=DAMAGED_TASK), "INVALID_ARGUMENT", "name"),
        ("GetTask", task_service_pb2.GetTaskRequest(name=UNKNOWN_TASK), "NOT_FOUND", ""),
        (
            "GetTask",
            task_service_pb2.GetTaskRequest(name=UNKNOWN_TASK.replace("-/t", "other/t")),
            "NOT_FOUND",
            "",
        ),
        ("CancelTask", task_service_pb2.CancelTaskRequest(name="../x"), "INVALID_ARGUMENT", "name"),
        (
            "CancelTask",
            task_service_pb2.CancelTaskRequest(name=UNKNOWN_TASK, reason="r" * 501),
            "INVALID_ARGUMENT",
            "reason",
        ),
        ("UpdateTask", update(), "INVALID_ARGUMENT", "task.name"),
        ("UpdateTask", update(name=DAMAGED_TASK, priority=1), "INVALID_ARGUMENT", "task.name"),
        ("UpdateTask", update(name=UNKNOWN_TASK), "INVALID_ARGUMENT", "update_mask"),
        ("UpdateTask", update("state", name=UNKNOWN_TASK), "INVALID_ARGUMENT", "update_mask"),
        ("UpdateTask", update("run_time", name=UNKNOWN_TASK), "INVALID_ARGUMENT", "update_mask"),
        (
            "UpdateTask",
            update(name=UNKNOWN_TASK, handler="it.echo"),
            "INVALID_ARGUMENT",
            "task.handler",
        ),
        (
            "UpdateTask",
            update("*", name=UNKNOWN_TASK, owner="me"),
            "INVALID_ARGUMENT",
            "task.owner",
        ),
        (
            "UpdateTask",
            update(name=UNKNOWN_TASK, priority=1, etag="1"),
            "INVALID_ARGUMENT",
            "task.etag",
        ),
        ("UpdateTask", update(name=UNKNOWN_TASK, priority=1), "NOT_FOUND", ""),
        (
            "RescheduleTask",
            task_service_pb2.RescheduleTaskRequest(name="../x"),
            "INVALID_ARGUMENT",
            "name",
        ),
        (
            "RescheduleTask",
            task_service_pb2.RescheduleTaskRequest(name=UNKNOWN_TASK, etag="yesterday"),
            "INVALID_ARGUMENT",
            "etag",
        ),
        (
            "RescheduleTask",
            task_service_pb2.RescheduleTaskRequest(name=UNKNOWN_TASK, delay=Duration(seconds=-1)),
            "INVALID_ARGUMENT",
            "delay",
        ),
        (
            "RescheduleTask",
            task_service_pb2.RescheduleTaskRequest(name=UNKNOWN_TASK),
            "NOT_FOUND",
            "",
        ),
        ("DeleteTask", task_service_pb2.DeleteTaskRequest(name=""), "INVALID_ARGUMENT", "name"),
        ("DeleteTask", task_service_pb2.DeleteTaskRequest(name=UNKNOWN_TASK), "NOT_FOUND", ""),
        (
            "RetryTask",
            task_service_pb2.RetryTaskRequest(name=UNKNOWN_TASK, request_id="x"),
            "INVALID_ARGUMENT",
            "request_id",
        ),
        ("RetryTask", task_service_pb2.RetryTaskRequest(name=UNKNOWN_TASK), "NOT_FOUND", ""),
        (
            "WaitTask",
            task_service_pb2.WaitTaskRequest(name=UNKNOWN_TASK, timeout=Duration(seconds=-1)),
            "INVALID_ARGUMENT",
            "timeout",
        ),
        ("WaitTask", task_service_pb2.WaitTaskRequest(name=UNKNOWN_TASK), "NOT_FOUND", ""),
        (
            "ListTasks",
            task_service_pb2.ListTasksRequest(page_size=-1),
            "INVALID_ARGUMENT",
            "page_size",
        ),
        (
            "ListTasks",
            task_service_pb2.ListTasksRequest(page_token="forged"),
            "INVALID_ARGUMENT",
            "page_token",
        ),
        (
            "ListTasks",
            task_service_pb2.ListTasksRequest(parent="namespaces/other"),
            "PERMISSION_DENIED",
            "parent",
        ),
        (
            "BatchCreateTasks",
            task_service_pb2.BatchCreateTasksRequest(),
            "INVALID_ARGUMENT",
            "requests",
        ),
        (
            "BatchCreateTasks",
            task_service_pb2.BatchCreateTasksRequest(requests=[Create()] * 1_001),
            "INVALID_ARGUMENT",
            "requests",
        ),
    ],
)
def test_other_verbs_refuse_as_clearly(
    tasks: Any, verb: str, request_: Any, code: str, field: str
) -> None:
    error = refusal(getattr(tasks, verb), request_)
    assert error.code == code, error
    assert field in [each.field for each in error.violations] or not field
    assert len(error.message) > 15


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("field", "interval", "task"),
    [
        ("schedule", None, task_pb2.Task(handler="it.echo")),
        ("schedule.task", Duration(seconds=1), None),
        ("schedule.interval.every", Duration(), task_pb2.Task(handler="it.echo")),
        ("schedule.interval.every", Duration(seconds=-1), task_pb2.Task(handler="it.echo")),
        ("schedule.interval.every", Duration(nanos=99_999_999), task_pb2.Task(handler="it.echo")),
        (
            "schedule.interval.every",
            Duration(seconds=157_680_001),
            task_pb2.Task(handler="it.echo"),
        ),
        ("schedule.task.handler", Duration(seconds=1), task_pb2.Task(handler="")),
        (
            "schedule.task.delay",
            Duration(seconds=1),
            task_pb2.Task(handler="it.echo", delay=Duration(seconds=1)),
        ),
    ],
)
def test_schedules_refuse_what_could_never_run(
    channel: grpc.Channel, field: str, interval: Duration | None, task: task_pb2.Task | None
) -> None:
    stub: Any = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
    schedule = schedule_service_pb2.Schedule(task=task)
    if interval is not None:
        schedule.interval.every.CopyFrom(interval)
    request = schedule_service_pb2.CreateScheduleRequest(parent="namespaces/-", schedule=schedule)
    error = refusal(stub.CreateSchedule, request)
    assert isinstance(error, InvalidRequest), error
    assert field in [each.field for each in error.violations]


# Configuration ------------------------------------------------------------------------------------


def run_dev(*arguments: str, within_s: float = 40.0) -> subprocess.CompletedProcess[str]:
    """`timeball dev` that is expected to end by itself."""
    return subprocess.run(
        timeball_command("dev", *arguments),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


def test_every_problem_of_a_configuration_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "broken.py").write_text("import timeball\nraise OSError('no licence')\n")
    (tmp_path / "file").write_text("")
    done = run_dev(
        "no.such.module",
        str(tmp_path / "absent.py"),
        str(tmp_path / "empty.py"),
        str(tmp_path / "broken.py"),
        *("--listen", "0.0.0.0:7466"),
        *("--data", str(tmp_path / "file" / "dev.db")),
        *("--start-log", str(tmp_path / "nowhere" / "starts.jsonl")),
        *("--ready-file", str(tmp_path / "nowhere" / "ready")),
    )
    assert done.returncode == 2, done.stderr
    for words in (
        *("no module 'no'", "absent.py", "empty.py has no handlers", "no licence"),
        *("0.0.0.0:7466", "127.0.0.1", "dev.db", "starts.jsonl", "ready"),
    ):
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_wrong_option_is_refused_with_a_sentence() -> None:
    done = run_dev("--memory", "--slots", "0")
    assert done.returncode == 2
    assert "'--slots': 0 is not in the range" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_another_server_holds_is_refused(dev: DevServer, tmp_path: Path) -> None:
    same_port = run_dev("--memory", "--listen", dev.address)
    same_file = run_dev("--data", str(dev.data), "--listen", "127.0.0.1:0")
    for done, words in ((same_port, dev.address), (same_file, dev.data.name)):
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert dev.code is None
