"""The operators' commands as they are typed, against a running `timeball dev`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from timeball import AsyncClient
from timeball.errors import NodeNotFound

from tests.support.dev_server import DevServer
from tests.support.polls import until
from tests.support.typed_commands import Said, typed

SHARDS = 4


def run(dev: DevServer, *words: str) -> Said:
    return typed(*words, TIMEBALL_ADDRESS=dev.address)


def answer(dev: DevServer, *words: str) -> Any:
    done = run(dev, *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_shards_show_owner_backlog_and_lateness(dev: DevServer) -> None:
    for _ in range(2):
        assert run(dev, "task", "create", "it.echo", '{"value": "x"}', "--wait").returncode == 0
    assert run(dev, "task", "create", "nobody.serves.this").returncode == 0
    shards = answer(dev, "cluster", "shards")["shards"]
    assert len(shards) == SHARDS
    assert {each["owner"] for each in shards} == {"scheduler-1"}
    assert all(each["answered"] and int(each["epoch"]) > 0 for each in shards)
    assert all(each["assigned"] == "scheduler-1" and each["reason"] for each in shards)
    assert sum(int(each.get("starts", 0)) for each in shards) == 2
    for backlog in ("tasks", "waiting", "dueNow"):
        assert sum(int(each.get(backlog, 0)) for each in shards) == 1
    assert all(("latenessP99" in each) == ("starts" in each) for each in shards)
    table = run(dev, "cluster", "shards").stdout.splitlines()
    assert table[0].split()[:4] == ["SHARD", "OWNER", "EPOCH", "ASSIGNED"]
    assert len(table) == 1 + SHARDS


def test_nodes_show_roles_the_leader_and_what_they_own(dev: DevServer) -> None:
    nodes = {each["name"]: each for each in answer(dev, "cluster", "nodes")["nodes"]}
    assert nodes["coordinator-1"]["leader"]
    assert nodes["scheduler-1"].get("ownedShards", []) in ([0, 1, 2, 3], ["0", "1", "2", "3"])
    assert nodes["executor-1"]["slots"] == 100
    assert all("uptime" in each for each in nodes.values())
    table = run(dev, "cluster", "nodes").stdout
    assert "coordinator (leader)" in table
    assert "0 1 2 3" in table


def test_the_last_scheduler_node_is_not_drained_and_others_cannot_be(dev: DevServer) -> None:
    for name, code, words in [
        ("scheduler-1", 5, "last scheduler node"),
        ("executor-1", 5, "no scheduler node but executor"),
        ("nobody", 3, "no living node nobody"),
        ("Not A Name", 2, "node"),
    ]:
        done = run(dev, "node", "drain", name)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert words in done.stderr


def test_dead_letters_name_the_task_and_what_it_said(dev: DevServer) -> None:
    assert answer(dev, "dlq", "list") == {"deadLetters": []}
    made = run(
        dev, "task", "create", "it.refuse", '{"why": "no such account"}', "--wait", "-o", "json"
    )
    assert made.returncode == 10, made.stdout + made.stderr
    task = json.loads(made.stdout)
    letters = until(lambda: answer(dev, "dlq", "list")["deadLetters"], "a dead letter")
    assert [each["task"] for each in letters] == [task["name"]]
    assert letters[0]["cause"] == "FAILURE_CAUSE_NON_RETRIABLE"
    assert (letters[0]["attempts"], letters[0]["message"]) == (1, "no such account")
    table = run(dev, "dlq", "list").stdout.splitlines()
    assert task["name"].rpartition("/")[2] in table[1]
    (done,) = answer(dev, "dlq", "redrive", task["name"].rpartition("/")[2])["results"]
    letters = answer(dev, "dlq", "list")["deadLetters"]
    again = {each["task"]: each.get("redrivenAs") for each in letters}
    assert again[task["name"]] == done["task"]
    wrong = run(dev, "dlq", "list", "--from", "2030-01-01T00:00:00Z")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "failed_from" in wrong.stderr


@pytest.mark.asyncio
async def test_the_asynchronous_client_has_the_same_verbs(dev: DevServer) -> None:
    async with AsyncClient(dev.address) as client:
        for _ in range(3):
            handle = await client.submit("it.refuse", {"why": "no"})
            await client.wait(handle.name)
        assert len([letter async for letter in client.dead_letters(page_size=2, limit=3)]) == 3
        with pytest.raises(NodeNotFound):
            await client.drain_node("nobody")
