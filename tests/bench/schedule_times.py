"""What it costs to find a schedule's next nominal time, and to refuse a bad expression.

    python tests/bench/schedule_times.py

Prints medians and 99th percentiles in microseconds; writes nothing. Two figures have a goal: the
next occurrence of five fields in a zone with jumps, 20 us at the median, and a refusal, 5 ms.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from cronsim import CronSim
from rich.console import Console
from rich.table import Table

from timeball_server.core.schedules.calendars import next_nominal_ms
from timeball_server.core.schedules.checking import check
from timeball_server.core.schedules.problems import SpecProblem
from timeball_server.core.schedules.spec import (
    Calendar,
    Cron,
    ExcludedCron,
    Exclusions,
    Interval,
)
from timeball_server.oracle.clock import zone

NOW_MS = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1_000)
ROUNDS = 20_000
BERLIN = "Europe/Berlin"


def cron(expression: str, zone: str = BERLIN) -> Calendar:
    return Calendar(crons=(Cron(expression=expression, zone=zone),))


OFFICE = Exclusions(crons=(ExcludedCron(expression="* * * * sat,sun", zone=BERLIN),))
WALKS = {
    "0 9 * * mon-fri, Berlin": cron("0 9 * * mon-fri"),
    "* * * * *, Berlin": cron("* * * * *"),
    "30 2 * * *, Berlin": cron("30 2 * * *"),
    "0 0 L * *, New York": cron("0 0 L * *", "America/New_York"),
    "0 0 29 2 *, Berlin": cron("0 0 29 2 *"),
    "*/5 9-17 * * *, UTC": cron("*/5 9-17 * * *", "UTC"),
    "* * * * * *, Berlin": cron("* * * * * *"),
    "three crons united": Calendar(
        crons=tuple(Cron(expression=f"0 {hour} * * *", zone=BERLIN) for hour in (7, 12, 18))
    ),
    "hourly but weekends": Calendar(
        crons=(Cron(expression="0 * * * *", zone=BERLIN),), excluded=OFFICE
    ),
    "interval of a minute": Calendar(intervals=(Interval(every_ms=60_000, phase_ms=17),)),
}
BAD = {
    "list of 10 kB": ",".join(str(number % 60) for number in range(3_700)) + " * * * *",
    "256 characters": "0," * 120 + "61 * * * *",
    "30 February": "0 0 30 2 *",
    "5/10": "5/10 * * * *",
}


def timed(act: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median and 99th percentile of a call, in microseconds."""
    taken = []
    for _ in range(rounds):
        begin_ns = time.perf_counter_ns()
        act()
        taken.append((time.perf_counter_ns() - begin_ns) / 1_000)
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]


def walking(calendar: Calendar) -> Callable[[], object]:
    """Each call asks for the nominal time after the one before."""
    at_ms = NOW_MS

    def step() -> None:
        nonlocal at_ms
        at_ms = next_nominal_ms(calendar, at_ms) or NOW_MS
        if at_ms > NOW_MS + 40 * 366 * 86_400_000:
            at_ms = NOW_MS

    return step


def compiling() -> Callable[[], object]:
    """Each call meets an expression that nobody asked about before."""
    number = 0

    def step() -> None:
        nonlocal number
        number += 1
        seconds, rest = divmod(number, 1_440)
        hour, minute = divmod(rest, 60)
        next_nominal_ms(cron(f"{seconds} {minute} {hour} * * *"), NOW_MS)

    return step


def refusing(expression: str) -> Callable[[], object]:
    def step() -> None:
        try:
            check(cron(expression), NOW_MS)
        except SpecProblem:
            return
        raise AssertionError(f"{expression} was accepted")

    return step


def main() -> None:
    """Measure all and print the table."""
    table = Table("what", "median us", "p99 us")
    rows: dict[str, tuple[Callable[[], object], int]] = {
        f"next: {name}": (walking(calendar), ROUNDS) for name, calendar in WALKS.items()
    }
    rows["next: an expression never met before"] = (compiling(), ROUNDS)
    rows |= {f"refuse: {name}": (refusing(text), 500) for name, text in BAD.items()}
    begin = datetime.fromtimestamp(NOW_MS / 1_000, zone(BERLIN))
    rows["cronsim: 0 9 * * mon-fri"] = (lambda: next(CronSim("0 9 * * mon-fri", begin)), 5_000)
    for name, (act, rounds) in rows.items():
        median, high = timed(act, rounds)
        table.add_row(name, f"{median:.1f}", f"{high:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
