"""The access port: durable rows of namespaces, users, API keys, limits and the audit log.

Small tables that administrators change, apart from tasks. Every adapter of the store has one and
passes tests/conformance/test_store_access.py. Errors are those of ports/store.py; every write
here may be repeated.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, fields
from typing import Final, Protocol, TypeVar

from timeball_server.core.limit_rules import LimitKind, LimitRule, Rate
from timeball_server.ports.store import ListPage

CLUSTER: Final = "default"
"""The partition of what a cluster has one list of."""
ROWS_AT_ONCE: Final = 1_000
"""Rows that are asked for in one read where all are wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceRow:
    """A tenant. While it is not enabled its stored keys are refused; its tasks go on."""

    cluster: str = CLUSTER
    namespace: str
    title: str
    enabled: bool
    created_ms: int
    updated_ms: int
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """Somebody on whose behalf tasks run. `channels` say where notifications go."""

    namespace: str
    user_id: str
    name: str
    email: str
    channels: tuple[str, ...]
    enabled: bool
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """An API key. `digest` is the keyed hash of all of it; the secret is kept nowhere."""

    namespace: str
    key_id: str
    digest: bytes
    subject: str
    roles: tuple[str, ...]
    created_ms: int
    created_by: str
    request_id: str
    expires_ms: int | None = None
    revoked_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """Who did what, and how it ended; `namespace` is empty for what concerns the whole cluster.

    Key: ((namespace, day, slice), at_ms, id). `id` has lower-case letters and digits only.
    """

    namespace: str
    at_ms: int
    id: str
    actor: str
    action: str
    target: str
    outcome: str
    request_id: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """A limit of a namespace. One that is not enabled was taken back, and holds no longer.

    `name` is namespace, kind and pattern. A `concurrency` or `starts` of 0 = no such limit.
    """

    cluster: str = CLUSTER
    name: str
    namespace: str
    kind: str
    pattern: str
    concurrency: int
    starts: int
    per_ms: int
    burst: int
    weight: int
    enabled: bool
    reason: str
    actor: str
    updated_ms: int


def limit_name(namespace: str, kind: LimitKind, pattern: str) -> str:
    """The name of a limit's row; those of a namespace lie together."""
    return f"{namespace}/{kind}/{pattern}"


def rule_of(row: LimitRow) -> LimitRule:
    """What a row says."""
    has_rate = row.starts > 0
    rate = Rate(starts=row.starts, per_ms=row.per_ms, burst=row.burst) if has_rate else None
    return LimitRule(
        namespace=row.namespace,
        kind=LimitKind(row.kind),
        pattern=row.pattern,
        concurrency=row.concurrency or None,
        rate=rate,
        weight=row.weight,
    )


AccessRow = NamespaceRow | UserRow | KeyRow | LimitRow
RowT = TypeVar("RowT", bound=AccessRow)


class AccessStore(Protocol):
    """What coordinators keep of callers, and of what was done.

    A row's first two fields are its key: a partition, and a name within it.
    """

    async def add(self, row: RowT) -> RowT:
        """Write a row unless its key has one; the answer is the row that stands (conditional)."""
        ...

    async def change(self, row: AccessRow) -> bool:
        """Replace a row that is there; False = there is none, nothing was written (conditional).

        A field that is None keeps what it was.
        """
        ...

    async def read(self, kind: type[RowT], partition: str, name: str) -> RowT | None:
        """The row of one key."""
        ...

    async def list_rows(
        self, kind: type[RowT], partition: str, after: str, limit: int
    ) -> Sequence[RowT]:
        """Up to `limit` rows of a partition in the order of their names, after a name."""
        ...

    async def append_audit(self, rows: Sequence[AuditRow]) -> None:
        """Write rows of the audit log; the same row may be written again."""
        ...

    async def list_audit(
        self, namespace: str, day: int, cursor: str | None, limit: int
    ) -> ListPage[AuditRow]:
        """What was noted on a day, newest first; in one millisecond by falling id."""
        ...


async def each_row(
    access: AccessStore, kind: type[RowT], partition: str
) -> AsyncGenerator[RowT, None]:
    """Every row of a partition in the order of their names, a thousand of them in a read."""
    name, after = fields(kind)[1].name, ""
    while True:
        rows = await access.list_rows(kind, partition, after, ROWS_AT_ONCE)
        for row in rows:
            yield row
        if len(rows) < ROWS_AT_ONCE:
            return
        after = getattr(rows[-1], name)
