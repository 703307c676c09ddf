"""A few minutes of faults on real servers: a busy machine may be slow, never wrong.

Part of `make test` with the long settings. What callers were refused was never promised.
"""

from __future__ import annotations

from random import Random
from typing import Final

import pytest

from tests.support.chaos.arena import NEEDS_LITTLE
from tests.support.chaos.rounds import REFUSED, Place, play

RATE: Final = 60.0
AT_LEAST: Final = 300
SMOKE: Final = (
    "kill-leader",
    "kill-scheduler",
    "kill-executor",
    "freeze-scheduler",
    "drain-scheduler",
    "expire-scheduler",
    "cut-zookeeper-both",
    "cut-store-answer",
    "poison-executor",
    "thundering-instant",
)


@pytest.mark.asyncio
@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", SMOKE)
async def test_no_fault_breaks_a_promise(fault: str, place: Place) -> None:
    verdict = await play(place(NEEDS_LITTLE), fault, rate=RATE, random=Random(fault))
    assert [each for each in verdict.problems if not each.startswith(REFUSED)] == []
    assert verdict.acknowledged > AT_LEAST
