"""The task that the benchmark runs: next to nothing, so that what is measured is the service."""

from __future__ import annotations

import timeball


@timeball.task("bench.work")
async def work(number: int) -> int:
    return number
