"""Golden instants: what the clocks' jumps do in eight places, written down by hand.

Each row says what the local clock shows at the instants that fire, offset included, so that a
reader can check it against any published table of the zone's jumps.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.support.oracle.comparing import evaluated, judged
from timeball_server.core.schedules.cron_text import parse
from timeball_server.core.schedules.spec import Calendar, Cron, FoldRule, GapRule
from timeball_server.oracle.clock import zone as zone_rules

FIRST, SECOND, BOTH = FoldRule.FIRST, FoldRule.SECOND, FoldRule.BOTH
RUN, SKIP = GapRule.RUN_AT_END, GapRule.SKIP


def milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000)


def fires(cron: Cron, from_text: str, to_text: str) -> list[str]:
    """Local times with offset at which a cron fires between two instants, both included.

    The oracle has to say so too: a judge that is wrong here is no judge elsewhere.
    """
    calendar = Calendar(crons=(cron,))
    low_ms, high_ms = milliseconds(from_text), milliseconds(to_text)
    found = evaluated(calendar, low_ms, high_ms)
    assert judged(calendar, low_ms, high_ms) == found
    instants = (datetime.fromtimestamp(at_ms // 1_000, UTC) for at_ms in found)
    return [at.astimezone(zone_rules(cron.zone)).isoformat(timespec="minutes") for at in instants]


GAPS = [
    # New York, 8 March 2026: 02:00 EST becomes 03:00 EDT.
    ("America/New_York", "30 2 * * *", RUN, "2026-03-08T00:00-05:00", "2026-03-08T23:00-04:00",
     ["2026-03-08T03:00-04:00"]),
    ("America/New_York", "30 2 * * *", SKIP, "2026-03-08T00:00-05:00", "2026-03-08T23:00-04:00",
     []),
    ("America/New_York", "0,30 1,2 * * *", RUN, "2026-03-08T00:00-05:00", "2026-03-08T23:00-04:00",
     ["2026-03-08T01:00-05:00", "2026-03-08T01:30-05:00", "2026-03-08T03:00-04:00"]),
    ("America/New_York", "0 2,3 * * *", RUN, "2026-03-08T00:00-05:00", "2026-03-08T23:00-04:00",
     ["2026-03-08T03:00-04:00"]),
    # Berlin, 29 March 2026: 02:00 becomes 03:00.
    ("Europe/Berlin", "30 2 * * *", RUN, "2026-03-29T00:00+01:00", "2026-03-29T23:00+02:00",
     ["2026-03-29T03:00+02:00"]),
    ("Europe/Berlin", "30 2 29 3 *", SKIP, "2026-03-01T00:00+01:00", "2026-04-29T23:00+02:00", []),
    # Lord Howe, 4 October 2026: 02:00 becomes 02:30, half an hour only.
    ("Australia/Lord_Howe", "15 2 * * *", RUN, "2026-10-04T00:00+10:30", "2026-10-04T23:00+11:00",
     ["2026-10-04T02:30+11:00"]),
    ("Australia/Lord_Howe", "45 2 * * *", SKIP, "2026-10-04T00:00+10:30", "2026-10-04T23:00+11:00",
     ["2026-10-04T02:45+11:00"]),
    # Troll, 29 March 2026: 01:00 becomes 03:00, two hours.
    ("Antarctica/Troll", "30 1,2 * * *", RUN, "2026-03-29T00:00+00:00", "2026-03-29T23:00+02:00",
     ["2026-03-29T03:00+02:00"]),
    # Casablanca, 22 March 2026: Ramadan is over, 02:00 becomes 03:00.
    ("Africa/Casablanca", "15 2 * * *", RUN, "2026-03-22T00:00+00:00", "2026-03-22T23:00+01:00",
     ["2026-03-22T03:00+01:00"]),
    # Beirut, 29 March 2026: midnight becomes 01:00.
    ("Asia/Beirut", "0 0 * * *", RUN, "2026-03-28T23:00+02:00", "2026-03-29T23:00+03:00",
     ["2026-03-29T01:00+03:00"]),
    ("Asia/Beirut", "@daily", SKIP, "2026-03-28T23:00+02:00", "2026-03-29T23:00+03:00", []),
    # Sao Paulo, 4 November 2018: midnight becomes 01:00.
    ("America/Sao_Paulo", "0 0 * * *", RUN, "2018-11-03T12:00-03:00", "2018-11-05T12:00-02:00",
     ["2018-11-04T01:00-02:00", "2018-11-05T00:00-02:00"]),
    # Apia left out the whole of 30 December 2011.
    ("Pacific/Apia", "0 9,17 * * *", RUN, "2011-12-29T12:00-10:00", "2011-12-31T12:00+14:00",
     ["2011-12-29T17:00-10:00", "2011-12-31T00:00+14:00", "2011-12-31T09:00+14:00"]),
    ("Pacific/Apia", "0 9,17 * * *", SKIP, "2011-12-29T12:00-10:00", "2011-12-31T12:00+14:00",
     ["2011-12-29T17:00-10:00", "2011-12-31T09:00+14:00"]),
]  # fmt: skip

FOLDS = [
    # New York, 1 November 2026: 02:00 EDT becomes 01:00 EST.
    ("America/New_York", "30 1 * * *", FIRST, "2026-11-01T00:00-04:00", "2026-11-01T23:00-05:00",
     ["2026-11-01T01:30-04:00"]),
    ("America/New_York", "30 1 * * *", SECOND, "2026-11-01T00:00-04:00", "2026-11-01T23:00-05:00",
     ["2026-11-01T01:30-05:00"]),
    ("America/New_York", "30 1 * * *", BOTH, "2026-11-01T00:00-04:00", "2026-11-01T23:00-05:00",
     ["2026-11-01T01:30-04:00", "2026-11-01T01:30-05:00"]),
    # Berlin, 25 October 2026: 03:00 becomes 02:00.
    ("Europe/Berlin", "0 2,3 * * *", FIRST, "2026-10-25T00:00+02:00", "2026-10-25T23:00+01:00",
     ["2026-10-25T02:00+02:00", "2026-10-25T03:00+01:00"]),
    ("Europe/Berlin", "0 2,3 * * *", SECOND, "2026-10-25T00:00+02:00", "2026-10-25T23:00+01:00",
     ["2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"]),
    # Lord Howe, 5 April 2026: 02:00 becomes 01:30.
    ("Australia/Lord_Howe", "15,45 1 * * *", FIRST,
     "2026-04-05T00:00+11:00", "2026-04-05T23:00+10:30",
     ["2026-04-05T01:15+11:00", "2026-04-05T01:45+11:00"]),
    ("Australia/Lord_Howe", "15,45 1 * * *", BOTH,
     "2026-04-05T00:00+11:00", "2026-04-05T23:00+10:30",
     ["2026-04-05T01:15+11:00", "2026-04-05T01:45+11:00", "2026-04-05T01:45+10:30"]),
    # Troll, 25 October 2026: 03:00 becomes 01:00.
    ("Antarctica/Troll", "30 1,2 * * *", SECOND,
     "2026-10-25T00:00+02:00", "2026-10-25T23:00+00:00",
     ["2026-10-25T01:30+00:00", "2026-10-25T02:30+00:00"]),
    # Casablanca, 15 February 2026: Ramadan begins, 03:00 becomes 02:00.
    ("Africa/Casablanca", "30 2 * * *", BOTH, "2026-02-15T00:00+01:00", "2026-02-15T23:00+00:00",
     ["2026-02-15T02:30+01:00", "2026-02-15T02:30+00:00"]),
    # Beirut, 25 October 2026: midnight becomes 23:00 of the day before.
    ("Asia/Beirut", "30 23 * * sat", FIRST, "2026-10-24T00:00+03:00", "2026-10-25T22:00+02:00",
     ["2026-10-24T23:30+03:00"]),
    ("Asia/Beirut", "30 23 * * sat", SECOND, "2026-10-24T00:00+03:00", "2026-10-25T22:00+02:00",
     ["2026-10-24T23:30+02:00"]),
    ("Asia/Beirut", "0 0 * * *", BOTH, "2026-10-24T12:00+03:00", "2026-10-25T22:00+02:00",
     ["2026-10-25T00:00+02:00"]),
    # Sao Paulo, 18 February 2018: midnight becomes 23:00.
    ("America/Sao_Paulo", "59 23 17 2 *", BOTH,
     "2018-02-17T00:00-02:00", "2018-02-18T12:00-03:00",
     ["2018-02-17T23:59-02:00", "2018-02-17T23:59-03:00"]),
    # Coyhaique, 10 March 1973: midnight becomes 23:00. Jumps are looked for in windows of 2^25
    # seconds, and the border of two of them lies inside this fold.
    ("America/Coyhaique", "0,30 23 * * *", FIRST,
     "1973-03-10T12:00-03:00", "1973-03-11T12:00-04:00",
     ["1973-03-10T23:00-03:00", "1973-03-10T23:30-03:00"]),
    ("America/Coyhaique", "0,30 23 * * *", SECOND,
     "1973-03-10T12:00-03:00", "1973-03-11T12:00-04:00",
     ["1973-03-10T23:00-04:00", "1973-03-10T23:30-04:00"]),
]  # fmt: skip

TICKING = [
    ("America/New_York", "30 * * * *", "2026-03-08T01:00-05:00", "2026-03-08T04:00-04:00",
     ["2026-03-08T01:30-05:00", "2026-03-08T03:30-04:00"]),
    ("America/New_York", "30 */1 * * *", "2026-11-01T00:45-04:00", "2026-11-01T02:45-05:00",
     ["2026-11-01T01:30-04:00", "2026-11-01T01:30-05:00", "2026-11-01T02:30-05:00"]),
    ("America/New_York", "0 */2 * * *", "2026-03-08T00:00-05:00", "2026-03-08T04:00-04:00",
     ["2026-03-08T00:00-05:00", "2026-03-08T04:00-04:00"]),
    ("Australia/Lord_Howe", "*/20 * * * *", "2026-04-05T01:30+11:00", "2026-04-05T02:00+10:30",
     ["2026-04-05T01:40+11:00", "2026-04-05T01:40+10:30", "2026-04-05T02:00+10:30"]),
    ("Pacific/Apia", "0 */12 * * *", "2011-12-29T12:00-10:00", "2011-12-31T12:00+14:00",
     ["2011-12-29T12:00-10:00", "2011-12-31T00:00+14:00", "2011-12-31T12:00+14:00"]),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "expression", "gap", "low", "high", "wanted"), GAPS)
def test_local_times_that_do_not_exist(
    zone: str, expression: str, gap: GapRule, low: str, high: str, wanted: list[str]
) -> None:
    assert fires(Cron(expression=expression, zone=zone, gap=gap), low, high) == wanted


@pytest.mark.parametrize(("zone", "expression", "fold", "low", "high", "wanted"), FOLDS)
def test_local_times_that_are_shown_twice(
    zone: str, expression: str, fold: FoldRule, low: str, high: str, wanted: list[str]
) -> None:
    assert fires(Cron(expression=expression, zone=zone, fold=fold), low, high) == wanted


@pytest.mark.parametrize("fold", FoldRule)
@pytest.mark.parametrize("gap", GapRule)
@pytest.mark.parametrize(("zone", "expression", "low", "high", "wanted"), TICKING)
def test_what_ticks_through_follows_the_clock_alone(
    zone: str,
    expression: str,
    low: str,
    high: str,
    wanted: list[str],
    gap: GapRule,
    fold: FoldRule,
) -> None:
    cron = Cron(expression=expression, zone=zone, gap=gap, fold=fold)
    assert fires(cron, low, high) == wanted


@pytest.mark.parametrize(
    ("expression", "through"),
    [
        ("0 * * * *", True),
        ("0 */3 * * *", True),
        ("0 8-18/2 * * *", True),
        ("0 1,*/6 * * *", True),
        ("0 H/6 * * *", True),
        ("*/15 2 * * *", False),
        ("* 2 * * *", False),
        ("0 0-23 * * *", False),
        ("0 H * * *", False),
        ("@hourly", True),
        ("@daily", False),
    ],
)
def test_the_hour_field_alone_says_what_ticks_through(expression: str, through: bool) -> None:
    assert parse(expression, "nightly").ticks_through is through
