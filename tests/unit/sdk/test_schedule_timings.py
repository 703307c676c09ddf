"""Timings: what they say to the API, and what they refuse before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from timeball import after_completion, cron, dates, errors, every, span, union
from timeball._timings import TIMING_FIELDS, named_fields, schedule_of, timing_message
from timeball.options import submission
from timeball.timings import Cron, Exclusion, Timing, parse_overlap
from timeball.v1 import schedule_service_pb2 as pb

NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)
CHARGE = submission("billing.charge", {"user": "u1"})


def said(timing: Timing) -> dict[str, Any]:
    return MessageToDict(timing_message(timing))


def test_a_cron_with_its_zone_and_both_rules_of_jumps() -> None:
    timing = cron("0 9 * * mon-fri", tz="Europe/Berlin", gap="skip", fold="both")
    assert said(timing) == {
        "calendar": {
            "crons": [{"expression": "0 9 * * mon-fri", "timeZone": "Europe/Berlin"}],
            "gap": "GAP_RULE_SKIP",
            "fold": "FOLD_RULE_BOTH",
        }
    }


def test_one_interval_is_said_as_one_and_more_as_a_calendar() -> None:
    assert said(every("5m", phase="30s")) == {"interval": {"every": "300s", "phase": "30s"}}
    several = said(union(every("5m"), every("1h"), cron("@daily")))["calendar"]
    assert [each["every"] for each in several["intervals"]] == ["300s", "3600s"]
    assert several["crons"] == [{"expression": "@daily"}]
    left_out = said(every("5m", exclude=[dates("2026-12-25")]))
    assert set(left_out) == {"calendar"}


def test_a_delay_after_completion_is_another_thing() -> None:
    assert said(after_completion("10m", max_runs=3)) == {
        "delayAfterCompletion": "600s",
        "maxRuns": "3",
    }
    wrong: list[Callable[[], Timing]] = [
        lambda: after_completion("10m", overlap="skip"),
        lambda: after_completion("10m", exclude=[dates("2026-12-25")]),
        lambda: union(after_completion("10m"), every("1h")),
    ]
    for make in wrong:
        with pytest.raises(errors.InvalidRequest, match="delay after completion"):
            make()


def test_every_kind_of_exclusion() -> None:
    rules: list[Exclusion] = [
        dates("2026-12-25", date(2026, 12, 26), tz="Asia/Tokyo"),
        span(NEW_YEAR, NEW_YEAR + timedelta(hours=1)),
        Cron(expression="* 9-17 * * sat", tz="UTC"),
    ]
    assert said(cron("* * * * *", exclude=rules))["calendar"]["exclusions"] == [
        {"dates": {"dates": ["2026-12-25", "2026-12-26"], "timeZone": "Asia/Tokyo"}},
        {"span": {"startTime": "2030-01-01T00:00:00Z", "endTime": "2030-01-01T01:00:00Z"}},
        {"cron": {"expression": "* 9-17 * * sat", "timeZone": "UTC"}},
    ]


def test_bounds_overlap_and_catch_up_reach_their_fields() -> None:
    timing = every(
        "1m",
        start=NEW_YEAR,
        end=NEW_YEAR + timedelta(days=1),
        max_runs=9,
        jitter="5s",
        window="6s",
        overlap="buffer(3)",
        catch_up="all",
        catch_up_window="1h",
        max_lateness="2h",
        labels={"team": "billing"},
    )
    found = said(timing)
    del found["interval"]
    assert found == {
        "startTime": "2030-01-01T00:00:00Z",
        "endTime": "2030-01-02T00:00:00Z",
        "maxRuns": "9",
        "jitter": "5s",
        "flexibleWindow": "6s",
        "overlap": {"policy": "OVERLAP_POLICY_BUFFER", "limit": 3},
        "catchUp": {"policy": "CATCH_UP_POLICY_ALL", "window": "3600s"},
        "maxLateness": "7200s",
        "labels": {"team": "billing"},
    }
    assert named_fields(timing) == list(TIMING_FIELDS)
    assert named_fields(Timing(options={"jitter": "1s"})) == ["jitter"]


def test_update_masks_name_fields_of_the_api() -> None:
    assert {*TIMING_FIELDS} <= {*pb.Schedule.DESCRIPTOR.fields_by_name}


def test_a_union_has_its_options_to_itself_and_one_rule_of_jumps() -> None:
    with pytest.raises(errors.InvalidRequest, match="max_runs of the union"):
        union(every("1h", max_runs=2), cron("@daily"))
    with pytest.raises(errors.InvalidRequest, match="do not agree"):
        union(cron("@daily", gap="skip"), cron("@hourly", gap="run_at_end"))
    agreed = union(cron("@daily", gap="skip"), cron("@hourly"), overlap="skip")
    assert (agreed.gap, len(agreed.crons)) == ("skip", 2)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("gap", lambda: cron("@daily", gap="x")),  # type: ignore[arg-type]
        ("fold", lambda: cron("@daily", fold="x")),  # type: ignore[arg-type]
        ("catch_up", lambda: cron("@daily", catch_up="x")),  # type: ignore[arg-type]
        ("every", lambda: every("often")),
        ("phase", lambda: every("1h", phase="soon")),
        ("after_completion", lambda: after_completion("soon")),
        ("jitter", lambda: every("1h", jitter="x")),
        ("max_lateness", lambda: every("1h", max_lateness="-1s")),
        ("start", lambda: every("1h", start=datetime(2030, 1, 1))),  # noqa: DTZ001 - the point
        ("end", lambda: every("1h", end=datetime(2030, 1, 1))),  # noqa: DTZ001 - the point
        ("overlap", lambda: every("1h", overlap="allow")),
        ("max_runs", lambda: timing_message(every("1h", max_runs=-1))),
        ("delay", lambda: schedule_of(every("1h"), submission("a", delay="1s"), "")),
    ],
)
def test_what_cannot_be_meant_names_its_field(field: str, make: Callable[[], object]) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        make()
    assert [each.field for each in caught.value.violations] == [field]


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(TypeError, match="did you mean 'jitter'"):
        every("1h", jiter="1s")  # type: ignore[call-arg]


def test_the_title_becomes_a_label_unless_the_task_has_it() -> None:
    assert schedule_of(every("1h"), CHARGE, "nightly").task.labels == {"schedule": "nightly"}
    own = submission("billing.charge", labels={"schedule": "mine"})
    assert schedule_of(every("1h"), own, "nightly").task.labels == {"schedule": "mine"}


@given(st.sampled_from(["buffer", "allow"]), st.integers(1, 100))
def test_overlap_limits_are_read(policy: str, limit: int) -> None:
    assert parse_overlap(f"{policy}({limit})") == (policy, limit)


@given(st.text(max_size=12))
def test_any_text_is_an_overlap_policy_or_refused(text: str) -> None:
    try:
        policy, limit = parse_overlap(text)
    except errors.InvalidRequest:
        return
    assert text in {policy, f"{policy}({limit})"} or text.startswith(f"{policy}(0")
