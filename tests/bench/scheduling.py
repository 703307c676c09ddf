"""Schedules of every minute on a running service: each nominal time launched, and how late.

What must have started follows from the phases alone: so many runs due at each millisecond. Runs are
counted by their due times and ids in the executors' own start logs.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import timeball

from tests.bench.apps import work
from tests.bench.judging import Result, course_of, percentile
from tests.bench.meter import Meter
from tests.bench.targets import Target
from tests.support.start_logs import Start, read_starts

MINUTE_MS: Final = 60_000
DECLARED_AT_ONCE: Final = 48
SETTLE_S: Final = 15.0
SETTLE_AT_MOST_S: Final = 120.0
INSTANT: Final = "instant"


def phases(count: int, how: str) -> list[int]:
    """When in the minute each schedule fires, in ms: evenly over it, or all at its begin."""
    return [0 if how == INSTANT else number * MINUTE_MS // count for number in range(count)]


def judge_minutes(
    result: Result, wanted: Sequence[int], starts: Sequence[Start], first_ms: int, minutes: int
) -> list[tuple[int, int]]:
    """Hold the nominal times of some minutes against what was started: due and lateness of each.

    Args:
        wanted: the phase of each schedule.
        first_ms: where the first minute begins.
    """
    until_ms = first_ms + minutes * MINUTE_MS
    mine = [start for start in starts if first_ms <= start.due_ms < until_ms]
    got = Counter(start.due_ms for start in mine if start.attempt == 1)
    of_minute = Counter(wanted)
    for minute in range(minutes):
        begin_ms = first_ms + minute * MINUTE_MS
        for phase_ms, count in of_minute.items():
            found = got.pop(begin_ms + phase_ms, 0)
            if found < count:
                result.fault("lost", f"{count - found} of {count} at {begin_ms + phase_ms}")
            elif found > count:
                result.fault("doubled", f"{found} instead of {count} at {begin_ms + phase_ms}")
    for at_ms, count in got.items():
        result.fault("wrong answer", f"{count} at {at_ms}, which no schedule names")
    for task_id, count in Counter(start.task_id for start in mine).items():
        if count > 1:
            result.fault("doubled", f"{task_id} started {count} times")
    for start in mine:
        if start.started_ms < start.due_ms:
            result.fault("early", start.task_id)
    return [(each.due_ms, each.started_ms - each.due_ms) for each in mine if each.attempt == 1]


async def play(
    how: str,
    rate: float,
    seconds: float,
    target: Target,
    result: Result,
    say: Callable[[str], None],
) -> None:
    """Declare `rate` x 60 schedules, let whole minutes pass, judge.

    Args:
        how: "spread" or "instant".
        rate: occurrences a second, over a minute.
    """
    for name in ("lost", "doubled", "early", "wrong answer"):
        result.faults.setdefault(name, [])
    wanted = phases(round(rate * 60), how)
    minutes = max(1, round(seconds / 60))
    async with timeball.AsyncClient(target.address) as client:
        say("waiting until everybody serves")
        await target.serves(client)
        say(f"declaring {len(wanted):,} schedules of every minute")
        began_s = time.perf_counter()
        await _declare(client, wanted)
        result.figures["schedules"] = len(wanted)
        result.figures["schedules declared per s"] = len(wanted) / (time.perf_counter() - began_s)
    first_ms = (int(time.time() * 1e3) // MINUTE_MS + 1) * MINUTE_MS
    if how != INSTANT:  # one whole minute to warm up
        first_ms += MINUTE_MS
    meter = Meter(target.watched(), target.counted, time.perf_counter)
    await _at(first_ms - 1_000, meter)
    meter.begin()
    say(f"{minutes} minutes of {len(wanted):,} occurrences")
    await _at(first_ms + minutes * MINUTE_MS, meter)
    meter.end()
    say("waiting for the last of them")
    starts = await _settled(target, first_ms, minutes, len(wanted))
    late = judge_minutes(result, wanted, starts, first_ms, minutes)
    _tell(result, late, first_ms, how)
    meter.into(result, len(late))


def _tell(result: Result, late: list[tuple[int, int]], first_ms: int, how: str) -> None:
    result.figures["tasks measured"] = len(late)
    result.distribution("lateness", [by for _, by in late])
    result.lateness_ms = Counter(by for _, by in late)
    result.course = course_of(late, first_ms)
    if how == INSTANT and late:
        by_minute: dict[int, list[int]] = {}
        for due_ms, by in late:
            by_minute.setdefault(due_ms, []).append(by)
        rates = [len(each) / max(1, percentile(each, 1.0)) * 1e3 for each in by_minute.values()]
        result.figures["drained per s"] = statistics.median(rates)


async def _declare(client: timeball.AsyncClient, wanted: Sequence[int]) -> None:
    gate = asyncio.Semaphore(DECLARED_AT_ONCE)

    async def put(number: int, phase_ms: int) -> None:
        async with gate:
            timing = timeball.every("1m", phase=f"{phase_ms}ms", overlap="allow(5)")
            await client.schedules.put(f"bench-{number:06}", timing, work.prepare(number))

    for begin in range(0, len(wanted), 1_000):
        some = enumerate(wanted[begin : begin + 1_000], start=begin)
        await asyncio.gather(*(put(number, phase_ms) for number, phase_ms in some))


async def _at(at_ms: int, meter: Meter) -> None:
    """Return at an instant; peaks of memory are kept meanwhile."""
    while (left_s := at_ms / 1e3 - time.time()) > 0:
        await asyncio.sleep(min(left_s, 1.0))
        meter.sample()


async def _settled(target: Target, first_ms: int, minutes: int, each: int) -> list[Start]:
    """All starts, once as many as there must be are there, or no more come."""
    until_ms = first_ms + minutes * MINUTE_MS
    last_s, most = time.monotonic() + SETTLE_AT_MOST_S, -1
    deadline_s = time.monotonic() + SETTLE_S
    while True:
        starts = [start for path in target.start_logs for start in read_starts(path)]
        count = sum(first_ms <= start.due_ms < until_ms for start in starts)
        if count > most:
            most, deadline_s = count, time.monotonic() + SETTLE_S
        if count >= minutes * each or time.monotonic() > min(deadline_s, last_s):
            return starts
        await asyncio.sleep(1.0)
