from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timeball.durations import (
    MICROSECONDS,
    format_duration,
    parse_duration,
    parse_instant,
    require_zone,
)
from timeball.errors import InvalidRequest

lengths = st.timedeltas(min_value=timedelta(0))


@given(lengths)
def test_what_is_written_reads_back_the_same(length: timedelta) -> None:
    assert parse_duration(format_duration(length)) == length


@given(lengths)
def test_a_timedelta_is_taken_as_it_is(length: timedelta) -> None:
    assert parse_duration(length) == length


@given(st.dictionaries(st.sampled_from(list(MICROSECONDS)), st.integers(0, 999), min_size=1))
def test_units_from_long_to_short_add_up(counts: dict[str, int]) -> None:
    text = "".join(f"{counts[unit]}{unit}" for unit in MICROSECONDS if unit in counts)
    total = sum(MICROSECONDS[unit] * count for unit, count in counts.items())
    assert parse_duration(text) == timedelta(microseconds=total)


@given(st.text(alphabet="0123456789wdhmsuPT. -+", max_size=12))
def test_any_text_is_a_length_or_refused_with_the_field(text: str) -> None:
    try:
        length = parse_duration(text, field="delay")
    except InvalidRequest as error:
        refusal = error
    else:
        assert length >= timedelta(0)
        return
    assert [each.field for each in refusal.violations] == ["delay"]
    assert repr(text) in refusal.message


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("250ms", timedelta(milliseconds=250)),
        (" 2d ", timedelta(days=2)),
        ("PT30S", timedelta(seconds=30)),
        ("P1DT2H", timedelta(hours=26)),
        ("P2W", timedelta(days=14)),
        ("0s", timedelta(0)),
    ],
)
def test_accepted(text: str, length: timedelta) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "P", "PT", "P1M", "P1Y", "1m1h", "1s1s", "-1s", "1e3s", "٣s", "0.1us", "9" * 30],
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_duration(text)


def test_refused_because_too_long_negative_or_without_unit() -> None:
    for wrong in ("999999999999w", timedelta(seconds=-1), 30):
        with pytest.raises(InvalidRequest):
            parse_duration(wrong)  # type: ignore[arg-type]


def test_a_naive_datetime_is_refused_with_the_fix() -> None:
    with pytest.raises(InvalidRequest, match="astimezone") as caught:
        require_zone(datetime(2030, 1, 1), field="run_at")  # noqa: DTZ001 - that is the point
    assert caught.value.violations[0].field == "run_at"
    aware = datetime(2030, 1, 1, tzinfo=UTC)
    assert require_zone(aware) is aware


def test_instants_name_their_zone() -> None:
    two = timezone(timedelta(hours=2))
    assert parse_instant("2030-01-31T09:00:00+02:00") == datetime(2030, 1, 31, 9, tzinfo=two)
    assert parse_instant("2030-01-31T09:00Z") == datetime(2030, 1, 31, 9, tzinfo=UTC)
    for wrong in ("2030-01-31T09:00:00", "tomorrow", ""):
        with pytest.raises(InvalidRequest, match="--at"):
            parse_instant(wrong, field="--at")
