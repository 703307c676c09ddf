"""What administrators do with namespaces and users: made once, listed, switched off and on.

Decides nothing about tasks: those of a namespace that was switched off go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

from timeball.errors import AlreadyExists, ResourceNotFound

from coordinator.audit import Auditor, Deed
from coordinator.paging import seal_words, unseal_words
from coordinator.requests import Caller
from coordinator.walk import page_items
from timeball_server.ports.access import CLUSTER, AccessStore, NamespaceRow, UserRow
from timeball_server.ports.clock import Clock
from timeball_server.rpc.auth import DEFAULT_NAMESPACE

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A change that somebody wants."""

    caller: Caller
    request_id: str = ""

    def deed(self, action: str, target: str, namespace: str, detail: str = "") -> Deed:
        """The wish as it is noted."""
        return Deed(
            actor=self.caller.subject,
            action=action,
            target=target,
            namespace=namespace,
            request_id=self.request_id,
            detail=detail,
        )


class Rows(NamedTuple, Generic[RowT]):
    """Rows in order of their names, and the token of the next page, empty at the end."""

    rows: Sequence[RowT]
    next_token: str


class AccessApi:
    """Namespaces and users.

    Args:
        switched: is told that somebody was switched off or on, so that nothing stale is believed.
        token_key: seals page tokens.
    """

    def __init__(
        self,
        access: AccessStore,
        auditor: Auditor,
        clock: Clock,
        token_key: bytes,
        switched: Callable[[], None],
    ) -> None:
        self._access = access
        self._auditor = auditor
        self._clock = clock
        self._key = token_key
        self._switched = switched

    async def create_namespace(self, wish: Wish, name: str, title: str) -> NamespaceRow:
        """Make a namespace; the same request again answers the same one.

        Raises:
            AlreadyExists: somebody else made it.
        """
        now_ms = self._clock.now().wall_ms
        row = NamespaceRow(
            namespace=name,
            title=title,
            enabled=True,
            created_ms=now_ms,
            updated_ms=now_ms,
            request_id=wish.request_id,
        )
        async with self._auditor.noted(wish.deed("CreateNamespace", name, name)):
            if name == DEFAULT_NAMESPACE:
                raise AlreadyExists(f"every cluster has the namespace {name}")
            standing = await self._access.add(row)
            repeats = wish.request_id and standing.request_id == wish.request_id
            if standing != row and not repeats:
                raise AlreadyExists(f"there is a namespace {name} already")
        return standing

    async def namespace(self, name: str) -> NamespaceRow:
        """One namespace.

        Raises:
            ResourceNotFound: there is none of this name.
        """
        row = await self._access.read(NamespaceRow, CLUSTER, name)
        if row is None and name == DEFAULT_NAMESPACE:
            return _default()
        if row is None:
            raise ResourceNotFound(f"there is no namespace {name}")
        return row

    async def namespaces(self, page_size: int, page_token: str) -> Rows[NamespaceRow]:
        """A page of namespaces; the one that every cluster has is among them once it was changed.

        Raises:
            InvalidRequest: the token is not for this list.
        """
        return await page_of_rows(
            lambda after, limit: self._access.list_rows(NamespaceRow, CLUSTER, after, limit),
            lambda row: row.namespace,
            ["namespaces"],
            self._key,
            page_size,
            page_token,
        )

    async def switch_namespace(self, wish: Wish, name: str, *, enabled: bool) -> NamespaceRow:
        """Refuse its stored keys from now on, or let them in again.

        Raises:
            ResourceNotFound: there is none of this name.
        """
        action = "EnableNamespace" if enabled else "DisableNamespace"
        async with self._auditor.noted(wish.deed(action, name, name)):
            row = await self.namespace(name)
            row = replace(row, enabled=enabled, updated_ms=self._clock.now().wall_ms)
            if not await self._access.change(row):
                await self._access.add(row)
        self._switched()
        return row

    async def create_user(self, wish: Wish, row: UserRow) -> UserRow:
        """Make a user; the same content again is the same user.

        Raises:
            AlreadyExists: there is one with other content.
            ResourceNotFound: there is no such namespace.
        """
        row = replace(row, enabled=True, updated_ms=self._clock.now().wall_ms)
        async with self._auditor.noted(
            wish.deed("CreateUser", f"{row.namespace}/{row.user_id}", row.namespace)
        ):
            await self.namespace(row.namespace)
            standing = await self._access.add(row)
            if replace(standing, updated_ms=row.updated_ms, enabled=True) != row:
                raise AlreadyExists(f"there is a user {row.user_id} already, with other details")
        return standing

    async def user(self, namespace: str, user_id: str) -> UserRow:
        """One user.

        Raises:
            ResourceNotFound: there is none of this name.
        """
        row = await self._access.read(UserRow, namespace, user_id)
        if row is None:
            raise ResourceNotFound(f"there is no user {user_id} in namespace {namespace}")
        return row

    async def users(self, namespace: str, page_size: int, page_token: str) -> Rows[UserRow]:
        """A page of a namespace's users.

        Raises:
            InvalidRequest: the token is not for this list.
        """
        return await page_of_rows(
            lambda after, limit: self._access.list_rows(UserRow, namespace, after, limit),
            lambda row: row.user_id,
            ["users", namespace],
            self._key,
            page_size,
            page_token,
        )

    async def switch_user(
        self, wish: Wish, namespace: str, user_id: str, *, enabled: bool
    ) -> UserRow:
        """Refuse the keys that stand for a user from now on, or let them in again.

        Raises:
            ResourceNotFound: there is none of this name.
        """
        action = "EnableUser" if enabled else "DisableUser"
        target = f"{namespace}/{user_id}"
        async with self._auditor.noted(wish.deed(action, target, namespace)):
            row = await self.user(namespace, user_id)
            row = replace(row, enabled=enabled, updated_ms=self._clock.now().wall_ms)
            await self._access.change(row)
        self._switched()
        return row


async def page_of_rows(
    read: Callable[[str, int], Awaitable[Sequence[RowT]]],
    name_of: Callable[[RowT], str],
    query: Sequence[object],
    key: bytes,
    page_size: int,
    page_token: str,
) -> Rows[RowT]:
    """One page of rows in the order of their names.

    Args:
        read: up to so many rows after a name.
        query: what the token is bound to.

    Raises:
        InvalidRequest: the token is not for this query.
    """
    after = unseal_words(page_token, query, key)[0] if page_token else ""
    wanted = page_items(page_size)
    rows = await read(after, wanted + 1)
    if len(rows) <= wanted:
        return Rows(rows, "")
    return Rows(rows[:wanted], seal_words([name_of(rows[wanted - 1])], query, key))


def _default() -> NamespaceRow:
    """The namespace that every cluster has, as long as nobody changed it."""
    return NamespaceRow(
        namespace=DEFAULT_NAMESPACE, title="", enabled=True, created_ms=0, updated_ms=0,
        request_id="",
    )  # fmt: skip
