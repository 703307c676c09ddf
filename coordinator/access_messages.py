"""Namespaces, users, keys and audit entries as messages, field by field. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from timeball.v1 import admin_service_pb2 as pb

from coordinator.keys_api import is_live
from timeball_server.ports.access import AuditRow, KeyRow, NamespaceRow, UserRow
from timeball_server.rpc.access import OWN_NAMESPACE
from timeball_server.rpc.auth import Role
from timeball_server.rpc.convert import set_timestamp

ROLES: Final = {role: pb.AccessRole.Value(f"ACCESS_ROLE_{role.upper()}") for role in Role}
_ROLES_BACK: Final = {number: role for role, number in ROLES.items()}


def named_namespace(name: str, own: str) -> str:
    """The namespace in a parent or a name; empty and a hyphen stand for the caller's own."""
    namespace = name.split("/")[1] if name else OWN_NAMESPACE
    return own if namespace == OWN_NAMESPACE else namespace


def last_part(name: str) -> str:
    """What a name names within its collection."""
    return name.rpartition("/")[2]


def roles_of(numbers: Iterable[pb.AccessRole.ValueType]) -> frozenset[Role]:
    """The roles of a request."""
    return frozenset(_ROLES_BACK[number] for number in numbers)


def namespace_message(row: NamespaceRow) -> pb.Namespace:
    """A namespace."""
    message = pb.Namespace(name=f"namespaces/{row.namespace}", title=row.title, enabled=row.enabled)
    if row.created_ms:
        set_timestamp(message.create_time, row.created_ms)
    if row.updated_ms:
        set_timestamp(message.update_time, row.updated_ms)
    return message


def user_message(row: UserRow) -> pb.User:
    """A user."""
    message = pb.User(
        name=f"namespaces/{row.namespace}/users/{row.user_id}",
        display_name=row.name,
        email=row.email,
        channels=row.channels,
        enabled=row.enabled,
    )
    set_timestamp(message.update_time, row.updated_ms)
    return message


def key_message(row: KeyRow, now_ms: int) -> pb.Key:
    """A key, without its hash."""
    message = pb.Key(
        name=f"namespaces/{row.namespace}/keys/{row.key_id}",
        subject=row.subject,
        roles=[ROLES[Role(name)] for name in row.roles if name in set(Role)],
        creator=row.created_by,
        live=is_live(row, now_ms),
    )
    set_timestamp(message.create_time, row.created_ms)
    if row.expires_ms is not None:
        set_timestamp(message.expire_time, row.expires_ms)
    if row.revoked_ms is not None:
        set_timestamp(message.revoke_time, row.revoked_ms)
    return message


def audit_message(row: AuditRow) -> pb.AuditEntry:
    """An entry of the audit log."""
    message = pb.AuditEntry(
        id=row.id,
        actor=row.actor,
        action=row.action,
        target=row.target,
        outcome=row.outcome,
        request_id=row.request_id,
        detail=row.detail,
    )
    set_timestamp(message.time, row.at_ms)
    return message
