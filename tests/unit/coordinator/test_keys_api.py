"""Keys, users and namespaces without a wire: limits, repetitions, pages, and what is noted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import wraps

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timeball.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidRequest,
    ResourceNotFound,
    StoreUnavailable,
    Unauthenticated,
)

from coordinator.access_api import AccessApi, Wish
from coordinator.audit import Auditor
from coordinator.keys_api import MAX_LIVE_KEYS, KeysApi, Made, NewKey
from coordinator.requests import Caller
from tests.support.manual_clock import START_WALL_MS, ManualClock
from timeball_server.ports.access import CLUSTER, KeyRow, NamespaceRow, RowT, UserRow
from timeball_server.rpc.auth import Role
from timeball_server.rpc.live_keys import LiveKeys
from timeball_server.store.memory_access import AccessTables, MemoryAccess

PEPPER = b"a pepper of some length"
BOSS = Caller("default", "boss")
BILLING = NewKey(namespace="default", subject="billing", roles=frozenset({Role.VIEWER}))
ANNA = UserRow(
    namespace="default",
    user_id="anna",
    name="Anna",
    email="a@example.org",
    channels=("mail",),
    enabled=True,
    updated_ms=0,
)


class World:
    def __init__(self, *, asks_for_keys: bool = True, access: MemoryAccess | None = None) -> None:
        self.clock = ManualClock()
        self.access = access or MemoryAccess(AccessTables())
        entropy = random.Random(7)
        self.live = LiveKeys({}, PEPPER, self.clock)
        self.live.attach(self.access)
        self.switched = 0
        auditor = Auditor(self.access, self.clock, entropy)
        self.tenants = AccessApi(self.access, auditor, self.clock, b"key", self._switch)
        live = self.live if asks_for_keys else None
        self.keys = KeysApi(self.access, self.tenants, auditor, self.clock, entropy, live, b"key")

    def _switch(self) -> None:
        self.switched += 1

    async def lets_in(self, key: str) -> bool:
        """Whether a coordinator that knows nothing yet lets a key in."""
        keys = LiveKeys({}, PEPPER, self.clock)
        keys.attach(self.access)
        await keys.learn(f"Bearer {key}")
        try:
            return keys.authenticate(f"Bearer {key}").subject == "billing"
        except Unauthenticated:
            return False

    async def noted(self, namespace: str = "default") -> list[tuple[str, str, str]]:
        rows = (await self.access.list_audit(namespace, START_WALL_MS // 86_400_000, None, 99)).rows
        return [(row.action, row.target, row.outcome) for row in rows]


def on_world(
    scenario: Callable[[World], Coroutine[object, object, None]],
) -> Callable[[], None]:
    @wraps(scenario)
    def run() -> None:
        asyncio.run(scenario(World()))

    del run.__wrapped__  # pytest would look for its fixtures
    return run


def wish(request_id: str = "") -> Wish:
    return Wish(caller=BOSS, request_id=request_id)


@on_world
async def test_a_key_lets_its_subject_in_and_only_its_hash_is_kept(world: World) -> None:
    made = await world.keys.create(wish(), BILLING)
    assert await world.lets_in(made.secret)
    assert not await world.lets_in(made.secret + "x")
    words = made.secret.split(".")[2]
    kept = await world.access.read(KeyRow, "default", made.row.key_id)
    assert words not in repr(kept)
    assert len(words) >= 43  # 32 bytes
    assert (await world.noted()) == [("CreateKey", "default/billing", "OK")]


@on_world
async def test_a_repetition_answers_the_same_key_without_its_secret(world: World) -> None:
    first = await world.keys.create(wish("r1"), BILLING)
    again = await world.keys.create(wish("r1"), BILLING)
    other = await world.keys.create(wish("r2"), BILLING)
    assert (again.row, again.secret) == (first.row, "")
    assert other.row.key_id != first.row.key_id
    assert await world.lets_in(first.secret)


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["make", "revoke", "two at once", "an hour"]), max_size=14))
def test_never_do_more_than_two_keys_of_a_subject_live(steps: list[str]) -> None:
    async def main() -> None:
        world = World()
        live: list[Made] = []
        for step in steps:
            if step == "an hour":
                world.clock.advance(3_600_000)
            elif step == "revoke" and live:
                gone = live.pop(0)
                await world.keys.revoke(wish(), "default", gone.row.key_id)
            elif step != "revoke":
                soon = world.clock.now().wall_ms + 5_400_000
                wanted = replace(BILLING, expires_ms=soon)
                many = 2 if step == "two at once" else 1
                made = await asyncio.gather(
                    *(world.keys.create(wish(), wanted) for _ in range(many)),
                    return_exceptions=True,
                )
                for each in made:
                    if isinstance(each, Made):
                        live.append(each)
                    else:
                        assert isinstance(each, FailedPrecondition)
            now_ms = world.clock.now().wall_ms
            live = [each for each in live if (each.row.expires_ms or 0) > now_ms]
            let_in = [each for each in live if await world.lets_in(each.secret)]
            assert let_in == live
            assert len(live) <= MAX_LIVE_KEYS

    asyncio.run(main())


@on_world
async def test_what_cannot_be_made_is_refused_and_noted(world: World) -> None:
    past = replace(BILLING, expires_ms=world.clock.now().wall_ms)
    for wanted, error in [
        (past, InvalidRequest),
        (replace(BILLING, namespace="nowhere"), ResourceNotFound),
    ]:
        with pytest.raises(error):
            await world.keys.create(wish(), wanted)
    await world.tenants.switch_namespace(wish(), "default", enabled=False)
    with pytest.raises(FailedPrecondition, match="disabled"):
        await world.keys.create(wish(), BILLING)
    closed = World(asks_for_keys=False)
    with pytest.raises(FailedPrecondition, match=r"access\.pepper"):
        await closed.keys.create(wish(), BILLING)
    assert (await world.keys.page("default", "", 0, "")).rows == []
    with pytest.raises(ResourceNotFound):
        await world.keys.revoke(wish(), "default", "default_0")
    outcomes = {outcome for _, _, outcome in await world.noted()}
    assert outcomes == {"OK", "INVALID_REQUEST", "FAILED_PRECONDITION", "RESOURCE_NOT_FOUND"}


@on_world
async def test_keys_are_paged_by_id_for_one_subject_or_all(world: World) -> None:
    made = [
        await world.keys.create(wish(), replace(BILLING, subject=f"s{number % 3}"))
        for number in range(6)
    ]
    ids = sorted(each.row.key_id for each in made)
    found: list[str] = []
    token = ""
    while True:
        page = await world.keys.page("default", "", 4, token)
        found += [row.key_id for row in page.rows]
        token = page.next_token
        if not token:
            break
        with pytest.raises(InvalidRequest, match="page_token"):
            await world.keys.page("default", "s1", 4, token)
    assert found == ids
    assert len((await world.keys.page("default", "s1", 0, "")).rows) == 2


@on_world
async def test_namespaces_are_made_once_and_switched(world: World) -> None:
    made = await world.tenants.create_namespace(wish("r1"), "shop", "The shop")
    assert await world.tenants.create_namespace(wish("r1"), "shop", "The shop") == made
    for request_id in ("", "r2"):
        world.clock.advance(1)
        with pytest.raises(AlreadyExists):
            await world.tenants.create_namespace(wish(request_id), "shop", "The shop")
    with pytest.raises(AlreadyExists):
        await world.tenants.create_namespace(wish(), "default", "")
    assert (await world.tenants.namespace("default")).enabled
    for name in ("shop", "default"):
        for enabled in (False, False, True):
            row = await world.tenants.switch_namespace(wish(), name, enabled=enabled)
            assert row.enabled == enabled
            assert (await world.tenants.namespace(name)).enabled == enabled
    assert world.switched == 6
    with pytest.raises(ResourceNotFound):
        await world.tenants.switch_namespace(wish(), "nowhere", enabled=True)
    kept = await world.access.read(NamespaceRow, CLUSTER, "shop")
    assert kept is not None
    assert (kept.title, kept.created_ms) == ("The shop", made.created_ms)


@on_world
async def test_users_are_made_once_with_one_content_and_switched(world: World) -> None:
    made = await world.tenants.create_user(wish(), ANNA)
    world.clock.advance(5)
    assert await world.tenants.create_user(wish(), ANNA) == made
    with pytest.raises(AlreadyExists):
        await world.tenants.create_user(wish(), replace(ANNA, email="b@example.org"))
    with pytest.raises(ResourceNotFound):
        await world.tenants.create_user(wish(), replace(ANNA, namespace="nowhere"))
    off = await world.tenants.switch_user(wish(), "default", "anna", enabled=False)
    assert (off.enabled, off.email) == (False, "a@example.org")
    assert await world.tenants.create_user(wish(), ANNA) == off  # a repetition switches nothing on
    assert (await world.tenants.users("default", 0, "")).rows == [off]
    with pytest.raises(ResourceNotFound):
        await world.tenants.switch_user(wish(), "default", "nobody", enabled=False)
    assert world.switched == 1


class Broken(MemoryAccess):
    """Adds nothing."""

    async def add(self, row: RowT) -> RowT:
        raise StoreUnavailable("the database did not answer")


def test_a_database_that_is_away_is_noted_as_how_it_ended() -> None:
    async def main() -> None:
        world = World(access=Broken(AccessTables()))
        with pytest.raises(StoreUnavailable):
            await world.keys.create(wish(), BILLING)
        assert await world.noted() == [("CreateKey", "default/billing", "STORE_UNAVAILABLE")]

    asyncio.run(main())
