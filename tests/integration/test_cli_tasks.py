"""The command line as a user types it, against a running `timeball dev`."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from timeball._version import __version__

from tests.support.dev_server import ROOT, DevServer, environment, timeball_command
from tests.support.typed_commands import Said, typed

LIMIT_S = 30
HOUR = ("--in", "1h")
ABSENT = "0" * 40


class Shell:
    """Runs commands with TIMEBALL_ADDRESS set; keeps nothing between two of them."""

    def __init__(self, address: str) -> None:
        self._address = address

    def run(self, *words: str, text: str = "") -> Said:
        return typed(*words, text=text, TIMEBALL_ADDRESS=self._address)

    def process(self, *words: str, text: str = "") -> Said:
        """The program as a process of its own."""
        done = subprocess.run(
            timeball_command(*words),
            cwd=ROOT,
            env=environment(TIMEBALL_ADDRESS=self._address),
            input=text,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def json(self, *words: str, code: int = 0, text: str = "") -> Any:
        done = self.run(*words, "-o", "json", text=text)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def created(self, *words: str) -> str:
        """The id of a created task."""
        return str(self.json("task", "create", *words)["name"]).rpartition("/")[2]


@pytest.fixture(scope="module")
def shell(dev: DevServer) -> Shell:
    return Shell(dev.address)


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        (("task", "list", "--owner", "nobody", "-o", "json"), "", 0),
        (("task", "create", "it.echo", "-", "--wait", "-o", "json"), "not json", 2),
        (("task", "wait", ABSENT), "", 2),
        (("schedule", "get", "absent"), "", 3),
        (("node", "drain", "executor-1"), "", 5),
    ],
)
def test_a_process_says_what_the_command_said_in_ours(
    shell: Shell, words: tuple[str, ...], text: str, code: int
) -> None:
    """Everything else here is typed into this process; this is why that is as good."""
    said = shell.process(*words, text=text)
    assert said.returncode == code, said
    assert said == shell.run(*words, text=text)


def test_a_process_waits_and_ends_with_the_code_of_the_end(shell: Shell) -> None:
    done = shell.process("task", "create", "it.echo", "-", "--wait", text='{"value": "x"}')
    waiting, result = done.stderr.splitlines()
    assert (done.returncode, result) == (0, 'result: "x"')
    assert waiting.startswith("waiting for 0")
    assert "SUCCEEDED" in done.stdout
    failed = shell.process("task", "create", "it.refuse", '{"why": "closed"}', "--wait")
    assert failed.returncode == 10


def test_create_get_list_and_cancel_tell_the_same_story(shell: Shell) -> None:
    labels = ("--label", "team=a", "--priority", "7", "--owner", "anna")
    task = shell.created("it.echo", '{"value": "x"}', *HOUR, *labels)
    found = shell.json("task", "get", task)
    assert found["name"].endswith(task)
    assert (found["handler"], found["state"]) == ("it.echo", "TASK_STATE_SCHEDULED")
    assert (found["priority"], found["labels"]) == (7, {"team": "a"})
    assert [entry["event"] for entry in found["journal"]] == ["CREATED"]
    listed = shell.json("task", "list", "--owner", "anna", "--state", "SCHEDULED")
    assert [each["name"] for each in listed["tasks"]] == [found["name"]]
    cancelled = shell.json("task", "cancel", task, "--reason", "not needed")
    assert cancelled["state"] == "TASK_STATE_CANCELLED"
    table = shell.run("task", "list", "--owner", "anna")
    header, row = table.stdout.splitlines()
    assert header.split() == ["ID", "HANDLER", "STATE", "DUE", "ATTEMPT", "PRIORITY"]
    assert row.split()[:3] == [task, "it.echo", "CANCELLED"]
    told = shell.run("task", "get", task).stdout
    assert "not needed" in told
    assert "team=a" in told


def test_a_task_that_waits_is_changed_and_moved_and_run(shell: Shell) -> None:
    task = shell.created("it.echo", '{"value": "before"}', *HOUR, "--label", "team=a")
    etag = shell.json("task", "get", task)["etag"]
    change = ("--priority", "7", "--payload", "-", "--label", "team=b", "--etag", etag)
    changed = shell.json("task", "update", task, *change, text='{"value": "after"}')
    assert (changed["priority"], changed["labels"]) == (7, {"team": "b"})
    stale = shell.run("task", "update", task, "--priority", "1", "--etag", etag)
    assert (stale.returncode, stale.stdout) == (5, "")
    cleared = shell.json("task", "update", task, "--clear", "labels", "--max-attempts", "2")
    assert "labels" not in cleared
    assert cleared["retry"]["maxAttempts"] == 2
    moved = shell.json("task", "reschedule", task, "--in", "2h")
    assert moved["dueTime"] > cleared["dueTime"]
    at = shell.json("task", "reschedule", task, "--at", "2030-01-31T09:00:00Z")
    assert at["dueTime"] == "2030-01-31T09:00:00Z"
    told = shell.run("task", "retry", task)
    header, row = told.stdout.splitlines()
    assert header.split() == ["TASK", "RUNS", "AS", "STATE", "REFUSED"]
    assert row.split()[:2] == [task, task]
    assert shell.run("task", "wait", task).returncode == 0
    late = shell.run("task", "reschedule", task)
    assert late.returncode == 5
    assert "hint:" in late.stderr


def test_why_a_task_waits_is_told_in_a_sentence_and_as_json(shell: Shell) -> None:
    task = shell.created("it.echo", '{"value": "never"}', "--selector", "zone=moon")
    done = shell.run("task", "explain", task)
    assert done.returncode == 0
    assert done.stdout.startswith("waits: no executor with label zone=moon serves it.echo, since ")
    assert done.stdout.endswith(" ago); looks again: when one joins\n")
    told = shell.json("task", "explain", task)
    assert told["blocking"]["cause"] == "BLOCKING_CAUSE_NO_LABEL"
    assert told["explainTime"]


def test_several_are_retried_or_deleted_each_by_itself(shell: Shell) -> None:
    failed = shell.created("it.refuse", '{"why": "closed"}')
    assert shell.run("task", "wait", failed).returncode == 10
    cancelled = shell.created("it.echo", '{"value": "x"}', *HOUR)
    forced = shell.json("task", "cancel", cancelled, "--terminate")
    assert forced["state"] == "TASK_STATE_TERMINATED"
    again, refused = shell.json("task", "retry", failed, cancelled, code=5)["results"]
    assert again["task"]["redriveOf"].endswith(failed)
    assert refused["error"]["reason"] == "FAILED_PRECONDITION"
    unsure = shell.run("task", "delete", failed, cancelled)
    assert (unsure.returncode, unsure.stdout) == (2, "")
    assert "--yes" in unsure.stderr
    waiting = shell.created("it.echo", '{"value": "x"}', *HOUR)
    gone = shell.run("task", "delete", failed, waiting, cancelled, "--yes")
    assert gone.returncode == 5
    _, first, second, third = gone.stdout.splitlines()
    assert first.split() == [failed, "yes", "-"]
    assert "cancel it first" in second
    assert third.split() == [cancelled, "yes", "-"]
    assert shell.run("task", "get", failed).returncode == 3


def test_waiting_ends_with_a_code_for_each_end(shell: Shell) -> None:
    value = '{"value": "x"}'
    unwanted = shell.created("it.echo", value, *HOUR)
    assert shell.run("task", "cancel", unwanted).returncode == 0
    assert shell.run("task", "wait", unwanted).returncode == 11
    far = shell.created("it.echo", value, *HOUR)
    late = shell.run("task", "wait", far, "--timeout", "100ms")
    assert late.returncode == 124
    assert "hint:" in late.stderr


def test_what_is_wrong_goes_to_standard_error_with_its_code(shell: Shell) -> None:
    ended = shell.created("it.echo", '{"value": "x"}', "--wait")
    for code, words, said in (
        (2, ("task", "create", "it.echo", "not json"), "JSON"),
        (2, ("task", "create", "it.echo", "{}", "--priority", "10"), "between 0 and 9"),
        (2, ("task", "create", "it.echo", "{}", "--at", "2030-01-31T09:00"), "zone"),
        (2, ("task", "create", "it.echo", "{}", "--in", "soon"), "soon"),
        (2, ("task", "get", "damaged"), "name"),
        (2, ("task", "list", "--state", "DREAMING"), "DREAMING"),
        (5, ("task", "cancel", ended), "ended"),
        (6, ("--address", "127.0.0.1:1", "--deadline", "500ms", "cluster", "status"), "hint"),
    ):
        done = shell.run(*words)
        assert (done.returncode, done.stdout) == (code, ""), (words, done)
        assert said in done.stderr, (words, done)


def test_a_task_that_is_not_there_has_a_code_of_its_own(shell: Shell) -> None:
    known = shell.created("it.echo", '{"value": "x"}', *HOUR)
    absent = known[:-1] + ("0" if known[-1] != "0" else "1")
    done = shell.run("task", "get", absent)
    assert done.returncode == 3
    assert "hint:" in done.stderr


def test_repeating_a_request_id_answers_the_same_task(shell: Shell) -> None:
    request = ("--request-id", "018f2f5e-7a3b-7c21-9d4e-5f6071829304", *HOUR)
    first = shell.created("it.echo", '{"value": "x"}', *request)
    assert shell.created("it.echo", '{"value": "x"}', *request) == first
    other = shell.run("task", "create", "it.echo", '{"value": "y"}', *request)
    assert other.returncode == 5


def test_the_cluster_is_shown_with_its_members_and_shards(shell: Shell) -> None:
    cluster = shell.json("cluster", "status")
    roles = {node["role"] for node in cluster["nodes"]}
    assert roles == {"coordinator", "scheduler_node", "executor"}
    assert cluster["leader"] == "coordinator-1"
    assert cluster["store"] == "sqlite"
    assert {shard.get("owner") for shard in cluster["shards"]} == {"scheduler-1"}
    assert "coordinator (leader)" in shell.run("cluster", "status").stdout


def test_the_version_needs_no_server() -> None:
    done = Shell("127.0.0.1:1").process("--version")
    assert done.stdout == f"timeball {__version__}\n"
    assert done.returncode == 0
