"""Faults on a real cluster under load: nothing acknowledged is lost, nothing runs twice unasked.

Not part of `make test`: `make chaos` plays one round of each fault, ROUNDS=20 more of them.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.support.chaos.rounds import FAULTS, Place, play

ROUNDS = int(os.environ.get("TIMEBALL_CHAOS_ROUNDS", "1"))
RATE = float(os.environ.get("TIMEBALL_CHAOS_RATE", "100"))
SEED = int(os.environ.get("TIMEBALL_CHAOS_SEED", "0"))
AT_LEAST = 300
FAILOVER_WITHIN_MS = 10_000

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(900)]


@pytest.mark.parametrize("fault", FAULTS)
async def test_promises_hold_through(fault: str, place: Place) -> None:
    cluster = place(FAULTS[fault].needs)
    for number in range(ROUNDS):
        verdict = await play(cluster, fault, rate=RATE, random=Random(f"{SEED} {fault} {number}"))
        assert verdict.problems == ()
        assert verdict.acknowledged > AT_LEAST
        if FAULTS[fault].moves:
            assert verdict.failover_ms
            assert max(verdict.failover_ms) < FAILOVER_WITHIN_MS
