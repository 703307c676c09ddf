"""The administrators' commands with an injected client: what is asked, printed, and where."""

from __future__ import annotations

import hashlib
import hmac
import json
import tomllib
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from google.protobuf import timestamp_pb2
from timeball import errors
from timeball.cli.cluster import node_row
from timeball.cli.root import root
from timeball.cli.session import Session
from timeball.v1 import admin_service_pb2 as pb
from timeball.v1 import task_service_pb2

if TYPE_CHECKING:
    from tests.unit.sdk.conftest import Door

WHEN = timestamp_pb2.Timestamp(seconds=1893456000)
KEY = pb.Key(
    name="namespaces/shop/keys/shop_0123",
    subject="billing",
    roles=[pb.ACCESS_ROLE_SUBMITTER, pb.ACCESS_ROLE_VIEWER],
    create_time=WHEN,
    creator="boss",
    live=True,
)
SECRET = "tb.shop_0123.the-secret"


def run(door: Door, *arguments: str) -> Future[Result]:
    session = Session(connect=lambda _: door.client)
    return door.start(CliRunner().invoke, root, list(arguments), obj=session)


def answered(door: Door, answer: Any, *arguments: str) -> tuple[Any, Result]:
    """The request that a command sends, and what it does with the answer."""
    running = run(door, *arguments)
    sent = door.take()
    sent.answer(answer)
    return sent.request, door.finish(running)


def test_a_new_key_goes_to_standard_output_alone(door: Door) -> None:
    request, result = answered(
        door,
        pb.CreateKeyResponse(key=KEY, secret=SECRET),
        *("key", "create", "billing", "--role", "submitter", "--role", "viewer", "--in", "shop"),
        *("--expires", "2030-01-01T00:00:00Z"),
    )
    assert (request.parent, request.subject) == ("namespaces/shop", "billing")
    assert list(request.roles) == [pb.ACCESS_ROLE_SUBMITTER, pb.ACCESS_ROLE_VIEWER]
    assert request.expire_time == WHEN
    assert request.request_id
    assert result.stdout == SECRET + "\n"
    assert "shop_0123" in result.stderr
    assert "the-secret" not in result.stderr


def test_a_key_whose_secret_was_shown_before_says_so(door: Door) -> None:
    request_id = "0189d5f1-0000-7000-8000-000000000001"
    request, result = answered(
        door,
        pb.CreateKeyResponse(key=KEY),
        *("key", "create", "billing", "--role", "viewer", "--request-id", request_id),
    )
    assert request.request_id == request_id
    assert "not shown again" in result.stderr
    assert "shop_0123" in result.stdout


def test_keys_are_listed_over_pages_and_revoked_by_id(door: Door) -> None:
    old = pb.Key(name="namespaces/shop/keys/shop_0", subject="billing", revoke_time=WHEN)
    running = run(door, "key", "list", "--in", "shop", "--subject", "billing")
    for page, token in (([KEY], "next"), ([old], "")):
        sent = door.take()
        assert (sent.request.parent, sent.request.subject) == ("namespaces/shop", "billing")
        assert sent.request.page_token == ("" if page == [KEY] else "next")
        sent.answer(pb.ListKeysResponse(keys=page, next_page_token=token))
    lines = door.finish(running).stdout.splitlines()
    assert lines[1].split()[:5] == ["shop_0123", "billing", "submitter", "viewer", "live"]
    assert lines[2].split()[3] == "revoked"
    request, result = answered(door, pb.RevokeKeyResponse(key=old), "key", "revoke", "shop_0")
    assert request.name == "namespaces/shop/keys/shop_0"
    assert result.exit_code == 0


def test_a_limit_ends_the_pages(door: Door) -> None:
    running = run(door, "key", "list", "--limit", "1")
    sent = door.take()
    assert sent.request.page_size == 1
    sent.answer(pb.ListKeysResponse(keys=[KEY], next_page_token="more"))
    assert len(door.finish(running).stdout.splitlines()) == 2


def test_the_first_key_is_made_without_a_cluster(door: Door) -> None:
    pepper = "a pepper of some length"
    arguments = ["key", "first", 'the "boss"', "--role", "admin"]
    done = CliRunner().invoke(root, arguments, env={"TIMEBALL_ACCESS_PEPPER": pepper})
    ((key_id, entry),) = tomllib.loads(done.stdout).items()
    key = done.stderr.strip()
    assert key.startswith(f"tb.{key_id}.")
    assert entry["digest"] == hmac.digest(pepper.encode(), key.encode(), hashlib.sha256).hex()
    assert (entry["subject"], entry["namespace"]) == ('the "boss"', "default")
    assert entry["roles"] == ["admin"]
    for wrong in ("", "short"):
        refused = CliRunner().invoke(root, arguments, env={"TIMEBALL_ACCESS_PEPPER": wrong})
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "16 bytes" in refused.stderr


def test_dead_letters_are_redriven_by_id_and_a_refusal_is_an_exit_code(door: Door) -> None:
    good = pb.RedriveResult(dead_letter=door.task_name, task=door.task_name[:-1] + "z")
    error = task_service_pb2.ItemError(code="NOT_FOUND", reason="TASK_NOT_FOUND", message="gone")
    bad = pb.RedriveResult(dead_letter=door.task_name, error=error)
    request, result = answered(
        door,
        pb.RedriveDeadLettersResponse(results=[good, bad]),
        *("dlq", "redrive", door.task_id, door.task_name),
    )
    assert list(request.names) == [door.task_name] * 2
    assert result.exit_code == 1
    assert "gone" in result.stdout
    assert result.stdout.splitlines()[1].split() == [door.task_id, door.task_id[:-1] + "z", "-"]


def test_dead_letters_are_redriven_by_what_they_have_in_common(door: Door) -> None:
    request, result = answered(
        door,
        pb.RedriveDeadLettersResponse(),
        *("dlq", "redrive", "--all", "--handler", "billing.charge", "--limit", "7"),
        *("--from", "2030-01-01T00:00:00Z"),
    )
    assert (list(request.names), request.handler) == ([], "billing.charge")
    assert (request.failed_from, request.page_size) == (WHEN, 7)
    assert result.exit_code == 0


def test_all_dead_letters_are_asked_for_in_so_many_words(door: Door) -> None:
    request, result = answered(door, pb.RedriveDeadLettersResponse(), *("dlq", "redrive", "--all"))
    assert request.HasField("failed_to")
    assert result.exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("dlq", "redrive"),
        ("dlq", "redrive", "x", "--all"),
        ("key", "create", "billing"),
        ("key", "create", "billing", "--role", "king"),
        ("key", "create", "billing", "--role", "admin", "--expires", "soon"),
        ("shard", "move", "x", "node-1"),
        ("shard", "move", "65536", "node-1"),
        ("node", "list", "--role", "king"),
        ("audit", "list", "--from", "yesterday"),
    ],
)
def test_wrong_usage_sends_nothing(door: Door, arguments: tuple[str, ...]) -> None:
    result = door.finish(run(door, *arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert door.channel.calls.empty()


def test_shards_and_nodes_are_listed_and_steered(door: Door) -> None:
    shard = pb.Shard(shard=3, owner="node-1", assigned="node-2", pinned="node-2", epoch=7)
    request, result = answered(door, pb.MoveShardResponse(shard=shard), "shard", "move", "3", "n-2")
    assert (request.shard, request.node) == (3, "n-2")
    assert result.stdout.splitlines()[1].split()[:5] == ["3", "node-1", "7", "node-2", "node-2"]
    request, result = answered(door, pb.UnpinShardResponse(shard=shard), "shard", "unpin", "3")
    assert request.shard == 3
    request, result = answered(
        door, pb.ListShardsResponse(shards=[shard]), "shard", "list", "--owner", "node-1"
    )
    assert request.owner == "node-1"
    node = pb.Node(name="node-1", role="scheduler_node")
    request, result = answered(
        door, pb.ListNodesResponse(nodes=[node]), *("node", "list", "--role", "scheduler_node"),
        *("-o", "json"),
    )  # fmt: skip
    assert request.role == "scheduler_node"
    assert json.loads(result.stdout)["nodes"][0]["name"] == "node-1"


def test_namespaces_are_made_and_switched(door: Door) -> None:
    shop = pb.Namespace(name="namespaces/shop", title="The shop", enabled=True, create_time=WHEN)
    request, result = answered(
        door, pb.CreateNamespaceResponse(namespace=shop),
        *("namespace", "create", "shop", "--title", "The shop"),
    )  # fmt: skip
    assert (request.namespace_id, request.title) == ("shop", "The shop")
    assert result.stdout.splitlines()[1].split()[:4] == ["shop", "The", "shop", "enabled"]
    for verb, answer in (
        ("disable", pb.DisableNamespaceResponse(namespace=shop)),
        ("enable", pb.EnableNamespaceResponse(namespace=shop)),
        ("get", pb.GetNamespaceResponse(namespace=shop)),
    ):
        request, result = answered(door, answer, "namespace", verb, "shop", "-o", "json")
        assert request.name == "namespaces/shop"
        assert json.loads(result.stdout)["title"] == "The shop"


def test_users_are_made_listed_and_switched(door: Door) -> None:
    anna = pb.User(name="namespaces/shop/users/anna", email="a@example.org", channels=["x", "y"])
    request, result = answered(
        door, pb.CreateUserResponse(user=anna),
        *("user", "create", "anna", "--in", "shop", "--email", "a@example.org"),
        *("--channel", "x", "--channel", "y"),
    )  # fmt: skip
    assert (request.parent, request.user_id) == ("namespaces/shop", "anna")
    assert list(request.channels) == ["x", "y"]
    assert "disabled" in result.stdout
    for verb, answer in (
        ("disable", pb.DisableUserResponse(user=anna)),
        ("enable", pb.EnableUserResponse(user=anna)),
        ("get", pb.GetUserResponse(user=anna)),
    ):
        request, _ = answered(door, answer, "user", verb, "anna", "--in", "shop")
        assert request.name == "namespaces/shop/users/anna"
    request, result = answered(door, pb.ListUsersResponse(users=[anna]), "user", "list")
    assert request.parent == door.client.settings.parent
    assert "a@example.org" in result.stdout


def test_the_audit_log_is_read_for_the_cluster_or_a_namespace(door: Door) -> None:
    entry = pb.AuditEntry(
        time=WHEN, actor="boss", action="MoveShard", target="3", outcome="OK", detail="to node-2"
    )
    request, result = answered(
        door, pb.ListAuditResponse(entries=[entry]),
        *("audit", "list", "--actor", "boss", "--action", "MoveShard"),
    )  # fmt: skip
    assert (request.parent, request.actor, request.action) == ("", "boss", "MoveShard")
    assert result.stdout.splitlines()[1].split()[1:5] == ["boss", "MoveShard", "3", "OK"]
    request, _ = answered(door, pb.ListAuditResponse(), "audit", "list", "--in", "shop")
    assert request.parent == "namespaces/shop"


def test_an_unknown_role_is_refused_before_anything_is_sent(door: Door) -> None:
    with pytest.raises(errors.InvalidRequest, match="viewer, submitter"):
        door.client.admin.create_key("x", roles=["king"])


def test_a_node_that_is_left_out_says_by_whom_and_why() -> None:
    node = pb.Node(name="red", role="executor", left_out_by=["west", "east"])
    node.left_out_reason = "90% of its attempts failed, 1% elsewhere"
    assert f"left out by west east: {node.left_out_reason}" in node_row(node)
    assert "ok" in node_row(pb.Node(name="blue", role="executor"))
