"""What becomes of a nominal time, as a table: facts on the left, the decision on the right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.engine_world import task_spec
from timeball_server.core.engine.reading import Standing
from timeball_server.core.engine.verdicts import (
    MOST_IN_A_SPAN,
    Facts,
    Move,
    Verdict,
    decide,
    span,
)
from timeball_server.core.model import (
    CatchUp,
    CatchUpPolicy,
    Overlap,
    OverlapPolicy,
    ScheduleSpec,
)
from timeball_server.core.schedules.spec import Calendar, Cron

P, C, V, M = OverlapPolicy, CatchUpPolicy, Verdict, Move
NOW_MS = 1_800_000_600_000
SPEC = ScheduleSpec(task=task_spec(), every_ms=60_000)
ON_TIME = Facts(
    spec=SPEC,
    at_ms=NOW_MS,
    now_ms=NOW_MS,
    absent_until_ms=0,
    standing=Standing.ABSENT,
    runs=0,
    waiting=0,
    paused=False,
)


def with_rule(policy: OverlapPolicy, limit: int = 0, **facts: Any) -> Facts:
    spec = replace(SPEC, overlap=Overlap(policy=policy, limit=limit))
    return replace(ON_TIME, spec=spec, **facts)


def away(minutes: int, policy: CatchUpPolicy = C.ONE, **rule: Any) -> Facts:
    """The nominal time so many minutes ago is in hand, and nobody was there until now."""
    catch_up = CatchUp(policy=policy, **rule)
    return replace(
        ON_TIME,
        spec=replace(SPEC, catch_up=catch_up),
        at_ms=NOW_MS - minutes * 60_000,
        absent_until_ms=NOW_MS + 1,
    )


OVERLAPS = [
    (P.SKIP, 0, 0, 0, M.LAUNCH, V.LAUNCHED),
    (P.SKIP, 0, 1, 0, M.PASS, V.SKIPPED_OVERLAP),
    (P.ALLOW, 0, 500, 0, M.LAUNCH, V.LAUNCHED),
    (P.ALLOW, 2, 1, 0, M.LAUNCH, V.LAUNCHED),
    (P.ALLOW, 2, 2, 0, M.PASS, V.DROPPED_LIMIT),
    (P.BUFFER_ONE, 0, 0, 0, M.LAUNCH, V.LAUNCHED),
    (P.BUFFER_ONE, 0, 1, 0, M.BUFFER, V.LAUNCHED),
    (P.BUFFER_ONE, 0, 1, 1, M.PASS, V.SKIPPED_OVERLAP),
    (P.BUFFER, 3, 1, 2, M.BUFFER, V.LAUNCHED),
    (P.BUFFER, 3, 1, 3, M.PASS, V.DROPPED_LIMIT),
    (P.CANCEL_OTHER, 0, 0, 0, M.LAUNCH, V.LAUNCHED),
    (P.CANCEL_OTHER, 0, 1, 0, M.CANCEL, V.LAUNCHED),
    (P.CANCEL_OTHER, 0, 1, 1, M.PASS, V.SKIPPED_OVERLAP),
    (P.TERMINATE_OTHER, 0, 0, 0, M.LAUNCH, V.LAUNCHED),
    (P.TERMINATE_OTHER, 0, 2, 0, M.TERMINATE, V.LAUNCHED),
]


@pytest.mark.parametrize(("policy", "limit", "runs", "waiting", "move", "verdict"), OVERLAPS)
def test_the_overlap_rule(
    policy: OverlapPolicy, limit: int, runs: int, waiting: int, move: Move, verdict: Verdict
) -> None:
    decision = decide(with_rule(policy, limit, runs=runs, waiting=waiting))
    assert (decision.move, decision.verdict) == (move, verdict)


# Minutes away, policy, rule; then verdict, minutes until the last one passed over, how many.
MISSED = [
    (away(1), V.COALESCED, 1, 1),
    (away(247), V.COALESCED, 1, 247),
    (away(247, C.SKIP), V.MISSED_WINDOW, 0, 248),
    (away(247, C.ALL), V.MISSED_WINDOW, 10, 238),
    (away(247, C.ALL, window_ms=60_000), V.MISSED_WINDOW, 1, 247),
    (away(247, C.ALL, max_lateness_ms=30_000), V.MISSED_WINDOW, 1, 247),
]


@pytest.mark.parametrize(("facts", "verdict", "ago", "times"), MISSED, ids=range(len(MISSED)))
def test_what_was_missed_is_passed_over_as_the_rule_says(
    facts: Facts, verdict: Verdict, ago: int, times: int
) -> None:
    decision = decide(facts)
    assert (decision.move, decision.verdict, decision.times) == (M.PASS, verdict, times)
    assert decision.last_ms == NOW_MS - ago * 60_000


@pytest.mark.parametrize("policy", [C.ONE, C.ALL])
def test_the_last_missed_one_is_launched(policy: CatchUpPolicy) -> None:
    assert decide(away(0, policy)).move is M.LAUNCH


def test_all_within_the_window_are_launched_one_by_one() -> None:
    assert decide(away(9, C.ALL)).move is M.LAUNCH


def test_one_that_is_older_than_the_window_is_missed() -> None:
    facts = replace(away(0), at_ms=NOW_MS - 660_000, now_ms=NOW_MS)
    facts = replace(facts, spec=replace(facts.spec, every_ms=3_600_000, phase_ms=600_000 - 660_000))
    decision = decide(facts)
    assert (decision.move, decision.verdict) == (M.PASS, V.MISSED_WINDOW)


@pytest.mark.parametrize("late_ms", [1, 60_000, 3_600_000, 86_400_000])
def test_who_is_late_because_the_cluster_was_busy_is_launched(late_ms: int) -> None:
    spec = replace(SPEC, catch_up=CatchUp(policy=C.SKIP, max_lateness_ms=1))
    busy = replace(ON_TIME, spec=spec, now_ms=NOW_MS + late_ms, absent_until_ms=NOW_MS)
    assert decide(busy).move is M.LAUNCH


def test_a_pause_goes_before_everything_that_was_not_launched() -> None:
    decision = decide(replace(away(5), paused=True))
    assert (decision.verdict, decision.times) == (V.PAUSED, 6)


@pytest.mark.parametrize(
    "facts", [away(5), with_rule(P.SKIP, runs=1), replace(ON_TIME, paused=True)]
)
def test_what_is_there_was_launched_whatever_the_rules_say(facts: Facts) -> None:
    assert decide(replace(facts, standing=Standing.EXISTS)).move is M.RECORD


@pytest.mark.parametrize("standing", [Standing.VOID, Standing.FENCED])
def test_what_was_voided_before_its_time_is_cancelled(standing: Standing) -> None:
    decision = decide(replace(ON_TIME, standing=standing))
    assert (decision.move, decision.verdict) == (M.PASS, V.CANCELLED)


@pytest.mark.parametrize("standing", [Standing.ABSENT, Standing.VOID, Standing.FENCED])
def test_a_fence_changes_no_verdict_of_what_is_passed_over(standing: Standing) -> None:
    for facts in (away(5), with_rule(P.SKIP, runs=1), replace(ON_TIME, paused=True)):
        assert decide(replace(facts, standing=standing)) == decide(facts)


def test_nothing_is_decided_before_its_time() -> None:
    assert decide(replace(ON_TIME, at_ms=NOW_MS + 1)).move is M.WAIT


def test_what_waits_is_launched_when_the_runs_have_ended_and_no_pause_is_on() -> None:
    waits = with_rule(P.BUFFER_ONE, waiting=1, buffered=True, at_ms=NOW_MS - 60_000)
    assert decide(replace(waits, runs=1)).move is M.WAIT
    assert decide(replace(waits, paused=True)).move is M.WAIT
    assert decide(waits).move is M.LAUNCH


def test_what_waits_ages() -> None:
    spec = replace(SPEC, catch_up=CatchUp(max_lateness_ms=59_999))
    waits = replace(ON_TIME, spec=spec, buffered=True, at_ms=NOW_MS - 60_000)
    decision = decide(waits)
    assert (decision.move, decision.verdict) == (M.PASS, V.MISSED_WINDOW)


def test_a_span_is_bounded_and_the_next_one_goes_on_where_it_ended() -> None:
    spec = replace(SPEC, every_ms=1_000)
    last_ms, times = span(spec, NOW_MS - 7_200_000, NOW_MS)
    assert times == MOST_IN_A_SPAN + 1
    assert last_ms == NOW_MS - 7_200_000 + MOST_IN_A_SPAN * 1_000


def test_a_span_of_a_cron_counts_what_it_names() -> None:
    calendar = Calendar(crons=(Cron(expression="*/15 9-10 * * *"),))
    spec = ScheduleSpec(task=task_spec(), calendar=calendar)
    day_ms = NOW_MS - NOW_MS % 86_400_000
    last_ms, times = span(spec, day_ms + 9 * 3_600_000, day_ms + 20 * 3_600_000)
    assert (last_ms - day_ms, times) == (10 * 3_600_000 + 45 * 60_000, 8)
