"""Kills at chosen points under load: nothing promised is lost, every second start has its cause.

Not part of `make test`: `make chaos` plays one round of each group, ROUNDS=20 more of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.chaos.aimed import Session, Wanted
from tests.support.chaos.points import TURNS, plan
from tests.support.chaos.wired import wired_cluster

ROUNDS = int(os.environ.get("TIMEBALL_CHAOS_ROUNDS", "1"))
RATE = float(os.environ.get("TIMEBALL_CHAOS_RATE", "100"))
SEED = int(os.environ.get("TIMEBALL_CHAOS_SEED", "0"))
FAILOVER_WITHIN_MS = 10_000


@pytest.mark.asyncio
@pytest.mark.timeout(300 + 120 * ROUNDS)
async def test_promises_hold_through_kills_at_chosen_points(tmp_path: Path) -> None:
    points = plan(ROUNDS, {})
    with wired_cluster(tmp_path / "cluster") as cluster:
        findings = await Session(cluster, Wanted(rate=RATE, seed=SEED)).run(points)
    assert [problem for each in findings for problem in each.problems] == []
    hit = [each for each in findings if not each.hit]
    assert sorted(each.point for each in hit) == sorted(point.name for point in points)
    owners = [each for each in hit if each.point in TURNS["scheduler claim"]]
    assert all(each.failover_ms for each in owners)
    assert max(max(each.failover_ms) for each in owners) < FAILOVER_WITHIN_MS
