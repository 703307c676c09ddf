"""Faults on real servers: what ends a session, what cuts a wire, and how a run is drawn."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from tests.support.chaos.clocked import SetClock, set_clock
from tests.support.chaos.faults import Hit
from tests.support.chaos.helpers import Complaints
from tests.support.chaos.load import Told
from tests.support.chaos.rounds import FAULTS
from tests.support.chaos.sessions import PASSWORD_BYTES, java_random, password_of
from tests.support.chaos.table import tables
from tests.support.chaos.timeline import CUT_MS, Timeline
from tests.support.chaos.wires import End, Way
from tests.support.chaos.witness import judge

AT_MS = 1_000_000
HIT = Hit(fault="kill-leader", victim="x", at_ms=AT_MS, back_ms=AT_MS, away_s=0.0, shards={})


class Listener(End):
    """Keeps what it is told to say."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[bytes] = []

    def say(self, data: bytes) -> None:
        self.said.append(data)

    def close(self) -> None:
        self.said.append(b"closed")


def test_an_exception_that_nobody_caught_is_told_once(tmp_path: Path) -> None:
    log = tmp_path / "executor-1.log"
    log.write_text("all is well\nException in callback <bound method>\n")
    complaints = Complaints(tmp_path)
    first = "executor-1: 1 exceptions that nobody caught, the first is Exception in callback"
    assert [each.startswith(first) for each in complaints.new()] == [True]
    assert complaints.new() == []


def test_random_numbers_are_those_of_java() -> None:
    # What java.util.Random(42) answers to nextInt(), as every Java book prints it.
    first, second = islice(java_random(42), 2)
    assert (first - 2**32, second) == (-1_170_105_035, 234_785_527)


def test_a_password_belongs_to_one_session() -> None:
    assert len(password_of(7)) == PASSWORD_BYTES
    assert password_of(7) == password_of(7) != password_of(8)


def test_a_cut_way_delivers_in_order_when_it_is_mended() -> None:
    way, one, other = Way(), Listener(), Listener()
    way.carry(one, b"before")
    way.is_cut = True
    way.carry(one, b"kept")
    way.carry(other, b"too")
    way.end(other)
    assert (one.said, other.said) == ([b"before"], [])
    way.mend()
    way.carry(one, b"after")
    assert (one.said, other.said) == ([b"before", b"kept", b"after"], [b"too", b"closed"])


def test_who_gave_up_is_added_to_a_hit() -> None:
    hit = HIT.with_abandoned([("executor-1", 1, 2)]).with_abandoned([("executor-2", 3, 4)])
    assert hit.abandoned == (("executor-1", 1, 2), ("executor-2", 3, 4))
    assert hit.victim == "x"
    assert hit.with_abandoned([], victim="y").victim == "y"


def test_a_timeline_shows_the_latest_start_of_each_second_and_every_fault(tmp_path: Path) -> None:
    facts = {"attempt": 1, "epoch": 1, "due_ms": AT_MS}
    late = ((3, 1), (900, 1), (CUT_MS * 2, 2))
    lines = [
        json.dumps({**facts, "task_id": f"t{by}", "started_ms": AT_MS + by, "attempt": attempt})
        for by, attempt in late
    ]
    (tmp_path / "executor-1.starts.jsonl").write_text("\n".join(lines) + "\n")
    timeline = Timeline()
    timeline.note(judge(HIT, Told(), [], {}, set()))
    timeline.read(tmp_path)
    drawn = timeline.drawn()
    assert "kill-leader" in drawn
    assert "900" in drawn
    assert f">{CUT_MS:,}<" not in drawn


def test_the_table_names_every_kind_of_fault_once() -> None:
    kinds = {name.partition("-")[0] for name in FAULTS}
    assert kinds >= {"kill", "freeze", "drain", "expire", "cut", "limp", "poison", "clock"}
    assert {row.needs.zookeepers for row in FAULTS.values()} == {1, 3}
    assert {row.needs.cassandras for row in FAULTS.values()} == {1, 3}


def test_rounds_of_a_fault_are_one_row_and_all_are_another() -> None:
    row = {
        "fault": "kill-leader",
        "acknowledged": 1_000,
        "refused": 0,
        "lost": 1,
        "early": 0,
        "duplicates_with_cause": 2,
        "duplicates_without_cause": 0,
        "once_twice": 0,
        "once_unknown": 3,
        "failover_ms": [4_000, 5_000],
        "latest_ms": 900,
        "slowest_unary_ms": 70,
    }
    lines = list(tables([row, {**row, "latest_ms": 950, "failover_ms": []}]))
    expected = "2 | 2,000 | 0 | 2 | 0 | 4 | 0 | 0 | 6 | 4,500, 5,000 | 950 | 70 |"
    assert lines[2:4] == [f"| kill-leader | {expected}", f"| all | {expected}"]


def test_a_scheduler_node_s_wall_clock_is_set_and_no_other(tmp_path: Path) -> None:
    for name in ("scheduler-1", "scheduler-2"):
        set_clock(tmp_path, name, 0)
    first, second = (SetClock(tmp_path, f"scheduler-{number}") for number in (1, 2))
    set_clock(tmp_path, "scheduler-1", 3_600_000)
    ahead, right = first.now(), second.now()
    assert 3_000_000 < ahead.wall_ms - right.wall_ms <= 3_600_000
    assert ahead.mono_ms <= right.mono_ms
    set_clock(tmp_path, "scheduler-1", -3_600_000)
    assert first.now().wall_ms < right.wall_ms
