"""What operators and administrators ask, for coroutines; the synchronous twin is admin."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from timeball import _admin
from timeball._admin import LIMIT_DEFAULT

if TYPE_CHECKING:
    from timeball._flow import AsyncRun, Kit
    from timeball.v1 import admin_service_pb2 as pb


class AsyncAdmin:
    """Asks as an operator or an administrator; made by `AsyncClient.admin`.

    Every method may raise any error of timeball.errors. An administrator may name any namespace;
    empty means the client's own.
    """

    def __init__(self, kit: Kit, run: AsyncRun) -> None:
        self._kit = kit
        self._run = run

    async def nodes(self, *, role: str = "", limit: int = LIMIT_DEFAULT) -> list[pb.Node]:
        """Living processes by role and name."""
        request = _admin.method("ListNodes").request(role=role)
        found: list[pb.Node] = await self._run(
            _admin.collect(self._kit, "ListNodes", request, "nodes", limit)
        )
        return found

    async def shards(self, *, owner: str = "", limit: int = LIMIT_DEFAULT) -> list[pb.Shard]:
        """Shards by number, of one scheduler node if it is named."""
        request = _admin.method("ListShards").request(owner=owner)
        found: list[pb.Shard] = await self._run(
            _admin.collect(self._kit, "ListShards", request, "shards", limit)
        )
        return found

    async def move_shard(self, shard: int, node: str, *, request_id: str | None = None) -> pb.Shard:
        """Wishes a shard on a scheduler node; the leader moves it there within moments.

        Raises:
            NodeNotFound: no living process has this name.
            FailedPrecondition: it takes no shards.
        """
        moved: pb.Shard = await self._run(
            _admin.change(self._kit, "MoveShard", "shard", request_id, shard=shard, node=node)
        )
        return moved

    async def unpin_shard(self, shard: int, *, request_id: str | None = None) -> pb.Shard:
        """Takes such a wish back."""
        free: pb.Shard = await self._run(
            _admin.change(self._kit, "UnpinShard", "shard", request_id, shard=shard)
        )
        return free

    async def redrive(
        self,
        tasks: Iterable[str] = (),
        *,
        handler: str = "",
        failed_from: datetime | None = None,
        failed_to: datetime | None = None,
        limit: int = LIMIT_DEFAULT,
        request_id: str | None = None,
    ) -> list[pb.RedriveResult]:
        """Does tasks again that failed for good: the named ones, or those of a time range.

        Each becomes a new task that names the old one. Doing it twice makes no second one. Without
        a name, handler, or bound of the range it is refused: no list that came out empty does
        everything again.
        """
        failed = (failed_from, failed_to)
        return await self._run(
            _admin.redrive(self._kit, tuple(tasks), handler, failed, limit, request_id)
        )

    async def create_namespace(
        self, namespace: str, *, title: str = "", request_id: str | None = None
    ) -> pb.Namespace:
        """Makes a namespace."""
        return await self._namespace(
            "CreateNamespace", request_id, namespace_id=namespace, title=title
        )

    async def namespaces(self, *, limit: int = LIMIT_DEFAULT) -> list[pb.Namespace]:
        """Namespaces by name."""
        request = _admin.method("ListNamespaces").request()
        found: list[pb.Namespace] = await self._run(
            _admin.collect(self._kit, "ListNamespaces", request, "namespaces", limit)
        )
        return found

    async def namespace(self, namespace: str) -> pb.Namespace:
        """One namespace."""
        request = _admin.method("GetNamespace").request(name=f"namespaces/{namespace}")
        found: pb.Namespace = await self._run(
            _admin.ask(self._kit, "GetNamespace", request, "namespace")
        )
        return found

    async def disable_namespace(
        self, namespace: str, *, request_id: str | None = None
    ) -> pb.Namespace:
        """Refuses the namespace's stored keys within a minute; its tasks go on."""
        return await self._namespace("DisableNamespace", request_id, name=f"namespaces/{namespace}")

    async def enable_namespace(
        self, namespace: str, *, request_id: str | None = None
    ) -> pb.Namespace:
        """Lets the namespace's keys in again."""
        return await self._namespace("EnableNamespace", request_id, name=f"namespaces/{namespace}")

    async def set_limit(
        self,
        kind: str,
        pattern: str = "",
        *,
        concurrency: int | None = None,
        rate: str | None = None,
        burst: int | None = None,
        weight: int | None = None,
        reason: str = "",
        namespace: str = "",
        request_id: str | None = None,
    ) -> pb.Limit:
        """Sets what a namespace allows; replaces what was set. Holds within a few seconds.

        Args:
            kind: key, handler or namespace.
            pattern: the key or handler; one that ends in * is for each that begins so.
            concurrency: of a key, most attempts at once.
            rate: of a key or handler, most starts: 10/s, 600/min, 5/30s.
            burst: how many of these may come at once after a pause.
            weight: of a namespace, its share of the starts against the others.
        """
        said = {
            "concurrency": concurrency,
            "rate": rate,
            "burst": burst,
            "weight": weight,
            "reason": reason,
        }
        request = _admin.limit_request(self._kit, kind, pattern, said, namespace, request_id)
        limit: pb.Limit = await self._run(_admin.ask(self._kit, "SetLimit", request, "limit"))
        return limit

    async def limits(self, *, namespace: str = "", limit: int = LIMIT_DEFAULT) -> list[pb.Limit]:
        """Limits by kind and pattern."""
        parent = _admin.parent_of(self._kit, namespace)
        request = _admin.method("ListLimits").request(parent=parent)
        found: list[pb.Limit] = await self._run(
            _admin.collect(self._kit, "ListLimits", request, "limits", limit)
        )
        return found

    async def delete_limit(
        self,
        kind: str,
        pattern: str = "",
        *,
        namespace: str = "",
        request_id: str | None = None,
    ) -> None:
        """Takes a limit back.

        Raises:
            ResourceNotFound: nothing of the kind is set.
        """
        request = _admin.method("DeleteLimit").request(
            parent=_admin.parent_of(self._kit, namespace),
            kind=_admin.limit_kind(kind),
            pattern=pattern,
            request_id=self._kit.request_id(request_id),
        )
        await self._run(_admin.say(self._kit, "DeleteLimit", request))

    async def create_user(
        self,
        user: str,
        *,
        display_name: str = "",
        email: str = "",
        channels: Iterable[str] = (),
        namespace: str = "",
        request_id: str | None = None,
    ) -> pb.User:
        """Makes a user."""
        return await self._user(
            "CreateUser",
            request_id,
            parent=_admin.parent_of(self._kit, namespace),
            user_id=user,
            display_name=display_name,
            email=email,
            channels=channels,
        )

    async def users(self, *, namespace: str = "", limit: int = LIMIT_DEFAULT) -> list[pb.User]:
        """Users by name."""
        parent = _admin.parent_of(self._kit, namespace)
        request = _admin.method("ListUsers").request(parent=parent)
        found: list[pb.User] = await self._run(
            _admin.collect(self._kit, "ListUsers", request, "users", limit)
        )
        return found

    async def user(self, user: str, *, namespace: str = "") -> pb.User:
        """One user."""
        name = _admin.child_of(self._kit, namespace, "users", user)
        request = _admin.method("GetUser").request(name=name)
        found: pb.User = await self._run(_admin.ask(self._kit, "GetUser", request, "user"))
        return found

    async def disable_user(
        self, user: str, *, namespace: str = "", request_id: str | None = None
    ) -> pb.User:
        """Refuses the keys that stand for the user within a minute; the user's tasks go on."""
        name = _admin.child_of(self._kit, namespace, "users", user)
        return await self._user("DisableUser", request_id, name=name)

    async def enable_user(
        self, user: str, *, namespace: str = "", request_id: str | None = None
    ) -> pb.User:
        """Lets the keys that stand for the user in again."""
        name = _admin.child_of(self._kit, namespace, "users", user)
        return await self._user("EnableUser", request_id, name=name)

    async def create_key(
        self,
        subject: str,
        *,
        roles: Iterable[str],
        expires: datetime | None = None,
        namespace: str = "",
        request_id: str | None = None,
    ) -> pb.CreateKeyResponse:
        """Makes an API key. The answer alone has its secret.

        Raises:
            FailedPrecondition: two keys of the subject live, or the cluster asks for no keys.
        """
        return await self._run(
            _admin.create_key(self._kit, subject, roles, expires, namespace, request_id)
        )

    async def keys(
        self, *, subject: str = "", namespace: str = "", limit: int = LIMIT_DEFAULT
    ) -> list[pb.Key]:
        """API keys by id, live or not."""
        parent = _admin.parent_of(self._kit, namespace)
        request = _admin.method("ListKeys").request(parent=parent, subject=subject)
        found: list[pb.Key] = await self._run(
            _admin.collect(self._kit, "ListKeys", request, "keys", limit)
        )
        return found

    async def revoke_key(self, key: str, *, request_id: str | None = None) -> pb.Key:
        """Refuses a key, given by its id or resource name, everywhere within a minute."""
        name = _admin.key_name(self._kit, key)
        revoked: pb.Key = await self._run(
            _admin.change(self._kit, "RevokeKey", "key", request_id, name=name)
        )
        return revoked

    async def audit(
        self,
        *,
        namespace: str | None = None,
        actor: str = "",
        action: str = "",
        noted_from: datetime | None = None,
        noted_to: datetime | None = None,
        limit: int = LIMIT_DEFAULT,
    ) -> list[pb.AuditEntry]:
        """Who changed what, newest first; namespace None = what concerns the whole cluster."""
        noted = (noted_from, noted_to)
        return await self._run(_admin.audit(self._kit, namespace, actor, action, noted, limit))

    async def _namespace(self, rpc: str, request_id: str | None, /, **said: Any) -> pb.Namespace:
        changed: pb.Namespace = await self._run(
            _admin.change(self._kit, rpc, "namespace", request_id, **said)
        )
        return changed

    async def _user(self, rpc: str, request_id: str | None, /, **said: Any) -> pb.User:
        changed: pb.User = await self._run(
            _admin.change(self._kit, rpc, "user", request_id, **said)
        )
        return changed
