"""Schedules declared next to tasks: what is kept, what is refused, what a plan makes of it."""

from __future__ import annotations

import pytest
import timeball
from timeball import cron, errors, every
from timeball.cli.schedule_plan import changes, read_code, read_file
from timeball.declared import Declared, declared

WEEKDAYS = cron("0 9 * * mon-fri", tz="Europe/Berlin", overlap="buffer_one", labels={"team": "a"})


@timeball.task("sdk.report", priority=2)
async def report(shop: str, copies: int = 1) -> None: ...


report.declare_schedule("sdk-nightly", WEEKDAYS, shop="north")
report.options(priority=7).declare_schedule("sdk-urgent", every("1h"), "south", copies=2)


def of_tests() -> list[Declared]:
    return [each for each in declared.values() if each.name.startswith("sdk-")]


def test_code_and_file_that_say_the_same_make_the_same_schedule() -> None:
    wished = read_code("shop", of_tests())
    group, from_file = read_file(b"""
        group = "shop"
        [schedules.sdk-nightly]
        handler = "sdk.report"
        arguments = { shop = "north" }
        cron = "0 9 * * mon-fri"
        tz = "Europe/Berlin"
        overlap = "buffer_one"
        labels = { team = "a" }
        priority = 2
        [schedules.sdk-urgent]
        handler = "sdk.report"
        arguments = { shop = "south", copies = 2 }
        every = "1h"
        priority = 7
    """)
    assert set(wished) == set(from_file) == {"sdk-nightly", "sdk-urgent"}
    assert wished["sdk-nightly"].labels["applied"] == group
    for name, each in wished.items():
        assert changes(from_file[name], each) == ()


def test_declaring_it_again_is_fine_unless_it_says_something_else() -> None:
    report.declare_schedule("sdk-nightly", WEEKDAYS, shop="north")
    with pytest.raises(ValueError, match="two schedules are called 'sdk-nightly'"):
        report.declare_schedule("sdk-nightly", every("1h"), shop="north")
    with pytest.raises(ValueError, match="two schedules"):
        report.declare_schedule("sdk-nightly", WEEKDAYS, shop="south")
    assert declared["sdk-nightly"].timing == WEEKDAYS


def test_arguments_are_checked_where_they_are_declared() -> None:
    with pytest.raises(errors.InvalidRequest):
        report.declare_schedule("sdk-wrong", WEEKDAYS, shop=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        report.declare_schedule("sdk-wrong", WEEKDAYS)  # type: ignore[call-arg]
    assert "sdk-wrong" not in declared


def test_what_cannot_be_sent_names_the_schedule() -> None:
    task = report.options(delay="5s").prepare("north")
    late = Declared(name="sdk-late", timing=WEEKDAYS, submission=task)
    with pytest.raises(errors.InvalidRequest, match=r"schedules\.sdk-late\.delay"):
        read_code("shop", [late])
