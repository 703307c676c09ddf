"""What the ZooKeeper adapter writes and reads, without a server: names, contents, transactions."""

from __future__ import annotations

import asyncio
import struct
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kazoo.exceptions import BadVersionError, NoNodeError, RolledBackError, RuntimeInconsistency
from kazoo.protocol.serialization import write_string

from timeball_server.coordination.zookeeper import layout, requests
from timeball_server.coordination.zookeeper.bridge import Bridge
from timeball_server.coordination.zookeeper.layout import Layout
from timeball_server.coordination.zookeeper.watchdog import Watchdog
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.ports.coordination import Assignment, Member, Role

NODES = st.text(min_size=1, max_size=20).map(NodeId)
SHARDS = st.integers(0, 65_535).map(ShardId)
PAIRS = st.tuples(st.text(max_size=8), st.text(max_size=8))
MEMBERS = st.builds(
    Member,
    role=st.sampled_from(Role),
    node=NODES,
    address=st.text(max_size=30),
    strength=st.integers(0, 1_000),
    slots=st.integers(0, 1_000),
    labels=st.lists(PAIRS, max_size=3).map(tuple),
    handlers=st.lists(st.text(max_size=8), max_size=3).map(tuple),
    started_ms=st.integers(0, 2**53),
    version=st.text(max_size=8),
    draining=st.booleans(),
)
STAT = tuple(range(100, 111))


# -- contents


@given(MEMBERS)
def test_a_member_is_read_as_it_was_written(member: Member) -> None:
    assert layout.read_member(layout.write_member(member)) == member


@given(st.integers(1), st.dictionaries(SHARDS, NODES), st.dictionaries(SHARDS, st.text()))
def test_an_assignment_is_read_as_it_was_written(
    term: int, shards: dict[ShardId, NodeId], reasons: dict[ShardId, str]
) -> None:
    found = layout.read_assignment(layout.write_assignment(term, shards, reasons), 3)
    assert found == Assignment(version=3, term=term, shards=shards, reasons=reasons)


@given(st.dictionaries(SHARDS, NODES))
def test_wishes_are_read_as_they_were_written(wishes: dict[ShardId, NodeId]) -> None:
    assert layout.read_wishes(layout.write_wishes(wishes)) == wishes
    assert layout.read_wishes(b"") == {}


def test_what_a_newer_version_added_is_skipped() -> None:
    member = Member(role=Role.EXECUTOR, node=NodeId("a"), address="a:1")
    newer = layout.write_member(member)[:-1] + b',"colour":"red"}'
    assert layout.read_member(newer) == member
    assert layout.read_node(b'{"node":"a","since":1}') == "a"


@pytest.mark.parametrize("data", [b"", b"{}", b"nonsense", b"[]", b'{"node":7}'])
def test_what_cannot_be_read_is_nobody(data: bytes) -> None:
    assert layout.read_member(data) is None
    assert layout.read_node(data) is None


def test_an_empty_assignment_is_none_and_a_broken_one_an_error() -> None:
    assert layout.read_assignment(b"", 0) is None
    with pytest.raises(ValueError, match="truncated"):
        layout.read_assignment(b"{", 1)


# -- names


@given(NODES, NODES)
def test_every_node_has_a_path_of_its_own(left: NodeId, right: NodeId) -> None:
    names = layout.entry_name(left), layout.entry_name(right)
    assert (names[0] == names[1]) == (left == right)
    assert all("/" not in name and name not in ("", ".", "..") for name in names)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**10 - 1))
def test_a_candidacys_name_tells_its_order(session_id: int, number: int) -> None:
    path = f"{Layout('/root').candidacy(session_id)}{number:010d}"
    assert layout.candidacy_order(path.rpartition("/")[2]) == number


@pytest.mark.parametrize("name", ["", "candidacy", "candidacy-1-", "other-1-0000000001"])
def test_other_names_are_no_candidacy(name: str) -> None:
    assert layout.candidacy_order(name) == -1


def test_parents_come_first() -> None:
    paths = Layout("/prod/timeball").skeleton()
    assert paths[:2] == ("/prod", "/prod/timeball")
    for number, path in enumerate(paths):
        parent = path.rpartition("/")[0]
        assert parent in ("", *paths[:number])


def test_a_shards_entry_names_it() -> None:
    path = Layout("/root").owner(ShardId(7))
    assert layout.shard_of(path.rpartition("/")[2]) == 7
    assert layout.shard_of("x") is None


# -- transactions


def result(kind: int, body: bytes) -> bytes:
    return struct.pack("!i?i", kind, False, 0) + body


def answer(*results: bytes) -> bytes:
    return b"".join(results) + struct.pack("!i?i", -1, True, -1)


def test_a_transactions_answer_carries_the_stat_of_what_it_made() -> None:
    stat = struct.pack("!qqqqiiiqiiq", *STAT)
    data = b"....." + answer(
        result(2, b""),
        result(15, bytes(write_string("/a")) + stat),
        result(5, stat),
        result(13, b""),
    )
    removed, (path, made), replaced, checked = requests.Multi.deserialize(data, 5)
    assert (removed, path, checked) == (True, "/a", True)
    assert made == replaced == STAT
    assert made.czxid == 100


def test_the_failure_of_a_transaction_is_the_change_that_undid_it() -> None:
    codes = (0, -103, -2)
    data = answer(*(result(-1, struct.pack("!i", code)) for code in codes))
    results = requests.Multi.deserialize(data, 0)
    assert [type(each) for each in results] == [
        RolledBackError,
        BadVersionError,
        RuntimeInconsistency,
    ]
    assert requests.failure_of(results) is results[1]
    assert isinstance(requests.failure_of([True, NoNodeError()]), NoNodeError)
    assert isinstance(requests.failure_of([RolledBackError()]), RolledBackError)
    assert requests.failure_of([True, STAT]) is None


def test_only_what_the_leader_sees_is_a_proof() -> None:
    def watch(_: object) -> None: ...

    through = (
        requests.create("/a", b"", (), requests.EPHEMERAL),
        requests.delete("/a", 0),
        requests.replace("/a", b"", 0),
        requests.together(requests.check("/a", 0)),
        requests.sync("/a"),
    )
    others = (requests.look("/a"), requests.read("/a", watch), requests.children("/a", watch))
    assert all(requests.is_through_leader(each) for each in through)
    assert not any(requests.is_through_leader(each) for each in others)


# -- threads


def test_calls_from_other_threads_keep_their_order_and_share_wake_ups() -> None:
    seen: list[int] = []
    wakes: list[int] = []

    class Loop(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(self, *args: object, **options: object) -> asyncio.Handle:
            wakes.append(1)
            return super().call_soon_threadsafe(*args, **options)  # type: ignore[arg-type]

    def post_all(bridge: Bridge, done: asyncio.Event) -> None:
        for number in range(1_000):
            bridge.post(lambda number=number: seen.append(number))  # type: ignore[misc]
        bridge.post(done.set)

    async def main() -> None:
        done = asyncio.Event()
        bridge = Bridge(asyncio.get_running_loop())
        thread = threading.Thread(target=post_all, args=(bridge, done))
        thread.start()
        # The loop stands still while everything is posted.
        thread.join()
        await done.wait()
        assert seen == list(range(1_000))
        # A closed loop takes nothing and breaks nothing.

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
        bridge = Bridge(runner.get_loop())
    assert len(wakes) == 1
    bridge.post(lambda: seen.append(-1))
    assert seen[-1] == 999


def test_the_watchdog_barks_at_a_loop_that_stands_still_and_only_then() -> None:
    async def main() -> None:
        barked = threading.Event()
        dog = Watchdog(1_000, barked.set)  # a machine without time stands still for less
        dog.start()
        clear = asyncio.Event()
        asyncio.get_running_loop().call_later(1.5, clear.set)
        await clear.wait()
        assert not barked.is_set()
        # This blocks the loop until the watchdog has noticed.
        assert barked.wait(10)
        dog.stop()

    asyncio.run(main())


def test_a_stopped_watchdog_is_silent() -> None:
    barked = threading.Event()

    async def main() -> None:
        dog = Watchdog(50, barked.set)
        dog.start()
        dog.stop()
        dog.stop()
        assert not barked.wait(0.3)

    asyncio.run(main())


def test_members_of_one_role_and_name_share_a_path() -> None:
    member = Member(role=Role.EXECUTOR, node=NodeId("a"), address="a:1")
    other = replace(member, role=Role.COORDINATOR)
    paths = {Layout("/root").member(each.role, each.node) for each in (member, member, other)}
    assert len(paths) == 2
