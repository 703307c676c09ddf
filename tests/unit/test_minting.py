"""Minting: one request has one address, whoever mints it and whenever it is repeated."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.buckets import Layout, LayoutRow, minute_of
from timeball_server.core.ids import Minute, decode_id
from timeball_server.core.minting import (
    SURE_AHEAD_MS,
    SURE_PAST_MS,
    TRUSTED_MS,
    CreateTime,
    Minted,
    fresh_request_id,
    mint,
    request_name,
)

LAYOUT = Layout((LayoutRow(from_minute=Minute(0), shard_count=16),))
NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ENTROPY = st.binary(min_size=10, max_size=10)
AT_ONCE = CreateTime()


def v7(at_ms: int, entropy: bytes = b"0123456789") -> bytes:
    return fresh_request_id(at_ms, entropy)


def v4(entropy: bytes = b"0123456789abcdef") -> bytes:
    return uuid.UUID(bytes=entropy, version=4).bytes


def minted(
    request_id: bytes, time: CreateTime, now_ms: int = NOW_MS, *, resend: bool = False
) -> Minted:
    return mint("shop", request_id, time, resend=resend, now_ms=now_ms, layout=LAYOUT)


@given(st.integers(0, 2**48 - 1), ENTROPY)
def test_a_fresh_request_id_is_a_version_7_uuid(at_ms: int, entropy: bytes) -> None:
    made = uuid.UUID(bytes=v7(at_ms, entropy))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == at_ms


@pytest.mark.parametrize(
    ("time", "stamp_age_ms", "resend", "home_ms", "needs_name"),
    [
        (AT_ONCE, 40, False, NOW_MS - 40, False),
        (CreateTime(delay_ms=DAY_MS), 40, False, NOW_MS - 40 + DAY_MS, False),
        (CreateTime(run_ms=NOW_MS + DAY_MS), 40, False, NOW_MS + DAY_MS, False),
        (CreateTime(run_ms=NOW_MS + DAY_MS), 9 * DAY_MS, False, NOW_MS + DAY_MS, False),
        (CreateTime(run_ms=NOW_MS - SURE_PAST_MS), 40, False, NOW_MS - SURE_PAST_MS, False),
        (CreateTime(run_ms=NOW_MS - TRUSTED_MS), 40, False, NOW_MS - TRUSTED_MS, True),
        (CreateTime(run_ms=NOW_MS - DAY_MS), 40, False, NOW_MS, True),
        (CreateTime(run_ms=NOW_MS - DAY_MS), 40, True, NOW_MS - DAY_MS, True),
        (AT_ONCE, SURE_PAST_MS, False, NOW_MS - SURE_PAST_MS, False),
        (AT_ONCE, TRUSTED_MS, False, NOW_MS - TRUSTED_MS, True),
        (AT_ONCE, TRUSTED_MS + 1, False, NOW_MS, True),
        (AT_ONCE, TRUSTED_MS + 1, True, NOW_MS - TRUSTED_MS - 1, True),
        (AT_ONCE, -SURE_AHEAD_MS, False, NOW_MS + SURE_AHEAD_MS, False),
        (AT_ONCE, -TRUSTED_MS, False, NOW_MS + TRUSTED_MS, True),
        (AT_ONCE, -TRUSTED_MS - 1, False, NOW_MS, True),
        (AT_ONCE, -TRUSTED_MS - 1, True, NOW_MS, True),
    ],
)
def test_the_home_minute(
    time: CreateTime, stamp_age_ms: int, resend: bool, home_ms: int, needs_name: bool
) -> None:
    got = minted(v7(NOW_MS - stamp_age_ms), time, resend=resend)
    assert (got.minute, got.needs_name) == (minute_of(home_ms), needs_name)


def test_a_version_4_request_needs_a_name() -> None:
    assert minted(v4(), CreateTime(delay_ms=5)).needs_name
    assert minted(v4(), CreateTime(delay_ms=5)).minute == minute_of(NOW_MS + 5)


def test_a_key_of_the_callers_own_is_settled_by_name_also_with_a_run_time() -> None:
    """A payment's key that comes with another run time may not find another home."""
    got = minted(v4(), CreateTime(run_ms=NOW_MS + DAY_MS))
    assert (got.minute, got.needs_name) == (minute_of(NOW_MS + DAY_MS), True)


def test_the_farthest_stamp_still_gives_an_address() -> None:
    got = minted(v7(2**48 - 1), CreateTime(delay_ms=5 * 366 * DAY_MS), resend=True)
    assert decode_id(got.task_id).home.minute == got.minute


@given(ENTROPY, ENTROPY)
def test_the_id_says_what_was_minted_and_namespaces_do_not_meet(one: bytes, two: bytes) -> None:
    got = minted(v7(NOW_MS, one), AT_ONCE)
    parts = decode_id(got.task_id)
    assert (parts.home.minute, parts.home.shard, parts.unique) == (
        got.minute,
        got.shard,
        got.unique,
    )
    other = mint("bank", v7(NOW_MS, one), AT_ONCE, resend=False, now_ms=NOW_MS, layout=LAYOUT)
    assert other.unique != got.unique
    assert (minted(v7(NOW_MS, two), AT_ONCE).unique == got.unique) == (
        v7(NOW_MS, two) == v7(NOW_MS, one)
    )


TIMES = st.one_of(
    st.builds(CreateTime, delay_ms=st.integers(0, DAY_MS)),
    st.builds(CreateTime, run_ms=st.integers(NOW_MS - 2 * DAY_MS, NOW_MS + 9 * DAY_MS)),
)
NEAR_THE_EDGES = st.sampled_from([SURE_PAST_MS, TRUSTED_MS, -SURE_AHEAD_MS, -TRUSTED_MS])
STAMP_AGES = st.one_of(
    st.integers(-2 * DAY_MS, 2 * DAY_MS),
    st.builds(int.__add__, NEAR_THE_EDGES, st.integers(-120_000, 120_000)),
)
SKEW_MS = st.integers(-100_000, 100_000)


@given(
    TIMES,
    st.one_of(STAMP_AGES.map(lambda age_ms: v7(NOW_MS - age_ms)), st.just(v4())),
    st.lists(st.tuples(st.integers(0, 50 * 60_000), SKEW_MS), min_size=1, max_size=4),
)
def test_repetitions_meet_at_one_address(
    time: CreateTime, request_id: bytes, resends: list[tuple[int, int]]
) -> None:
    """The first send is fresh, later ones are marked, coordinators' clocks differ."""
    names: dict[str, Minted] = {}

    def settled(now_ms: int, *, resend: bool) -> Minted:
        got = minted(request_id, time, now_ms, resend=resend)
        return names.setdefault(request_name(request_id), got) if got.needs_name else got

    first = settled(NOW_MS, resend=False)
    for later_ms, skew_ms in resends:
        again = settled(NOW_MS + later_ms + skew_ms, resend=True)
        assert again.task_id == first.task_id


@given(TIMES, st.integers(-SURE_AHEAD_MS, DAY_MS), st.integers(0, 7 * DAY_MS))
def test_stamps_that_are_not_ahead_hold_for_the_whole_retention(
    time: CreateTime, stamp_age_ms: int, later_ms: int
) -> None:
    request_id = v7(NOW_MS - stamp_age_ms)
    first = minted(request_id, time)
    again = minted(request_id, time, NOW_MS + later_ms, resend=True)
    assert again.task_id == first.task_id or (first.needs_name and again.needs_name)
