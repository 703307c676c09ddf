"""The administrators' half of AdminService: namespaces, users, keys and the audit log."""

from __future__ import annotations

from typing import Any

from timeball.v1 import admin_service_pb2 as pb

from coordinator.access_api import Wish
from coordinator.access_messages import (
    audit_message,
    key_message,
    last_part,
    named_namespace,
    namespace_message,
    roles_of,
    user_message,
)
from coordinator.administration import Administration
from coordinator.audit_log import AuditQuery
from coordinator.calls_in import caller
from coordinator.keys_api import NewKey
from timeball_server.ports.access import UserRow
from timeball_server.ports.clock import Clock
from timeball_server.rpc.convert import ms_from_timestamp


class AccessMethods:
    """Methods of the service. `context` is Any throughout: the stubs mix two kinds of it."""

    def __init__(self, parts: Administration, clock: Clock) -> None:
        self._parts = parts
        self._clock = clock

    async def CreateNamespace(  # noqa: N802 - the name is the proto's
        self, request: pb.CreateNamespaceRequest, context: Any
    ) -> pb.CreateNamespaceResponse:
        """Make a namespace."""
        row = await self._parts.tenants.create_namespace(
            _wish(request), request.namespace_id, request.title
        )
        return pb.CreateNamespaceResponse(namespace=namespace_message(row))

    async def GetNamespace(  # noqa: N802 - the name is the proto's
        self, request: pb.GetNamespaceRequest, context: Any
    ) -> pb.GetNamespaceResponse:
        """Read a namespace."""
        row = await self._parts.tenants.namespace(last_part(request.name))
        return pb.GetNamespaceResponse(namespace=namespace_message(row))

    async def ListNamespaces(  # noqa: N802 - the name is the proto's
        self, request: pb.ListNamespacesRequest, context: Any
    ) -> pb.ListNamespacesResponse:
        """A page of namespaces."""
        page = await self._parts.tenants.namespaces(request.page_size, request.page_token)
        return pb.ListNamespacesResponse(
            namespaces=[namespace_message(row) for row in page.rows],
            next_page_token=page.next_token,
        )

    async def DisableNamespace(  # noqa: N802 - the name is the proto's
        self, request: pb.DisableNamespaceRequest, context: Any
    ) -> pb.DisableNamespaceResponse:
        """Refuse a namespace's keys."""
        row = await self._parts.tenants.switch_namespace(
            _wish(request), last_part(request.name), enabled=False
        )
        return pb.DisableNamespaceResponse(namespace=namespace_message(row))

    async def EnableNamespace(  # noqa: N802 - the name is the proto's
        self, request: pb.EnableNamespaceRequest, context: Any
    ) -> pb.EnableNamespaceResponse:
        """Let a namespace's keys in again."""
        row = await self._parts.tenants.switch_namespace(
            _wish(request), last_part(request.name), enabled=True
        )
        return pb.EnableNamespaceResponse(namespace=namespace_message(row))

    async def CreateUser(  # noqa: N802 - the name is the proto's
        self, request: pb.CreateUserRequest, context: Any
    ) -> pb.CreateUserResponse:
        """Make a user."""
        wanted = UserRow(
            namespace=_namespace(request.parent),
            user_id=request.user_id,
            name=request.display_name,
            email=request.email,
            channels=tuple(request.channels),
            enabled=True,
            updated_ms=0,
        )
        row = await self._parts.tenants.create_user(_wish(request), wanted)
        return pb.CreateUserResponse(user=user_message(row))

    async def GetUser(  # noqa: N802 - the name is the proto's
        self, request: pb.GetUserRequest, context: Any
    ) -> pb.GetUserResponse:
        """Read a user."""
        row = await self._parts.tenants.user(_namespace(request.name), last_part(request.name))
        return pb.GetUserResponse(user=user_message(row))

    async def ListUsers(  # noqa: N802 - the name is the proto's
        self, request: pb.ListUsersRequest, context: Any
    ) -> pb.ListUsersResponse:
        """A page of users."""
        page = await self._parts.tenants.users(
            _namespace(request.parent), request.page_size, request.page_token
        )
        return pb.ListUsersResponse(
            users=[user_message(row) for row in page.rows], next_page_token=page.next_token
        )

    async def DisableUser(  # noqa: N802 - the name is the proto's
        self, request: pb.DisableUserRequest, context: Any
    ) -> pb.DisableUserResponse:
        """Refuse the keys that stand for a user."""
        row = await self._parts.tenants.switch_user(
            _wish(request), _namespace(request.name), last_part(request.name), enabled=False
        )
        return pb.DisableUserResponse(user=user_message(row))

    async def EnableUser(  # noqa: N802 - the name is the proto's
        self, request: pb.EnableUserRequest, context: Any
    ) -> pb.EnableUserResponse:
        """Let the keys that stand for a user in again."""
        row = await self._parts.tenants.switch_user(
            _wish(request), _namespace(request.name), last_part(request.name), enabled=True
        )
        return pb.EnableUserResponse(user=user_message(row))

    async def CreateKey(  # noqa: N802 - the name is the proto's
        self, request: pb.CreateKeyRequest, context: Any
    ) -> pb.CreateKeyResponse:
        """Make a key; its secret is in this answer and nowhere else."""
        has_end = request.HasField("expire_time")
        wanted = NewKey(
            namespace=_namespace(request.parent),
            subject=request.subject,
            roles=roles_of(request.roles),
            expires_ms=ms_from_timestamp(request.expire_time) if has_end else None,
        )
        made = await self._parts.keys.create(_wish(request), wanted)
        return pb.CreateKeyResponse(key=key_message(made.row, self._now_ms()), secret=made.secret)

    async def ListKeys(  # noqa: N802 - the name is the proto's
        self, request: pb.ListKeysRequest, context: Any
    ) -> pb.ListKeysResponse:
        """A page of keys."""
        page = await self._parts.keys.page(
            _namespace(request.parent), request.subject, request.page_size, request.page_token
        )
        now_ms = self._now_ms()
        return pb.ListKeysResponse(
            keys=[key_message(row, now_ms) for row in page.rows], next_page_token=page.next_token
        )

    async def RevokeKey(  # noqa: N802 - the name is the proto's
        self, request: pb.RevokeKeyRequest, context: Any
    ) -> pb.RevokeKeyResponse:
        """Refuse a key from now on."""
        row = await self._parts.keys.revoke(
            _wish(request), _namespace(request.name), last_part(request.name)
        )
        return pb.RevokeKeyResponse(key=key_message(row, self._now_ms()))

    async def ListAudit(  # noqa: N802 - the name is the proto's
        self, request: pb.ListAuditRequest, context: Any
    ) -> pb.ListAuditResponse:
        """A page of the audit log."""
        has = request.HasField
        query = AuditQuery(
            namespace=_namespace(request.parent) if request.parent else "",
            actor=request.actor,
            action=request.action,
            from_ms=ms_from_timestamp(request.noted_from) if has("noted_from") else None,
            to_ms=ms_from_timestamp(request.noted_to) if has("noted_to") else None,
        )
        page = await self._parts.audit_log.page(query, request.page_size, request.page_token)
        return pb.ListAuditResponse(
            entries=[audit_message(row) for row in page.rows], next_page_token=page.next_token
        )

    def _now_ms(self) -> int:
        return self._clock.now().wall_ms


def _wish(request: Any) -> Wish:
    """Who wants this, by which request."""
    return Wish(caller=caller(), request_id=request.request_id)


def _namespace(name: str) -> str:
    return named_namespace(name, caller().namespace)
