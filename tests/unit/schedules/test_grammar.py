"""What each form of a cron expression picks: numbers of a field, and days of real months."""

from __future__ import annotations

from itertools import pairwise

import pytest

from timeball_server.core.schedules.cron_text import parse
from timeball_server.core.schedules.fields import Fields, bits

# February 2027 begins on a Monday and has 28 days; May 2027 begins on a Saturday and has 31;
# August 2027 begins on a Sunday and has 31; April 2028 begins on a Saturday and has 30.
FEBRUARY_2027, MAY_2027, AUGUST_2027, APRIL_2028 = (1, 28), (6, 31), (0, 31), (6, 30)


def days(expression: str, month: tuple[int, int]) -> list[int]:
    return list(bits(parse(expression, "nightly").days.days(*month)))


def minutes(field: str) -> list[int]:
    return list(bits(parse(f"{field} * * * *", "nightly").minutes))


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("5", [5]),
        ("05", [5]),
        ("5,1,5", [1, 5]),
        ("10-13", [10, 11, 12, 13]),
        ("*/20", [0, 20, 40]),
        ("*/40", [0, 40]),
        ("10-30/10,59", [10, 20, 30, 59]),
        ("*", list(range(60))),
    ],
)
def test_numbers_ranges_steps_and_lists(field: str, wanted: list[int]) -> None:
    assert minutes(field) == wanted


def test_six_fields_have_seconds_first() -> None:
    fields = parse("15,45 30 9 1 jan mon")
    assert (list(bits(fields.seconds)), list(bits(fields.minutes))) == ([15, 45], [30])
    assert (list(bits(fields.hours)), list(bits(fields.months))) == ([9], [1])
    assert (fields.has_seconds, parse("30 9 * * *").has_seconds) == (True, False)
    assert list(bits(parse("30 9 * * *").seconds)) == [0]


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("jan,Mar-MAY,12", [1, 3, 4, 5, 12]),
        ("*/3", [1, 4, 7, 10]),
        ("oct-dec", [10, 11, 12]),
    ],
)
def test_months_have_names(field: str, wanted: list[int]) -> None:
    assert list(bits(parse(f"0 0 1 {field} *").months)) == wanted


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("0", [0]),
        ("7", [0]),
        ("5-7", [0, 5, 6]),
        ("0-7", [0, 1, 2, 3, 4, 5, 6]),
        ("fri-sun", [0, 5, 6]),
        ("sun-tue", [0, 1, 2]),
        ("SAT,wed", [3, 6]),
        ("*/2", [0, 2, 4, 6]),
        ("1-5/2", [1, 3, 5]),
    ],
)
def test_weekdays_have_names_and_two_sundays(field: str, wanted: list[int]) -> None:
    assert list(bits(parse(f"0 0 * * {field}").days.weekdays)) == wanted


@pytest.mark.parametrize(
    ("expression", "month", "wanted"),
    [
        ("0 0 L * *", FEBRUARY_2027, [28]),
        ("0 0 1,L * *", APRIL_2028, [1, 30]),
        ("0 0 31 * *", APRIL_2028, []),
        ("0 0 LW * *", AUGUST_2027, [31]),
        ("0 0 LW * *", APRIL_2028, [28]),
        ("0 0 LW * *", FEBRUARY_2027, [26]),
        # The nearest weekday: Saturday goes back, Sunday goes on, and none leaves the month.
        ("0 0 15W * *", MAY_2027, [14]),
        ("0 0 15W * *", AUGUST_2027, [16]),
        ("0 0 1W * *", MAY_2027, [3]),
        ("0 0 1W * *", AUGUST_2027, [2]),
        ("0 0 30W * *", APRIL_2028, [28]),
        ("0 0 31W * *", APRIL_2028, []),
        ("0 0 28W * *", FEBRUARY_2027, [26]),
        ("0 0 * * fri#2", MAY_2027, [14]),
        ("0 0 * * 1#5", MAY_2027, [31]),
        ("0 0 * * 1#5", FEBRUARY_2027, []),
        ("0 0 * * friL", MAY_2027, [28]),
        ("0 0 * * 7L,mon#1", MAY_2027, [3, 30]),
        # Both days restricted: either is enough.
        ("0 0 13 * fri", AUGUST_2027, [6, 13, 20, 27]),
        ("0 0 1 * mon", FEBRUARY_2027, [1, 8, 15, 22]),
        # A field that begins with a star, or ?, restricts nothing by itself.
        ("0 0 */10 * mon", AUGUST_2027, []),
        ("0 0 */10 * mon", FEBRUARY_2027, [1]),
        ("0 0 ? * mon", FEBRUARY_2027, [1, 8, 15, 22]),
        ("0 0 13 * ?", FEBRUARY_2027, [13]),
        # + asks for both.
        ("0 0 13 * +fri", AUGUST_2027, [13]),
        ("0 0 13 * +fri", FEBRUARY_2027, []),
        ("0 0 25-31 * +sun", MAY_2027, [30]),
    ],
)
def test_days_of_a_month(expression: str, month: tuple[int, int], wanted: list[int]) -> None:
    assert days(expression, month) == wanted


@pytest.mark.parametrize(
    ("nickname", "meaning"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ],
)
def test_nicknames(nickname: str, meaning: str) -> None:
    def parts(fields: Fields) -> tuple[object, ...]:
        return (fields.minutes, fields.hours, fields.months, fields.days, fields.ticks_through)

    assert parts(parse(nickname)) == parts(parse(meaning))


def test_h_is_one_constant_for_each_name_and_field() -> None:
    (minute,) = minutes("H")
    assert minutes("H") == [minute]
    drawn = {next(bits(parse("H * * * *", f"name-{n}").minutes)) for n in range(600)}
    assert drawn == set(range(60))


@pytest.mark.parametrize("name", [f"name-{number}" for number in range(40)])
def test_h_stays_inside_its_range_and_steps_evenly(name: str) -> None:
    fields = parse("H/15 H(1-5) H H H", name)
    found = list(bits(fields.minutes))
    assert len(found) == 4
    assert {later - earlier for earlier, later in pairwise(found)} == {15}
    (hour,) = bits(fields.hours)
    assert 1 <= hour <= 5
    assert len(list(bits(fields.days.dates & ((1 << 29) - 1)))) == 1
    assert len(list(bits(fields.months))) == len(list(bits(fields.days.weekdays))) == 1
    stepped = list(bits(parse("H(10-29)/10 * * * *", name).minutes))
    assert stepped == [stepped[0], stepped[0] + 10]
    assert 10 <= stepped[0] < 20


def test_h_never_changes_between_releases() -> None:
    """Written down: a stored schedule must not move because the hash did."""
    fields = parse("H H H * * *", "nightly")
    found = [next(bits(mask)) for mask in (fields.seconds, fields.minutes, fields.hours)]
    assert found == [15, 12, 22]
