"""Keys of the store: learned once, believed for a minute, refused soon after they are revoked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from timeball.errors import (
    PermissionDenied,
    ResourceExhausted,
    StoreUnavailable,
    Unauthenticated,
    Unavailable,
)

from tests.support.manual_clock import ManualClock
from timeball_server.ports.access import KeyRow, NamespaceRow, RowT, UserRow
from timeball_server.rpc.auth import Role, StoredKey, key_digest
from timeball_server.rpc.live_keys import (
    FRESH_MS,
    IDLE_MS,
    MAX_LOOKUPS,
    REFRESH_MS,
    UNKNOWN_MS,
    LiveKeys,
)
from timeball_server.store.memory_access import AccessTables, MemoryAccess

pytestmark = pytest.mark.asyncio
PEPPER = b"a pepper of some length"
KEY = "tb.shop_abc.s3cret"
BEARER = f"Bearer {KEY}"
OF_FILE = "tb.boss.file-secret"


class Access(MemoryAccess):
    """Counts reads; can be away, and can be held up."""

    def __init__(self) -> None:
        super().__init__(AccessTables())
        self.reads = 0
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.all_wait = asyncio.Event()

    async def read(self, kind: type[RowT], partition: str, name: str) -> RowT | None:
        self.reads += 1
        if self.reads >= MAX_LOOKUPS:
            self.all_wait.set()
        await self.gate.wait()
        if self.is_away:
            raise StoreUnavailable("the database did not answer")
        return await super().read(kind, partition, name)


def row(key: str = KEY, **changes: Any) -> KeyRow:
    made = KeyRow(
        namespace="shop",
        key_id=key.split(".")[1],
        digest=key_digest(key, PEPPER),
        subject="clerk",
        roles=("submitter", "of a newer version"),
        created_ms=1,
        created_by="boss",
        request_id="",
    )
    return replace(made, **changes)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.access = Access()
        boss = StoredKey(
            digest=key_digest(OF_FILE, PEPPER),
            subject="boss",
            namespace="default",
            roles=frozenset({Role.ADMIN}),
        )
        self.keys = LiveKeys({"boss": boss}, PEPPER, self.clock)
        self.keys.attach(self.access)

    async def call(self, authorization: str | None = BEARER) -> Any:
        """As the gate does it."""
        if not self.keys.knows(authorization):
            await self.keys.learn(authorization)
        return self.keys.authenticate(authorization)

    async def revoke(self) -> None:
        assert await self.access.change(row(revoked_ms=5))


async def test_a_stored_key_is_read_once_and_stands_for_its_subject() -> None:
    world = World()
    await world.access.add(row())
    for _ in range(3):
        who = await world.call()
    assert (who.subject, who.namespace) == ("clerk", "shop")
    assert who.roles == {Role.SUBMITTER, Role.VIEWER}
    assert world.access.reads == 3  # the key, its namespace, its user


async def test_keys_of_the_file_never_need_the_store() -> None:
    world = World()
    world.access.is_away = True
    assert (await world.call(f"Bearer {OF_FILE}")).subject == "boss"
    assert world.access.reads == 0


@pytest.mark.parametrize(
    "authorization",
    [
        *(None, "", "Bearer", "Bearer x", "Bearer tb.", "Bearer tb.boss.wrong"),
        *("Bearer tb.no-suffix.x", "Bearer tb._a.x", "Bearer tb.Shop_abc.x", f"Basic {KEY}"),
        *("Bearer tb.shop_ABC.x", "Bearer tb.shop_abc.x.y", "Bearer tb.shop_" + "a" * 33 + ".x"),
    ],
)
async def test_what_cannot_be_a_stored_key_is_refused_without_a_read(
    authorization: str | None,
) -> None:
    world = World()
    with pytest.raises(Unauthenticated):
        await world.call(authorization)
    assert world.access.reads == 0


async def test_a_wrong_secret_an_unknown_id_and_a_revoked_key_get_the_same_words() -> None:
    world = World()
    await world.access.add(row())
    await world.access.add(row("tb.shop_old.s", revoked_ms=5))
    said = set()
    for wrong in (f"{BEARER}x", "Bearer tb.shop_nobody.s", "Bearer tb.shop_old.s"):
        with pytest.raises(Unauthenticated) as caught:
            await world.call(wrong)
        said.add((caught.value.message, tuple(caught.value.metadata)))
    assert len(said) == 1


async def test_an_expired_key_is_refused() -> None:
    world = World()
    await world.access.add(row(expires_ms=world.clock.now().wall_ms + 1_000))
    assert await world.call()
    world.clock.advance(1_000)
    with pytest.raises(Unauthenticated):
        await world.call()


async def test_a_revoked_key_is_refused_within_a_minute_and_at_once_where_it_was_done() -> None:
    world = World()
    await world.access.add(row())
    await world.call()
    await world.revoke()
    assert await world.call()  # what was read is believed for a while
    world.clock.advance(FRESH_MS + 1)
    with pytest.raises(Unauthenticated):
        await world.call()
    other = World()
    await other.access.add(row())
    await other.call()
    await other.revoke()
    other.keys.forget("shop_abc")
    with pytest.raises(Unauthenticated):
        await other.call()


async def test_a_refresh_notices_a_revocation_and_forgets_what_nobody_uses() -> None:
    world = World()
    await world.access.add(row())
    await world.access.add(row("tb.shop_idle.s"))
    await world.call()
    await world.call("Bearer tb.shop_idle.s")
    for _ in range(IDLE_MS // REFRESH_MS + 1):
        world.clock.advance(REFRESH_MS)
        await world.keys.refresh()
        await world.call()
    before = world.access.reads
    await world.keys.refresh()
    assert world.access.reads == before  # nothing is old enough
    world.clock.advance(REFRESH_MS)
    await world.keys.refresh()
    assert world.access.reads == before + 3  # the key in use, not the idle one
    await world.revoke()
    world.clock.advance(REFRESH_MS)
    await world.keys.refresh()
    with pytest.raises(Unauthenticated):
        await world.call()


@pytest.mark.parametrize("kind", ["user", "namespace"])
async def test_a_disabled_user_or_namespace_is_denied_and_told_why(kind: str) -> None:
    world = World()
    await world.access.add(row())
    switched: Any = (
        UserRow(namespace="shop", user_id="clerk", name="", email="", channels=(), enabled=False,
                updated_ms=1)
        if kind == "user"
        else NamespaceRow(namespace="shop", title="", enabled=False, created_ms=1, updated_ms=1,
                          request_id="")
    )  # fmt: skip
    await world.access.add(switched)
    with pytest.raises(PermissionDenied, match="disabled"):
        await world.call()
    with pytest.raises(Unauthenticated):
        await world.call(f"{BEARER}x")
    assert await world.access.change(replace(switched, enabled=True))
    world.keys.forget_all()
    assert await world.call()


async def test_without_the_store_known_keys_work_for_a_minute_and_nobody_else() -> None:
    world = World()
    await world.access.add(row())
    await world.call()
    world.access.is_away = True
    world.clock.advance(REFRESH_MS)
    await world.keys.refresh()
    assert await world.call()
    world.clock.advance(FRESH_MS)
    with pytest.raises(Unavailable):
        await world.call()
    with pytest.raises(Unavailable):
        world.keys.authenticate(BEARER)
    with pytest.raises(Unavailable):
        await world.call("Bearer tb.shop_other.s")
    world.access.is_away = False
    assert await world.call()


async def test_unknown_ids_are_looked_for_once_in_a_while_and_not_too_many_at_a_time() -> None:
    world = World()
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await world.call()
    assert world.access.reads == 1
    await world.access.add(row())
    world.clock.advance(UNKNOWN_MS + 1)
    assert await world.call()
    world.access.gate.clear()
    waiting = [
        asyncio.ensure_future(world.call(f"Bearer tb.shop_n{n}.s")) for n in range(MAX_LOOKUPS)
    ]
    waiting += [asyncio.ensure_future(world.call("Bearer tb.shop_n0.s"))]  # shares a read
    await world.access.all_wait.wait()
    with pytest.raises(ResourceExhausted) as caught:
        await world.call("Bearer tb.shop_more.s")
    assert caught.value.retry_after_s
    world.access.gate.set()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in ended} == {Unauthenticated}


async def test_sessions_end_with_their_key() -> None:
    world = World()
    await world.access.add(row())
    await world.call()
    token = world.keys.open_session(BEARER, 3_600_000)
    assert world.keys.session_holder(token).subject == "clerk"
    await world.revoke()
    world.clock.advance(REFRESH_MS)
    await world.keys.refresh()
    with pytest.raises(Unauthenticated):
        world.keys.session_holder(token)
