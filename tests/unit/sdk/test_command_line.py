"""The command line with an injected client: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import click
import grpc
import pytest
from click.testing import CliRunner, Result
from google.protobuf import json_format, timestamp_pb2
from google.rpc import error_details_pb2
from timeball import errors
from timeball.cli.failures import BY_CODE, exit_code
from timeball.cli.lazy import LazyGroup
from timeball.cli.output import draw, plain
from timeball.cli.root import root
from timeball.cli.session import Session
from timeball.v1 import admin_service_pb2, task_pb2, task_service_pb2

if TYPE_CHECKING:
    from tests.unit.sdk.conftest import Door

OTHER_ID = "9" * 40
DUE = timestamp_pb2.Timestamp(seconds=1893456000, nanos=250_000_000)


def run(door: Door, *arguments: str, stdin: str | None = None) -> Future[Result]:
    session = Session(connect=lambda _: door.client)
    return door.start(CliRunner().invoke, root, list(arguments), obj=session, input=stdin)


def test_create_says_what_was_asked_and_prints_a_line(door: Door) -> None:
    running = run(
        door,
        *("task", "create", "billing.charge", '{"user": "u1"}', "--at", "2030-01-01T00:00:00Z"),
        *("--priority", "9", "--label", "team=billing", "--label", "empty=", "--selector", "gpu=a"),
        *("--max-attempts", "3", "--attempt-timeout", "30s", "--at-most-once", "--owner", "me"),
        *("--request-id", "0189d5f1-0000-7000-8000-000000000001"),
    )
    sent = door.take()
    task = sent.request.task
    assert task.payload.data == b'{"user":"u1"}'
    assert task.run_time.seconds == 1893456000
    assert task.priority == 9
    assert task.labels == {"team": "billing", "empty": ""}
    assert task.selector == {"gpu": "a"}
    assert task.retry.max_attempts == 3
    assert task.timeouts.start_to_close.seconds == 30
    assert task.delivery_mode == task_pb2.DELIVERY_MODE_AT_MOST_ONCE
    assert task.owner == "me"
    assert sent.request.request_id == "0189d5f1-0000-7000-8000-000000000001"
    made = door.task(due_time=DUE, effective_priority=9)
    sent.answer(task_service_pb2.CreateTaskResponse(task=made))
    result = door.finish(running)
    assert result.exit_code == 0
    header, line = result.stdout.splitlines()
    assert header.split() == ["ID", "HANDLER", "STATE", "DUE", "ATTEMPT", "PRIORITY"]
    due = "2030-01-01T00:00:00.250Z"
    assert line.split() == [door.task_id, "billing.charge", "SCHEDULED", due, "0", "9"]


def test_create_reads_arguments_from_standard_input(door: Door) -> None:
    running = run(door, "task", "create", "a", "-", "--in", "1h30m", stdin='{"n": 1}')
    sent = door.take()
    assert sent.request.task.payload.data == b'{"n":1}'
    assert sent.request.task.delay.seconds == 5400
    sent.answer(door.created())
    assert door.finish(running).exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("task", "create", "a", "[1]"),
        ("task", "create", "a", "{"),
        ("task", "create", "a", "--label", "nothing"),
        ("task", "create", "a", "--at", "tomorrow"),
        ("task", "create", "a", "--at", "2030-01-01T00:00:00"),
        ("task", "create", "a", "--in", "soon"),
        ("task", "create", "a", "--priority", "high"),
        ("task", "create"),
        ("task", "list", "--state", "finished"),
        ("task", "list", "--everybody", "--owner", "me"),
        ("task", "list", "--due-from", "soon"),
        ("task", "wait", "x", "--timeout", "soon"),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_exit_code_2_and_nothing_is_sent(
    door: Door, arguments: tuple[str, ...]
) -> None:
    result = door.finish(run(door, *arguments))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr
    assert door.channel.calls.empty()


def test_json_is_the_api_s_resource(door: Door) -> None:
    task = door.task("RUNNING", due_time=DUE, labels={"team": "billing"})
    running = run(door, "task", "get", door.task_id, "-o", "json")
    door.take().answer(task_service_pb2.GetTaskResponse(task=task))
    result = door.finish(running)
    assert json_format.Parse(result.stdout, task_pb2.Task()) == task
    assert json.loads(result.stdout)["state"] == "TASK_STATE_RUNNING"


def test_get_shows_attempts_and_journal(door: Door) -> None:
    failure = task_pb2.Failure(kind="Timeout", message="the bank\nsleeps")
    attempt = task_pb2.Attempt(
        number=1, executor="executor-1", outcome=task_pb2.ATTEMPT_OUTCOME_FAILED, failure=failure
    )
    attempt.lateness.FromMilliseconds(7)
    entry = task_pb2.JournalEntry(seq=1, epoch=3, event="CREATED", state="PENDING", time=DUE)
    task = door.task("RETRYING", attempts=[attempt], journal=[entry], failure=failure)
    running = run(door, "task", "get", door.task_id)
    door.take().answer(task_service_pb2.GetTaskResponse(task=task))
    result = door.finish(running)
    assert result.exit_code == 0
    for expected in ("RETRYING", "executor-1", "7 ms", "FAILED", "the bank sleeps", "CREATED"):
        assert expected in result.stdout


def test_list_prints_whole_cells_without_colours(door: Door) -> None:
    long = task_pb2.Task(name=f"namespaces/n/tasks/{'9' * 300}", handler="h" * 200)
    running = run(door, "task", "list", "--state", "failed", "--limit", "2")
    sent = door.take()
    assert list(sent.request.states) == [task_pb2.TASK_STATE_FAILED]
    assert sent.request.page_size == 2
    assert sent.request.owner == ""
    sent.answer(task_service_pb2.ListTasksResponse(tasks=[door.task("FAILED"), long]))
    result = door.finish(running)
    assert "9" * 300 in result.stdout
    assert "h" * 200 in result.stdout
    assert "\x1b" not in result.stdout


def test_list_says_whom_what_and_when(door: Door) -> None:
    running = run(
        door,
        *("task", "list", "--everybody", "--state", "failed", "--label", "team=billing"),
        *("--from", "2030-01-01T00:00:00Z", "--due-to", "2030-01-02T00:00:00Z"),
    )
    request = (sent := door.take()).request
    assert (request.owner, request.label) == ("-", "team=billing")
    assert (request.created_from.seconds, request.due_to.seconds) == (1893456000, 1893542400)
    sent.answer(task_service_pb2.ListTasksResponse())
    assert door.finish(running).exit_code == 0


def test_list_as_json(door: Door) -> None:
    running = run(door, "task", "list", "-o", "json")
    door.take().answer(task_service_pb2.ListTasksResponse(tasks=[door.task()]))
    assert [t["handler"] for t in json.loads(door.finish(running).stdout)["tasks"]] == [
        "billing.charge"
    ]


@pytest.mark.parametrize(
    ("state", "cause", "code"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", task_pb2.FAILURE_CAUSE_EXHAUSTED, 10),
        ("FAILED", task_pb2.FAILURE_CAUSE_EXPIRED, 12),
        ("CANCELLED", 0, 11),
        ("TERMINATED", 0, 10),
    ],
)
def test_waiting_tells_the_end_by_its_exit_code(
    door: Door, state: str, cause: task_pb2.FailureCause.ValueType, code: int
) -> None:
    running = run(door, "task", "wait", door.task_id)
    task = door.task(state, cause=cause)
    door.take().answer(task_service_pb2.WaitTaskResponse(task=task, done=True))
    result = door.finish(running)
    assert result.exit_code == code
    assert state in result.stdout


def test_whoever_waits_is_told_once_that_the_server_is_away(door: Door) -> None:
    running = run(door, "task", "wait", door.task_id)
    for _ in range(3):
        door.take().fail(grpc.StatusCode.UNAVAILABLE, message="nobody is there")
        door.time.sleep_for(2)
    task = door.task("SUCCEEDED")
    door.take().answer(task_service_pb2.WaitTaskResponse(task=task, done=True))
    result = door.finish(running)
    assert result.exit_code == 0
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["waiting"]
    assert "nobody is there" in result.stderr


def test_whoever_watches_is_told_too_and_others_are_not(door: Door) -> None:
    running = run(door, "task", "watch", door.task_id)
    door.take_watch().end(grpc.StatusCode.UNAVAILABLE, message="nobody is there")
    door.time.sleep_for(2)
    response = task_service_pb2.WatchTasksResponse()
    response.changes.add(name=door.task_name, task=door.task("SUCCEEDED"), done=True)
    door.take_watch().say(response)
    assert door.finish(running).stderr.startswith("waiting: trying again: ")
    running = run(door, "task", "get", door.task_id)
    door.take().fail(grpc.StatusCode.UNAVAILABLE, message="nobody is there")
    door.time.sleep_for(2)
    door.take().answer(task_service_pb2.GetTaskResponse(task=door.task("SUCCEEDED")))
    assert door.finish(running).stderr == ""


def test_watching_prints_a_line_per_change_and_ends_with_the_first_failure(door: Door) -> None:
    running = run(door, "task", "watch", door.task_id, OTHER_ID, "-o", "json")
    stream = door.take_watch()
    assert list(stream.request.names) == [door.task_name, f"namespaces/n/tasks/{OTHER_ID}"]
    response = task_service_pb2.WatchTasksResponse()
    response.changes.add(name=door.task_name, task=door.task("RUNNING"))
    missing = task_service_pb2.ItemError(code="NOT_FOUND", reason="TASK_NOT_FOUND", message="none")
    response.changes.add(name=f"namespaces/n/tasks/{OTHER_ID}", error=missing, done=True)
    response.changes.add(name=door.task_name, task=door.task("FAILED"), done=True)
    stream.say(response)
    outcome = door.finish(running)
    told = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [each["done"] for each in told] == [False, True, True]
    assert told[0]["task"]["state"] == "TASK_STATE_RUNNING"
    assert told[1]["error"]["reason"] == "TASK_NOT_FOUND"
    assert outcome.exit_code == 3


def test_watching_for_people(door: Door) -> None:
    running = run(door, "task", "watch", door.task_id, "--timeout", "5s")
    stream = door.take_watch()
    assert stream.timeout_s == 5.0
    response = task_service_pb2.WatchTasksResponse()
    response.changes.add(name=door.task_name, task=door.task("SUCCEEDED"), done=True)
    stream.say(response)
    outcome = door.finish(running)
    assert (outcome.exit_code, "SUCCEEDED" in outcome.stdout) == (0, True)
    assert len(outcome.stdout.splitlines()) == 1


def test_create_and_wait(door: Door) -> None:
    running = run(door, "task", "create", "a", "--wait", "-o", "json")
    door.take().answer(door.created())
    task = door.task("FAILED")
    door.take().answer(task_service_pb2.WaitTaskResponse(task=task, done=True))
    result = door.finish(running)
    assert result.exit_code == 10
    assert json.loads(result.stdout)["state"] == "TASK_STATE_FAILED"


def test_patience_that_ends_is_124(door: Door) -> None:
    running = run(door, "task", "wait", door.task_id, "--timeout", "3s")
    sent = door.take()
    door.time.sleep_for(3)
    sent.answer(task_service_pb2.WaitTaskResponse(task=door.task("RUNNING")))
    result = door.finish(running)
    assert result.exit_code == 124
    assert "hint: " in result.stderr


@pytest.mark.parametrize(
    ("status", "reason", "code", "hint"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", 2, ""),
        (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND", 3, "task list"),
        (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", 4, "TIMEBALL_API_KEY"),
        (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", 4, ""),
        (grpc.StatusCode.FAILED_PRECONDITION, "TOO_LATE", 5, "task get"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", 7, ""),
        (grpc.StatusCode.INTERNAL, "INTERNAL", 1, ""),
    ],
)
def test_errors_are_a_sentence_a_hint_and_an_exit_code(
    door: Door, status: grpc.StatusCode, reason: str, code: int, hint: str
) -> None:
    running = run(door, "task", "cancel", door.task_id, "--reason", "r")
    wrong = error_details_pb2.BadRequest(
        field_violations=[{"field": "name", "description": "give an id"}]
    )
    door.take().fail(status, reason, wrong, message="what went wrong")
    result = door.finish(running)
    assert result.exit_code == code
    assert result.stdout == ""
    first, field, *hints = result.stderr.splitlines()
    assert first == "error: what went wrong"
    assert field == "  name: give an id"
    assert len(hints) == bool(hint)
    assert all(line.startswith("hint: ") and hint in line for line in hints)


def test_nobody_there_is_6_with_the_next_step(door: Door) -> None:
    door.client = door.connect(deadline="1ms")
    running = run(door, "cluster", "status")
    door.take().fail(grpc.StatusCode.UNAVAILABLE, message="connection refused")
    result = door.finish(running)
    assert result.exit_code == 6
    assert "timeball dev" in result.stderr


def test_every_error_of_the_family_has_a_documented_exit_code() -> None:
    for cls in errors.leaves().values():
        assert exit_code(cls("m")) in {1, 2, 3, 4, 5, 6, 7, 10, 124}
    assert {cls.code for cls in errors.leaves().values()} - set(BY_CODE) == {"INTERNAL", "UNKNOWN"}


def test_an_interruption_is_130(door: Door) -> None:
    def interrupt(_: Session) -> None:
        raise KeyboardInterrupt

    session = Session(connect=interrupt)  # type: ignore[arg-type]
    assert CliRunner().invoke(root, ["cluster", "status"], obj=session).exit_code == 130


def test_cluster_status(door: Door) -> None:
    node = admin_service_pb2.Node(name="node-1", role="coordinator", leader=True, start_time=DUE)
    shard = admin_service_pb2.Shard(shard=3, owner="node-2", epoch=7)
    cluster = admin_service_pb2.GetClusterResponse(nodes=[node], shards=[shard], store="sqlite")
    running = run(door, "cluster", "status")
    door.take().answer(cluster)
    result = door.finish(running)
    for expected in ("sqlite", "coordinator (leader)", "node-2", "7"):
        assert expected in result.stdout
    running = run(door, "cluster", "status", "-o", "json")
    door.take().answer(cluster)
    printed = door.finish(running).stdout
    assert json_format.Parse(printed, admin_service_pb2.GetClusterResponse()) == cluster


def test_cluster_shards_shows_figures_and_says_who_is_silent(door: Door) -> None:
    known = admin_service_pb2.Shard(
        shard=3, owner="node-2", epoch=7, assigned="node-2", reason="node-1 left", answered=True
    )
    known.tasks, known.waiting, known.due_now, known.starts = 12, 5, 1, 60
    known.lateness_p50.FromMilliseconds(7)
    known.lateness_p99.FromMilliseconds(1_500)
    silent = admin_service_pb2.Shard(shard=4, owner="node-3", epoch=8)
    free = admin_service_pb2.Shard(shard=5)
    cluster = admin_service_pb2.GetClusterResponse(shards=[known, silent, free])
    running = run(door, "cluster", "shards")
    door.take().answer(cluster)
    _, first, second, third = door.finish(running).stdout.splitlines()
    figures = ["12", "5", "1", "60", "7", "ms", "1500", "ms"]
    assert first.split() == ["3", "node-2", "7", "node-2", "-", *figures, "node-1", "left"]
    assert second.split()[:7] == ["4", "node-3", "8", "-", "-", "no", "answer"]
    assert third.split()[:7] == ["5", "-", "-", "-", "-", "no", "owner"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (59, "59s"), (3_600, "1h 0m"), (90_061, "1d 1h"), (86_400 * 400, "400d 0h")],
)
def test_cluster_nodes_shows_shards_state_and_uptime(door: Door, seconds: int, shown: str) -> None:
    node = admin_service_pb2.Node(
        name="node-1", role="scheduler_node", draining=True, owned_shards=[0, 2]
    )
    node.uptime.FromSeconds(seconds)
    running = run(door, "cluster", "nodes")
    door.take().answer(admin_service_pb2.GetClusterResponse(nodes=[node]))
    line = door.finish(running).stdout.splitlines()[1]
    assert "0 2" in line
    assert "draining" in line
    assert line.endswith(f"  {shown}")


def test_node_drain_asks_once_and_shows_the_node(door: Door) -> None:
    running = run(door, "node", "drain", "node-1", "--request-id", "r-1", "-o", "json")
    sent = door.take()
    assert (sent.request.node, sent.request.request_id) == ("node-1", "r-1")
    node = admin_service_pb2.Node(name="node-1", draining=True)
    sent.answer(admin_service_pb2.DrainNodeResponse(node=node))
    assert json.loads(door.finish(running).stdout) == {"name": "node-1", "draining": True}


def test_node_drain_of_nobody_is_exit_code_3_with_a_hint(door: Door) -> None:
    running = run(door, "node", "drain", "nobody")
    door.take().fail(grpc.StatusCode.NOT_FOUND, "NODE_NOT_FOUND", message="no living node nobody")
    result = door.finish(running)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "timeball cluster nodes" in result.stderr


def test_dlq_list_shows_why_tasks_failed(door: Door) -> None:
    running = run(door, "dlq", "list", "--limit", "5", "--to", "2030-01-01T00:00:00Z")
    sent = door.take()
    assert (sent.request.page_size, sent.request.failed_to.seconds) == (5, 1893456000)
    letter = admin_service_pb2.DeadLetter(
        task=door.task().name,
        handler="billing.charge",
        owner="clerk",
        cause=task_pb2.FAILURE_CAUSE_EXHAUSTED,
        attempts=3,
        message="the bank\nsleeps",
        fail_time=DUE,
        redriven_as="namespaces/default/tasks/again",
    )
    sent.answer(admin_service_pb2.ListDeadLettersResponse(dead_letters=[letter]))
    line = door.finish(running).stdout.splitlines()[1]
    assert line.split()[:5] == [door.task_id, "billing.charge", "clerk", "EXHAUSTED", "3"]
    assert line.split()[6] == "again"
    assert line.endswith("the bank sleeps")


def test_the_options_of_the_root_reach_the_client() -> None:
    seen = []

    def connect(session: Session) -> None:
        seen.append((session.address, session.namespace, session.deadline))
        raise errors.Unavailable("not today")

    session = Session(connect=connect)  # type: ignore[arg-type]
    line = ["--address", "a:1", "--namespace", "n", "--deadline", "9s", "cluster", "status"]
    assert CliRunner().invoke(root, line, obj=session).exit_code == 6
    assert seen == [("a:1", "n", "9s")]


def test_help_names_every_command_and_imports_none() -> None:
    class Group(LazyGroup):
        own = {"broken": ("no.such.module:group", "Never imported.")}  # noqa: RUF012

    group = Group("group")
    result = CliRunner().invoke(group, ["--help"])
    assert result.exit_code == 0
    assert "Never imported." in result.stdout
    assert group.list_commands(click.Context(group))[0] == "broken"
    for command in ("task", "cluster", "node", "dlq"):
        assert command in CliRunner().invoke(root, ["--help"]).stdout


def test_drawn_tables_fold_and_cut_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    draw(("state", "why"), [("FAILED", "9" * 300)])
    assert capsys.readouterr().out.count("9") == 300


def joined(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program next to a distribution whose commands joined it."""
    info = folder / "joined-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: joined\nVersion: 1.0\n")
    points = "[timeball.commands]\nlater = joined_later:command\nbroken = joined_broken:command\n"
    (info / "entry_points.txt").write_text(points)
    code = "import click\n@click.command()\ndef command(): click.echo('joined in')\n"
    (folder / "joined_later.py").write_text(code)
    (folder / "joined_broken.py").write_text("import no_such_module_anywhere\n")
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\nfrom timeball.cli.main import main"
    return subprocess.run(
        [sys.executable, "-c", f"{program}\nmain()", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_commands_of_other_distributions_join_and_load_when_run(tmp_path: Path) -> None:
    assert joined(tmp_path, "later").stdout == "joined in\n"


def test_help_lists_joined_commands_without_importing_them(tmp_path: Path) -> None:
    outcome = joined(tmp_path, "--help")
    assert outcome.returncode == 0
    assert "(of joined)" in outcome.stdout


def test_a_joined_command_that_lacks_a_module_says_which(tmp_path: Path) -> None:
    outcome = joined(tmp_path, "broken")
    assert outcome.returncode == 1
    assert "no_such_module_anywhere" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_plain_tables_line_up() -> None:
    assert plain(("id", "state"), [("1", "RUNNING"), ("22", "-")]) == [
        "ID  STATE",
        "1   RUNNING",
        "22  -",
    ]
