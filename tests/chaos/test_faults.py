"""Faults on a real cluster under load: nothing acknowledged is lost, nothing runs twice unasked.

Not part of `make test`: `make chaos` plays one round of each fault, ROUNDS=20 more of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.support.chaos.faults import FAULTS
from tests.support.chaos.rounds import Arena, arena, play

ROUNDS = int(os.environ.get("TIMEBALL_CHAOS_ROUNDS", "1"))
RATE = float(os.environ.get("TIMEBALL_CHAOS_RATE", "100"))
SEED = int(os.environ.get("TIMEBALL_CHAOS_SEED", "0"))
AT_LEAST = 500
FAILOVER_WITHIN_MS = 10_000

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """One cluster for all faults, whole again before each of them."""
    folder: Path = tmp_path_factory.mktemp("chaos") / "cluster"
    with arena(folder) as running:
        yield running


@pytest.mark.parametrize("fault", FAULTS)
async def test_promises_hold_through(fault: str, place: Arena) -> None:
    for number in range(ROUNDS):
        verdict = await play(place, fault, rate=RATE, random=Random(f"{SEED} {fault} {number}"))
        assert verdict.problems == ()
        assert verdict.acknowledged > AT_LEAST
        assert max(verdict.failover_ms, default=0) < FAILOVER_WITHIN_MS
        owner_left = fault in ("kill-scheduler", "freeze-scheduler", "drain-scheduler")
        assert bool(verdict.failover_ms) == owner_left
