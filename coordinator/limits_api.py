"""What administrators set for keys, handlers and namespaces: set, listed, taken back.

Counts nothing: owners read the rows themselves, within a few seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from timeball.errors import FailedPrecondition, ResourceNotFound

from coordinator.access_api import AccessApi, Rows, Wish, page_of_rows
from coordinator.audit import Auditor
from timeball_server.ports.access import CLUSTER, AccessStore, LimitRow
from timeball_server.ports.clock import Clock

MAX_LIMITS: Final = 1_000
"""Limits of one namespace, those that were taken back included: owners read all of them."""


class LimitsApi:
    """Limits of namespaces."""

    def __init__(
        self,
        access: AccessStore,
        tenants: AccessApi,
        auditor: Auditor,
        clock: Clock,
        token_key: bytes,
    ) -> None:
        self._access = access
        self._tenants = tenants
        self._auditor = auditor
        self._clock = clock
        self._key = token_key

    async def set(self, wish: Wish, row: LimitRow) -> LimitRow:
        """Set a limit, whatever was set before.

        Raises:
            ResourceNotFound: there is no such namespace.
            FailedPrecondition: it has as many limits as a namespace may have.
        """
        row = replace(
            row, enabled=True, actor=wish.caller.subject, updated_ms=self._clock.now().wall_ms
        )
        async with self._auditor.noted(wish.deed("SetLimit", row.name, row.namespace, _words(row))):
            await self._tenants.namespace(row.namespace)
            if await self._access.change(row):
                return row
            if len(await self._names(row.namespace, MAX_LIMITS)) >= MAX_LIMITS:
                raise FailedPrecondition(
                    f"namespace {row.namespace} has {MAX_LIMITS} limits already; one pattern that "
                    "ends in * can stand for many"
                )
            await self._access.add(row)
        return row

    async def page(self, namespace: str, page_size: int, page_token: str) -> Rows[LimitRow]:
        """A page of what a namespace has set.

        Raises:
            InvalidRequest: the token is not for this list.
        """

        async def read(after: str, limit: int) -> Sequence[LimitRow]:
            rows = await self._names(namespace, MAX_LIMITS)
            return [row for row in rows if row.enabled and row.name > after][:limit]

        return await page_of_rows(
            read, lambda row: row.name, ["limits", namespace], self._key, page_size, page_token
        )

    async def delete(self, wish: Wish, name: str, row: LimitRow) -> None:
        """Take a limit back; `row` names it.

        Raises:
            ResourceNotFound: nothing of the kind is set.
        """
        async with self._auditor.noted(wish.deed("DeleteLimit", row.name, row.namespace)):
            standing = await self._access.read(LimitRow, CLUSTER, name)
            if standing is None or not standing.enabled:
                raise ResourceNotFound(f"nothing is set for {name}; see ListLimits")
            now_ms = self._clock.now().wall_ms
            actor = wish.caller.subject
            await self._access.change(
                replace(standing, enabled=False, actor=actor, updated_ms=now_ms)
            )

    async def _names(self, namespace: str, limit: int) -> Sequence[LimitRow]:
        """Rows of a namespace, taken back or not."""
        start = f"{namespace}/"
        rows = await self._access.list_rows(LimitRow, CLUSTER, start, limit)
        return [row for row in rows if row.name.startswith(start)]


def _words(row: LimitRow) -> str:
    """What is set, for the audit log."""
    said = (
        (row.concurrency, f"concurrency {row.concurrency}"),
        (row.starts, f"{row.starts} starts in {row.per_ms} ms, burst {row.burst}"),
        (row.kind == "NAMESPACE", f"weight {row.weight}"),
        (row.reason, row.reason),
    )
    return "; ".join(words for is_set, words in said if is_set)
