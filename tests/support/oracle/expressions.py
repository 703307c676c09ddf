"""Random cron expressions that are accepted, from the grammar's own forms."""

from __future__ import annotations

from hypothesis import strategies as st

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
WEEKDAYS = "sun mon tue wed thu fri sat".split()
SUNDAY_AGAIN = 7


def _ranges(low: int, high: int) -> st.SearchStrategy[str]:
    """`3-9` and `3-9/2`."""

    def written(ends: tuple[int, int], step: int) -> str:
        first, last = sorted(ends)
        return f"{first}-{last}" + (f"/{step}" if 1 < step <= last - first else "")

    ends = st.tuples(st.integers(low, high), st.integers(low, high))
    return st.builds(written, ends, st.integers(1, 12))


def _hashes(low: int, high: int) -> st.SearchStrategy[str]:
    """`H`, `H/4`, `H(3-9)`, `H(3-9)/2`."""
    bare = st.integers(2, high - low).map(lambda step: f"H/{step}")
    bounded = _ranges(low, high).map(
        lambda text: f"H({text.partition('/')[0]}){''.join(text.partition('/')[1:])}"
    )
    return st.just("H") | bare | bounded


def _field(
    low: int, high: int, hash_high: int, *more: st.SearchStrategy[str]
) -> st.SearchStrategy[str]:
    values = st.integers(low, high).map(str)
    last = high - 1 if high == SUNDAY_AGAIN else high  # a star is each weekday once
    steps = st.integers(1, last - low).map(lambda step: f"*/{step}")
    items = st.one_of(values, _ranges(low, high), steps, _hashes(low, hash_high), *more)
    lists = st.lists(items, min_size=1, max_size=4).map(",".join)
    return st.just("*") | lists


seconds = _field(0, 59, 59)
minutes = _field(0, 59, 59)
# Mostly the hours in which clocks jump.
hours = st.sampled_from(["*", "1-3", "2", "0", "23", "0-23", "*/2", "1,2,3", "H"]) | _field(
    0, 23, 23
)
dates = _field(
    1, 31, 28, st.sampled_from(["L", "LW"]), st.integers(1, 31).map(lambda day: f"{day}W")
) | st.just("?")
months = st.just("*") | _field(1, 12, 12, st.sampled_from([*MONTHS, "mar-may", "SEP-nov"]))
weekdays = _field(
    0,
    SUNDAY_AGAIN,
    6,
    st.sampled_from([*WEEKDAYS, "fri-sun", "Mon-Fri", "sat-SUN"]),
    st.tuples(st.sampled_from([*WEEKDAYS, "7", "3"]), st.sampled_from(["L", "#1", "#3", "#5"])).map(
        "".join
    ),
).flatmap(lambda text: st.sampled_from([text, text, f"+{text}"])) | st.just("?")

five_fields = st.tuples(minutes, hours, dates, months, weekdays).map(" ".join)
six_fields = st.tuples(seconds, minutes, hours, dates, months, weekdays).map(" ".join)
"""Expressions that the parser accepts; some of them would never fire."""
