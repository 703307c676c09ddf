"""The contract of ports/access.py over every adapter: namespaces, users, keys, the audit log."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from timeball.errors import InvalidRequest

from tests.support.store_worlds import DAY, START_MS
from timeball_server.ports.access import (
    AccessRow,
    AccessStore,
    AuditRow,
    KeyRow,
    LimitRow,
    NamespaceRow,
    UserRow,
)

pytestmark = pytest.mark.asyncio


def namespace(name: str) -> NamespaceRow:
    return NamespaceRow(
        namespace=name,
        title="a shop, très bon",
        enabled=True,
        created_ms=START_MS,
        updated_ms=START_MS,
        request_id="request-1",
    )


def user(name: str) -> UserRow:
    return UserRow(
        namespace="bank",
        user_id=name,
        name="The Teller",
        email="teller@example.org",
        channels=("mail", "web hook"),
        enabled=True,
        updated_ms=START_MS,
    )


def key(name: str) -> KeyRow:
    return KeyRow(
        namespace="bank",
        key_id=name,
        digest=bytes(range(32)),
        subject="teller",
        roles=("submitter", "viewer"),
        created_ms=START_MS,
        created_by="admin",
        request_id="request-1",
        expires_ms=None,
        revoked_ms=None,
    )


def limit(name: str) -> LimitRow:
    return LimitRow(
        name=name,
        namespace="bank",
        kind="KEY",
        pattern="customer/é*",
        concurrency=7,
        starts=10,
        per_ms=1_000,
        burst=3,
        weight=1,
        enabled=True,
        reason="the bank asked",
        actor="admin",
        updated_ms=START_MS,
    )


def audit(number: int, at_ms: int = START_MS, concerned: str = "bank") -> AuditRow:
    return AuditRow(
        namespace=concerned,
        at_ms=at_ms,
        id=f"{number:04x}",
        actor="admin",
        action="RevokeKey",
        target="bank_1",
        outcome="OK",
        request_id="request-1",
        detail="é",
    )


KINDS = pytest.mark.parametrize(
    ("make", "partition", "changes"),
    [
        (namespace, "default", {"enabled": False, "updated_ms": START_MS + 1}),
        (user, "bank", {"enabled": False, "channels": ()}),
        (key, "bank", {"revoked_ms": 2**52, "expires_ms": START_MS}),
        (limit, "default", {"enabled": False, "concurrency": 0, "per_ms": 2**40}),
    ],
    ids=["namespaces", "users", "keys", "limits"],
)


@KINDS
async def test_the_first_row_of_a_key_stands(
    access: AccessStore, make: Any, partition: str, changes: dict[str, Any]
) -> None:
    row = make("one")
    assert await access.read(type(row), partition, "one") is None
    assert await access.add(row) == row
    assert await access.add(replace(row, **changes)) == row
    assert await access.read(type(row), partition, "one") == row
    assert await access.read(type(row), "elsewhere", "one") is None


@KINDS
async def test_of_many_that_add_one_key_at_once_one_wins(
    access: AccessStore, make: Any, partition: str, changes: dict[str, Any]
) -> None:
    rows = [make("one"), replace(make("one"), **changes)] * 3
    standing = await asyncio.gather(*(access.add(row) for row in rows))
    assert len({repr(row) for row in standing}) == 1
    assert await access.read(type(rows[0]), partition, "one") == standing[0]


@KINDS
async def test_a_change_needs_a_row_and_keeps_what_it_does_not_say(
    access: AccessStore, make: Any, partition: str, changes: dict[str, Any]
) -> None:
    row = make("one")
    changed = replace(row, **changes)
    assert not await access.change(changed)
    assert await access.read(type(row), partition, "one") is None
    await access.add(row)
    assert await access.change(changed)
    assert await access.change(changed)
    assert await access.read(type(row), partition, "one") == changed


async def test_an_absent_field_of_a_change_keeps_what_it_was(access: AccessStore) -> None:
    await access.add(replace(key("one"), expires_ms=5))
    assert await access.change(replace(key("one"), revoked_ms=7))
    kept = await access.read(KeyRow, "bank", "one")
    assert kept is not None
    assert (kept.expires_ms, kept.revoked_ms) == (5, 7)


@KINDS
@pytest.mark.parametrize("limit", [1, 2, 9, 10])
async def test_rows_are_listed_by_name_page_by_page(
    access: AccessStore, make: Any, partition: str, changes: dict[str, Any], limit: int
) -> None:
    rows = [make(f"n{number}") for number in range(9)]
    for row in reversed(rows):
        await access.add(row)
    found: list[AccessRow] = []
    after = ""
    while page := await access.list_rows(type(rows[0]), partition, after, limit):
        assert len(page) <= limit
        found += page
        after = f"n{len(found) - 1}"
    assert found == rows
    assert await access.list_rows(type(rows[0]), "elsewhere", "", 9) == []


@pytest.mark.parametrize("limit", [1, 3, 29, 30, 31])
async def test_the_audit_log_is_read_newest_first(access: AccessStore, limit: int) -> None:
    rows = [audit(number, START_MS + number // 3) for number in range(30)]
    await asyncio.gather(*(access.append_audit([row]) for row in rows))
    await access.append_audit(rows[:2])
    found: list[AuditRow] = []
    cursor: str | None = None
    while True:
        page = await access.list_audit("bank", DAY, cursor, limit)
        found += page.rows
        cursor = page.cursor
        if cursor is None:
            break
    assert found == rows[::-1]


async def test_a_day_of_the_audit_log_is_half_open_and_one_namespace_s(
    access: AccessStore,
) -> None:
    start_ms, end_ms = DAY * 86_400_000, (DAY + 1) * 86_400_000
    inside = [audit(2, end_ms - 1), audit(1, start_ms)]
    await access.append_audit(
        [*inside, audit(3, start_ms - 1), audit(4, end_ms), audit(5, start_ms, "")]
    )
    await access.append_audit([])
    assert list((await access.list_audit("bank", DAY, None, 9)).rows) == inside
    assert [row.id for row in (await access.list_audit("", DAY, None, 9)).rows] == ["0005"]
    assert (await access.list_audit("shop", DAY, None, 9)).rows == ()


async def test_a_foreign_cursor_of_the_audit_log_is_refused(access: AccessStore) -> None:
    for cursor in ("", "x", "-.x", "5."):
        with pytest.raises(InvalidRequest):
            await access.list_audit("bank", DAY, cursor, 9)
