"""Plans of `timeball schedule apply`: what a file declares, and which fields differ from it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timeball.cli.schedule_plan import changes, read_file
from timeball.errors import InvalidRequest
from timeball.v1 import schedule_service_pb2 as pb
from timeball.v1 import task_pb2

HEAD = "[schedules.a]\nhandler = 'h'\n"
LINES = [
    "jitter = '5s'",
    "window = '5s'",
    "max_runs = 3",
    "overlap = 'allow(2)'",
    "catch_up = 'all'",
    "catch_up_window = '1h'",
    "max_lateness = '2h'",
    "start = 2030-01-01T00:00:00Z",
    "end = '2031-01-01T00:00:00Z'",
    "labels = { team = 'billing' }",
    "arguments = { user = 'u1' }",
    "priority = 2",
    "task_labels = { team = 'billing' }",
    "selector = { disk = 'ssd' }",
    "max_attempts = 8",
    "attempt_timeout = '30s'",
    "at_most_once = true",
    "owner = 'anna'",
]


def declared(*lines: str, when: str = "every = '1h'") -> pb.Schedule:
    _, schedules = read_file("\n".join([HEAD, when, *lines]).encode())
    return schedules["a"]


@given(st.lists(st.sampled_from(LINES), unique=True))
def test_a_schedule_does_not_differ_from_itself(lines: list[str]) -> None:
    assert changes(declared(*lines), declared(*lines)) == ()


@pytest.mark.parametrize("line", LINES)
def test_every_word_that_comes_or_goes_is_one_change(line: str) -> None:
    assert len(changes(declared(), declared(line))) == 1
    gone = changes(declared(line), declared())
    assert len(gone) == (0 if line.startswith("owner") else 1)


def test_what_the_service_fills_in_is_no_change() -> None:
    known = declared(when="cron = '@daily'\nexclude_dates = ['2026-12-25']")
    known.calendar.crons[0].time_zone = "UTC"
    known.calendar.exclusions[0].dates.time_zone = "UTC"
    known.calendar.gap, known.calendar.fold = pb.GAP_RULE_RUN_AT_END, pb.FOLD_RULE_FIRST
    known.overlap.policy = pb.OVERLAP_POLICY_SKIP
    known.catch_up.policy = pb.CATCH_UP_POLICY_ONE
    known.catch_up.window.seconds = 600
    known.task.priority = 4
    known.task.owner = "dev"
    known.task.delivery_mode = task_pb2.DELIVERY_MODE_AT_LEAST_ONCE
    known.name, known.etag, known.runs = "namespaces/n/schedules/a", "7", 5
    again = declared(when="cron = '@daily'\nexclude_dates = ['2026-12-25']")
    assert changes(known, again) == ()


def test_another_calendar_is_one_change_with_before_and_after() -> None:
    (change,) = changes(declared(when="cron = '@daily'"), declared(when="cron = '@hourly'"))
    assert change.field == "calendar"
    assert "@daily" in str(change)
    assert "@hourly" in str(change)


def test_the_order_of_exclusions_of_different_kinds_says_nothing() -> None:
    lines = ("exclude_dates = ['2026-12-25']", "exclude_crons = ['* 9 * * *']")
    known, wished = declared(*lines), declared(*lines)
    rows: list[Any] = [*known.calendar.exclusions]
    del known.calendar.exclusions[:]
    known.calendar.exclusions.extend(reversed(rows))
    assert changes(known, wished) == ()


def test_schedules_carry_the_group_of_their_file() -> None:
    assert declared().labels == {"applied": "default"}
    group, schedules = read_file(f"group = 'shop'\n{HEAD}every = '1h'".encode())
    assert (group, schedules["a"].labels["applied"]) == ("shop", "shop")
    assert schedules["a"].task.labels == {"schedule": "a"}


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        group, schedules = read_file(data)
    except InvalidRequest:
        return
    assert isinstance(group, str)
    assert all(each.task.handler for each in schedules.values())
