"""Is everything on time? Every sentence of the answer, and what it is made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from timeball_server.console.document import MAX_ROWS, About, blind, document
from timeball_server.console.history import History, Lateness
from timeball_server.console.sight import ShardSight, Sight
from timeball_server.console.spells import Since
from timeball_server.console.verdict import (
    LATE_START_MS,
    LATE_WAIT_MS,
    LOADING_MS,
    Level,
    age,
    is_loading,
    judge,
)
from timeball_server.core.ids import Epoch, Incarnation, NodeId, ShardId
from timeball_server.ports.coordination import Member, Role
from timeball_server.ports.owners import ExecutorFigures, NodeFigures, ShardFigures

NOW_MS = 1_800_000_000_000
EAST = NodeId("east")
RED = Incarnation(70)
ABOUT = About(coordinator="front", version="1.2.3", store="memory", since_ms=NOW_MS - 1)
COORDINATOR = Member(role=Role.COORDINATOR, node=NodeId("front"), address="a:1")
NODE = Member(role=Role.SCHEDULER_NODE, node=EAST, address="a:2")
EXECUTOR = Member(role=Role.EXECUTOR, node=NodeId("red"), address="a:3", incarnation=RED, slots=8)
MEMBERS = (COORDINATOR, NODE, EXECUTOR)


def figures(
    shard: int, *, due: int = 0, oldest: int | None = None, unserved: int = 0
) -> ShardFigures:
    return ShardFigures(
        shard=ShardId(shard),
        epoch=Epoch(5),
        tasks=9,
        waiting=due,
        due_now=due,
        starts=0,
        oldest_due_ms=None if oldest is None else NOW_MS - oldest,
        unserved=unserved,
    )


def owned(shard: int, known: ShardFigures | None = None) -> ShardSight:
    return ShardSight(
        shard=ShardId(shard),
        owner=EAST,
        epoch=Epoch(5),
        assigned=EAST,
        reason="first",
        figures=known,
    )


def orphan(shard: int) -> ShardSight:
    return ShardSight(
        shard=ShardId(shard), owner=None, epoch=Epoch(0), assigned=EAST, reason="", figures=None
    )


def answered(*shards: ShardFigures) -> NodeFigures:
    red = ExecutorFigures(incarnation=RED, runs=3, stream_open=True, ready=True)
    gone = ExecutorFigures(incarnation=Incarnation(1), runs=9, stream_open=False, ready=False)
    return NodeFigures(
        shards=shards, executors=(red, gone), seconds=(), since_s=0, until_s=1, lease_left_ms=900
    )


def sight(
    *shards: ShardSight,
    members: tuple[Member, ...] = MEMBERS,
    nodes: Mapping[NodeId, NodeFigures] | None = None,
    leader: str | None = "front",
) -> Sight:
    return Sight(
        at_ms=NOW_MS,
        leader=None if leader is None else NodeId(leader),
        assignment_version=3,
        members=members,
        shards=shards,
        nodes={EAST: answered()} if nodes is None else nodes,
    )


def seen(
    now: Sight,
    just_now: Lateness | None = None,
    since: Mapping[int, Since] | None = None,
    loading: Mapping[int, Since] | None = None,
) -> tuple[Level, list[str]]:
    ownerless = {ShardId(shard): each for shard, each in (since or {}).items()}
    slow = {ShardId(shard): each for shard, each in (loading or {}).items()}
    verdict = judge(now, ownerless, slow, just_now or Lateness())
    return verdict.level, list(verdict.reasons)


def ago(seconds: int, *, exactly: bool = True) -> Since:
    return Since(at_ms=NOW_MS - seconds * 1_000, exactly=exactly)


def test_all_is_well() -> None:
    now = sight(owned(0, figures(0)), owned(1, figures(1, due=2, oldest=LATE_WAIT_MS - 1)))
    assert seen(now) == (
        Level.ON_TIME,
        ["every shard has an owner and nothing was due just now"],
    )
    just_now = Lateness(starts=3, p50_ms=1, p99_ms=7, max_ms=7)
    assert seen(now, just_now) == (
        Level.ON_TIME,
        ["every shard has an owner; starts were at most 7 ms late just now"],
    )


@pytest.mark.parametrize(("exactly", "words"), [(True, "for 12 s"), (False, "for at least 12 s")])
def test_a_shard_without_an_owner_is_late(exactly: bool, words: str) -> None:
    now = sight(owned(0, figures(0)), orphan(7))
    since = Since(at_ms=NOW_MS - 12_000, exactly=exactly)
    assert seen(now, since={7: since}) == (Level.LATE, [f"shard 7 has no owner {words}"])


def test_many_shards_without_an_owner_are_counted_and_the_cause_is_said() -> None:
    now = sight(*(orphan(shard) for shard in range(5)), members=(COORDINATOR,), nodes={})
    since = {shard: ago(300 - shard) for shard in range(5)}
    assert seen(now, since=since) == (
        Level.LATE,
        ["shards 0, 1, 2 and 2 more have no owner for 5 min", "no scheduler node is alive"],
    )


def test_due_tasks_that_wait_are_late_and_the_cause_is_said() -> None:
    late = figures(3, due=1_200, oldest=8_000, unserved=5)
    now = sight(owned(3, late), owned(4, figures(4, due=1, oldest=0)))
    assert seen(now) == (
        Level.LATE,
        [
            "1,200 due tasks in shard 3 not started, the oldest for 8 s",
            "no executor serves the handlers of 5 of them",
        ],
    )
    without = sight(owned(3, figures(3, due=1, oldest=8_000)), members=(COORDINATOR, NODE))
    assert seen(without)[1][-1] == "no executor is alive"


def test_late_starts_just_now_are_late() -> None:
    now = sight(owned(0, figures(0)))
    just_now = Lateness(starts=9, p50_ms=1, p99_ms=LATE_START_MS + 1, max_ms=2_345)
    level, reasons = seen(now, just_now)
    assert (level, reasons) == (Level.LATE, ["starts of the last 15 s were up to 2.3 s late"])
    assert seen(now, Lateness(starts=9, p50_ms=1, p99_ms=LATE_START_MS, max_ms=900))[0] == (
        Level.ON_TIME
    )


def test_silence_is_not_knowing() -> None:
    silent = sight(owned(2), owned(3), nodes={})
    assert seen(silent) == (Level.UNKNOWN, ["no answer from east, which owns shards 2, 3"])
    headless = sight(owned(2, figures(2)), leader=None)
    assert seen(headless)[0] is Level.UNKNOWN


def test_a_shard_may_load_for_a_moment_and_no_longer() -> None:
    now = sight(owned(2), owned(3, replace(figures(3), phase="LOADING")), owned(4, figures(4)))
    assert [is_loading(each, now) for each in now.shards] == [True, True, False]
    assert not is_loading(owned(2), sight(owned(2), nodes={}))
    assert not is_loading(orphan(2), now)
    moment = Since(at_ms=NOW_MS - LOADING_MS + 1, exactly=False)
    assert seen(now, loading={2: moment})[0] is Level.ON_TIME
    long = {2: moment, 3: ago(5)}
    assert seen(now, loading=long) == (Level.LATE, ["shard 3 still loading after 5 s"])


def test_what_is_late_comes_before_what_is_unknown() -> None:
    now = sight(owned(2), orphan(7), nodes={})
    level, reasons = seen(now, since={7: ago(1)})
    assert level is Level.LATE
    assert [reason.split()[0] for reason in reasons] == ["shard", "no"]


@pytest.mark.parametrize(
    ("duration_ms", "words"),
    [(-5, "0 s"), (1_999, "1 s"), (119_999, "119 s"), (120_000, "2 min"), (7_200_000, "2 h"),
     (2 * 86_400_000, "2 d")],
)  # fmt: skip
def test_ages_are_said_as_people_do(duration_ms: int, words: str) -> None:
    assert age(duration_ms) == words


def told(now: Sight, since: Mapping[int, Since] | None = None) -> Any:
    ownerless = {ShardId(shard): each for shard, each in (since or {}).items()}
    verdict = judge(now, ownerless, {}, Lateness())
    return json.loads(document(ABOUT, now, History(), verdict, ownerless))


def test_the_page_is_told_the_worst_shards_first_and_no_more_than_a_limit() -> None:
    shards = [owned(shard, figures(shard)) for shard in range(MAX_ROWS + 50)]
    shards[520] = orphan(520)
    shards[530] = owned(530, figures(530, due=1, oldest=5_000))
    shards[531] = owned(531, figures(531, due=1, oldest=9_000))
    found = told(sight(*shards), {520: ago(1, exactly=False)})
    rows = found["shards"]
    assert [row["shard"] for row in rows[:4]] == [520, 531, 530, 0]
    assert (len(rows), found["totals"]["shards"]) == (MAX_ROWS, MAX_ROWS + 50)
    assert (rows[0]["owner"], rows[0]["ownerless_exactly"]) == (None, False)


def test_slots_are_summed_over_nodes_and_only_of_the_living() -> None:
    west = Member(role=Role.SCHEDULER_NODE, node=NodeId("west"), address="a:4")
    nodes = {EAST: answered(), NodeId("west"): answered()}
    found = told(sight(members=(*MEMBERS, west), nodes=nodes))
    assert found["executors"][0]["used"] == 6
    assert found["executors"][0]["streams"] == [["east", "ready"], ["west", "ready"]]
    assert found["totals"]["used"] == 6
    assert found["totals"]["slots"] == 8


def test_a_blind_picture_says_why() -> None:
    found = json.loads(blind(ABOUT, NOW_MS, "no session"))
    assert found["verdict"] == {"level": "unknown", "reasons": ["no session"]}
    assert "shards" not in found
