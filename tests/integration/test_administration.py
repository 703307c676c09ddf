"""A whole cluster that asks for keys of its store: keys, users, namespaces, moves, redrive, audit.

In one process over real gRPC on loopback, on SQLite; the commands are those that people type.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
import timeball
from google.protobuf.timestamp_pb2 import Timestamp
from timeball import errors
from timeball.states import TaskState
from timeball.v1 import admin_service_pb2 as pb
from timeball.v1 import admin_service_pb2_grpc

from tests.support import dev_tasks
from tests.support.dev_server import ROOT, environment, timeball_command
from tests.support.polls import eventually
from timeball_server.dev.wiring import DevCluster, DevConfig
from timeball_server.rpc.auth import Role, StoredKey, key_digest
from timeball_server.rpc.live_keys import LiveKeys
from timeball_server.rpc.status import error_from_rpc
from timeball_server.runtime.clock import SystemClock

pytestmark = pytest.mark.asyncio
PEPPER = b"only this test's pepper"
PATIENCE = "20s"
BOSS, OPERATOR, CLERK = "tb.boss.file-secret", "tb.op.op-secret", "tb.clerk.clerk-secret"
LISTEN = "127.0.0.1:0"


def stored(key: str, role: Role) -> StoredKey:
    return StoredKey(
        digest=key_digest(key, PEPPER),
        subject=key.split(".")[1],
        namespace="default",
        roles=frozenset({role}),
    )


class World:
    """The cluster, and clients with one key each."""

    def __init__(self, cluster: DevCluster) -> None:
        self.address = cluster.address

    def client(self, key: str | None) -> timeball.AsyncClient:
        return timeball.AsyncClient(self.address, api_key=key, deadline=PATIENCE)

    async def command(self, *words: str, key: str = BOSS) -> subprocess.CompletedProcess[str]:
        """A command as it is typed, with a key in the environment."""
        return await asyncio.to_thread(
            subprocess.run,
            timeball_command(*words),
            cwd=ROOT,
            env=environment(TIMEBALL_ADDRESS=self.address, TIMEBALL_API_KEY=key),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    async def asked(self, *words: str, key: str = BOSS) -> Any:
        done = await self.command(*words, "-o", "json", key=key)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[World]:
    keys = LiveKeys(
        {
            "boss": stored(BOSS, Role.ADMIN),
            "op": stored(OPERATOR, Role.OPERATOR),
            "clerk": stored(CLERK, Role.SUBMITTER),
        },
        PEPPER,
        SystemClock(),
    )
    config = DevConfig(
        listen=LISTEN, data=folder / "dev.db", slots=10, start_log=None, version="1.2.3"
    )
    served = (dev_tasks.echo, dev_tasks.refuse)
    cluster = DevCluster(config, keys, {each.name: each.handler for each in served})
    await cluster.start()
    try:
        yield World(cluster)
    finally:
        await cluster.stop()


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as found:
        yield found


async def denied(world: World, key: str) -> type[errors.TimeballError] | None:
    """What a key is refused with now, None if it is let in."""
    async with world.client(key) as client:
        try:
            await client.get_many(["0" * 40])
        except errors.InvalidRequest:
            return None
        except errors.TimeballError as error:
            return type(error)
    return None


async def test_a_key_is_made_used_listed_and_revoked(world: World) -> None:
    made = await world.command("key", "create", "billing", "--role", "submitter")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    async with world.client(secret) as billing:
        handle = await billing.submit(dev_tasks.echo.prepare("x"))
        assert await handle.result(timeout=PATIENCE) == "x"
        assert handle.last_seen.owner == "billing"
        with pytest.raises(errors.PermissionDenied):
            await billing.admin.keys()
    (listed,) = (await world.asked("key", "list"))["keys"]
    key_id = secret.split(".")[1]
    assert listed["name"] == f"namespaces/default/keys/{key_id}"
    assert (listed["live"], listed["creator"]) == (True, "boss")
    assert secret.split(".")[2] not in json.dumps(listed)
    assert (await world.command("key", "revoke", key_id)).returncode == 0
    assert await denied(world, secret) is errors.Unauthenticated
    assert (await world.command("key", "revoke", key_id)).returncode == 0
    assert (await world.command("key", "revoke", "default_0")).returncode == 3


async def test_two_keys_of_one_subject_live_and_a_repetition_makes_no_third(world: World) -> None:
    async with world.client(BOSS) as boss:
        request_id = str(uuid.uuid4())
        first = await boss.admin.create_key("billing", roles=["viewer"], request_id=request_id)
        again = await boss.admin.create_key("billing", roles=["viewer"], request_id=request_id)
        assert first.secret
        assert (again.key.name, again.secret) == (first.key.name, "")
        second = await boss.admin.create_key("billing", roles=["viewer"])
        with pytest.raises(errors.FailedPrecondition, match="2 live keys"):
            await boss.admin.create_key("billing", roles=["viewer"])
        assert await denied(world, first.secret) is None
        assert await denied(world, second.secret) is None
        await boss.admin.revoke_key(first.key.name)
        third = await boss.admin.create_key("billing", roles=["viewer"])
        assert await denied(world, third.secret) is None
        lives = [key.live for key in await boss.admin.keys(subject="billing")]
        assert sorted(lives) == [False, False, True, True]
        at_once = await asyncio.gather(
            *(boss.admin.create_key("other", roles=["viewer"]) for _ in range(5)),
            return_exceptions=True,
        )
        assert all(isinstance(each, pb.CreateKeyResponse | errors.FailedPrecondition)
                   for each in at_once)  # fmt: skip
        assert sum(key.live for key in await boss.admin.keys(subject="other")) <= 2


async def test_namespaces_hold_their_own_keys_and_are_switched_off_as_a_whole(
    world: World,
) -> None:
    async with world.client(BOSS) as boss:
        with pytest.raises(errors.ResourceNotFound):
            await boss.admin.create_key("clerk", roles=["submitter"], namespace="shop")
        made = await boss.admin.create_namespace("shop", title="The shop")
        assert (made.name, made.enabled) == ("namespaces/shop", True)
        with pytest.raises(errors.AlreadyExists):
            await boss.admin.create_namespace("shop", title="Another")
        key = (await boss.admin.create_key("clerk", roles=["admin"], namespace="shop")).secret
        async with world.client(key) as clerk:
            handle = await clerk.submit(dev_tasks.echo.prepare("x"))
            assert handle.name.startswith("namespaces/shop/tasks/")
            assert [each.name for each in await boss.admin.keys()] == []
            assert len(await clerk.admin.keys()) == 1
        assert await denied(world, key) is None
        await boss.admin.disable_namespace("shop")
        assert await denied(world, key) is errors.PermissionDenied
        assert await denied(world, key + "x") is errors.Unauthenticated
        with pytest.raises(errors.FailedPrecondition, match="disabled"):
            await boss.admin.create_key("other", roles=["viewer"], namespace="shop")
        assert not (await boss.admin.namespace("shop")).enabled
        await boss.admin.enable_namespace("shop")
        assert await denied(world, key) is None
        assert (await boss.admin.namespace("default")).enabled
    shown = await world.asked("namespace", "list")
    assert [each["name"] for each in shown["namespaces"]] == ["namespaces/shop"]


async def test_a_user_who_is_switched_off_is_kept_out(world: World) -> None:
    words = ("--name", "The Clerk", "--email", "clerk@example.org", "--channel", "mail")
    assert (await world.command("user", "create", "clerk", *words)).returncode == 0
    assert (await world.command("user", "create", "clerk", *words)).returncode == 0
    other = await world.command("user", "create", "clerk", "--name", "Another")
    assert other.returncode == 5, other.stderr
    async with world.client(BOSS) as boss:
        key = (await boss.admin.create_key("clerk", roles=["viewer"])).secret
        assert await denied(world, key) is None
        assert (await world.command("user", "disable", "clerk")).returncode == 0
        assert await denied(world, key) is errors.PermissionDenied
        await boss.admin.enable_user("clerk")
        assert await denied(world, key) is None
        assert (await boss.admin.user("clerk")).channels == ["mail"]
        assert len(await boss.admin.users()) == 1
        with pytest.raises(errors.ResourceNotFound):
            await boss.admin.disable_user("nobody")


async def test_dead_letters_are_redriven_once_each_and_name_the_old_task(world: World) -> None:
    async with world.client(CLERK) as clerk, world.client(OPERATOR) as operator:
        bad = await clerk.submit(dev_tasks.refuse.options(labels={"a": "b"}).prepare("no"))
        good = await clerk.submit(dev_tasks.echo.prepare("x"))
        for handle in (bad, good):
            await clerk.wait(handle.name, timeout=PATIENCE)
        with pytest.raises(errors.PermissionDenied):
            await clerk.admin.redrive([bad.name])
        first, refused, missing = await operator.admin.redrive(
            [bad.name, good.name, bad.name[:-1] + ("0" if bad.name[-1] != "0" else "1")]
        )
        assert refused.error.reason == "FAILED_PRECONDITION"
        assert missing.error.reason == "TASK_NOT_FOUND"
        new = await clerk.wait(first.task, timeout=PATIENCE)
        assert (new.redrive_of, new.owner, new.labels["a"]) == (bad.name, "clerk", "b")
        assert (await clerk.get(bad.name)).state == (await clerk.get(new.name)).state
        (again,) = await operator.admin.redrive([bad.name])
        assert again.task == first.task

        async def listed() -> int:
            return len([each async for each in operator.dead_letters()])

        await eventually(lambda: _is(listed, 2), "the redriven task's own letter")
        everything = await operator.admin.redrive(handler="it.refuse")
        assert {each.dead_letter for each in everything} == {bad.name, new.name}
        assert everything[1].task == first.task
        assert await operator.admin.redrive(handler="nobody.serves.this") == []
    done = await world.command("dlq", "redrive", bad.id, good.id, key=OPERATOR)
    assert done.returncode == 1
    assert "only tasks that failed for good" in done.stdout


async def _is(count: Any, wanted: int) -> bool:
    return bool(await count() == wanted)


async def test_shards_are_listed_and_wished_elsewhere(world: World) -> None:
    shards = (await world.asked("shard", "list", key=OPERATOR))["shards"]
    assert [each.get("shard", 0) for each in shards] == [0, 1, 2, 3]
    moved = await world.asked("shard", "move", "2", "scheduler-1", key=OPERATOR)
    assert moved["pinned"] == "scheduler-1"
    assert (await world.asked("shard", "unpin", "2", key=OPERATOR)).get("pinned") is None
    for words, code in [
        (("shard", "move", "9", "scheduler-1"), 2),
        (("shard", "move", "1", "executor-1"), 5),
        (("shard", "move", "1", "nobody"), 3),
        (("shard", "unpin", "9"), 2),
    ]:
        done = await world.command(*words, key=OPERATOR)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
    async with world.client(OPERATOR) as operator:
        names = [node.name for node in await operator.admin.nodes()]
        assert names == ["coordinator-1", "executor-1", "scheduler-1"]
        assert [n.name for n in await operator.admin.nodes(role="executor")] == ["executor-1"]
        request = pb.ListShardsRequest(page_size=3)
        page = await raw(world, "ListShards", request)
        assert [each.shard for each in page.shards] == [0, 1, 2]
        request.page_token = page.next_page_token
        assert [each.shard for each in (await raw(world, "ListShards", request)).shards] == [3]
        request.owner = "scheduler-1"
        with pytest.raises(errors.InvalidRequest, match="page_token"):
            await raw(world, "ListShards", request)


async def raw(world: World, verb: str, request: Any, key: str = BOSS) -> Any:
    """One call, with the family's errors."""
    async with grpc.aio.insecure_channel(world.address) as channel:
        stub: Any = admin_service_pb2_grpc.AdminServiceStub(channel)
        try:
            return await getattr(stub, verb)(request, metadata=[("authorization", f"Bearer {key}")])
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from error


async def test_everything_that_changes_something_is_in_the_audit_log(world: World) -> None:
    request_id = str(uuid.uuid4())
    async with world.client(BOSS) as boss, world.client(OPERATOR) as operator:
        await boss.admin.create_namespace("shop", request_id=request_id)
        secret = (await boss.admin.create_key("x", roles=["viewer"], namespace="shop")).secret
        await boss.admin.revoke_key(secret.split(".")[1])
        await boss.admin.create_user("anna", namespace="shop")
        await boss.admin.disable_user("anna", namespace="shop")
        await operator.admin.move_shard(1, "scheduler-1")
        with pytest.raises(errors.NodeNotFound):
            await operator.drain_node("nobody")
        of_shop = await boss.admin.audit(namespace="shop")
        assert [(each.action, each.actor, each.outcome) for each in of_shop] == [
            ("DisableUser", "boss", "OK"),
            ("CreateUser", "boss", "OK"),
            ("RevokeKey", "boss", "OK"),
            ("CreateKey", "boss", "OK"),
            ("CreateNamespace", "boss", "OK"),
        ]
        assert of_shop[-1].request_id == request_id
        assert of_shop[0].target == "shop/anna"
        of_all = [each for each in await operator.admin.audit() if each.actor == "op"]
        assert [(each.action, each.target, each.outcome) for each in of_all] == [
            ("DrainNode", "nobody", "NODE_NOT_FOUND"),
            ("MoveShard", "1", "OK"),
        ]
        assert [e.action for e in await boss.admin.audit(action="MoveShard")] == ["MoveShard"]
        assert await boss.admin.audit(actor="nobody") == []
        with pytest.raises(errors.PermissionDenied):
            await operator.admin.audit(namespace="shop")
        request = pb.ListAuditRequest(parent="namespaces/shop", page_size=2)
        page = await raw(world, "ListAudit", request)
        assert [each.action for each in page.entries] == ["DisableUser", "CreateUser"]
        request.page_token = page.next_page_token
        request.actor = "boss"
        with pytest.raises(errors.InvalidRequest, match="page_token"):
            await raw(world, "ListAudit", request)
    lines = (await world.command("audit", "list", "--in", "shop")).stdout.splitlines()
    assert len(lines) == 6
    assert secret.split(".")[2] not in "\n".join(lines)


VIEWER = pb.ACCESS_ROLE_VIEWER
LONG_AGO = Timestamp(seconds=9)
BAD: list[tuple[str, Any, str]] = [
    ("CreateNamespace", pb.CreateNamespaceRequest(), "namespace_id"),
    ("CreateNamespace", pb.CreateNamespaceRequest(namespace_id="Shop"), "namespace_id"),
    ("CreateNamespace", pb.CreateNamespaceRequest(namespace_id="-"), "namespace_id"),
    ("CreateNamespace", pb.CreateNamespaceRequest(namespace_id="s" * 64), "namespace_id"),
    ("CreateNamespace", pb.CreateNamespaceRequest(namespace_id="a", title="t" * 201), "title"),
    ("CreateNamespace", pb.CreateNamespaceRequest(namespace_id="a", request_id="x"), "request_id"),
    ("GetNamespace", pb.GetNamespaceRequest(), "name"),
    ("GetNamespace", pb.GetNamespaceRequest(name="namespaces/../x"), "name"),
    ("DisableNamespace", pb.DisableNamespaceRequest(name="shop"), "name"),
    ("ListNamespaces", pb.ListNamespacesRequest(page_size=-1), "page_size"),
    ("ListNamespaces", pb.ListNamespacesRequest(page_token="forged"), "page_token"),
    ("CreateUser", pb.CreateUserRequest(), "user_id"),
    ("CreateUser", pb.CreateUserRequest(user_id="-"), "user_id"),
    ("CreateUser", pb.CreateUserRequest(user_id="a/b"), "user_id"),
    ("CreateUser", pb.CreateUserRequest(user_id="a", email="nobody"), "email"),
    ("CreateUser", pb.CreateUserRequest(user_id="a", email="a@b\nBcc: c@d"), "email"),
    ("CreateUser", pb.CreateUserRequest(user_id="a", channels=["x"] * 9), "channels"),
    ("CreateUser", pb.CreateUserRequest(user_id="a", display_name="a\u202eb"), "display_name"),
    ("GetUser", pb.GetUserRequest(name="namespaces/-/users/"), "name"),
    ("ListUsers", pb.ListUsersRequest(parent="shop"), "parent"),
    ("ListUsers", pb.ListUsersRequest(page_token="forged"), "page_token"),
    ("CreateKey", pb.CreateKeyRequest(roles=[VIEWER]), "subject"),
    ("CreateKey", pb.CreateKeyRequest(subject="-", roles=[VIEWER]), "subject"),
    ("CreateKey", pb.CreateKeyRequest(subject="a"), "roles"),
    ("CreateKey", pb.CreateKeyRequest(subject="a", roles=[pb.ACCESS_ROLE_UNSPECIFIED]), "roles[0]"),
    ("CreateKey", pb.CreateKeyRequest(subject="a", roles=[VIEWER, VIEWER]), "roles"),
    ("CreateKey", pb.CreateKeyRequest(subject="a", roles=[9]), "roles[0]"),  # type: ignore[list-item]
    ("CreateKey", pb.CreateKeyRequest(subject="a", roles=[VIEWER], expire_time=LONG_AGO),
     "expire_time"),
    ("RevokeKey", pb.RevokeKeyRequest(name="namespaces/-/keys/boss"), "name"),
    ("RevokeKey", pb.RevokeKeyRequest(name="namespaces/-/keys/A_B"), "name"),
    ("ListKeys", pb.ListKeysRequest(page_token="forged"), "page_token"),
    ("ListAudit", pb.ListAuditRequest(page_token="forged"), "page_token"),
    ("ListAudit", pb.ListAuditRequest(actor="a" * 201), "actor"),
    ("ListAudit", pb.ListAuditRequest(noted_from=LONG_AGO, noted_to=LONG_AGO),
     "noted_from"),
    ("ListNodes", pb.ListNodesRequest(role="king"), "role"),
    ("ListShards", pb.ListShardsRequest(page_size=-1), "page_size"),
    ("MoveShard", pb.MoveShardRequest(shard=-1, node="a"), "shard"),
    ("MoveShard", pb.MoveShardRequest(shard=99, node="a"), "shard"),
    ("MoveShard", pb.MoveShardRequest(shard=1), "node"),
    ("UnpinShard", pb.UnpinShardRequest(shard=70_000), "shard"),
    ("RedriveDeadLetters", pb.RedriveDeadLettersRequest(names=["x"]), "names[0]"),
    ("RedriveDeadLetters", pb.RedriveDeadLettersRequest(page_token="forged"), "page_token"),
]  # fmt: skip


async def test_bad_input_is_refused_with_its_field_and_changes_nothing(world: World) -> None:
    wrong: list[str] = []
    for verb, request, field in BAD:
        try:
            await raw(world, verb, request)
        except errors.InvalidRequest as error:
            if field not in [each.field for each in error.violations]:
                wrong.append(f"{verb} {field}: {error}")
        except errors.TimeballError as error:
            wrong.append(f"{verb} {field}: {error!r}")
        else:
            wrong.append(f"{verb} {field}: accepted")
    assert wrong == []
    async with world.client(BOSS) as boss:
        assert await boss.admin.namespaces() == []
        assert await boss.admin.users() == []
        assert await boss.admin.keys() == []


async def test_roles_and_namespaces_hold_for_every_method(world: World) -> None:
    async with world.client(BOSS) as boss:
        await boss.admin.create_namespace("shop")
        admin_of_shop = await boss.admin.create_key("chief", roles=["admin"], namespace="shop")
    for key, refusal in ((OPERATOR, errors.PermissionDenied), (None, errors.Unauthenticated)):
        async with world.client(key) as client:
            for call in (
                client.admin.create_namespace("x"),
                client.admin.namespaces(),
                client.admin.create_user("x"),
                client.admin.users(),
                client.admin.create_key("x", roles=["admin"]),
                client.admin.keys(),
                client.admin.revoke_key("default_0"),
            ):
                with pytest.raises(refusal):
                    await call
    async with world.client(admin_of_shop.secret) as chief:
        assert len(await chief.admin.users(namespace="default")) == 0
        task = await chief.submit(dev_tasks.echo.prepare("x"))
        assert task.name.startswith("namespaces/shop/")
        with pytest.raises(errors.PermissionDenied):
            async with timeball.AsyncClient(
                world.address, api_key=admin_of_shop.secret, namespace="default"
            ) as intruder:
                [each async for each in intruder.list(states=[TaskState.FAILED])]
