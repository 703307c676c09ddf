"""R3: an owner acts only within two thirds of the session timeout after its last proven send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.lease import lease_holds, lease_until_mono_ms

TIMES = st.integers(min_value=0, max_value=10**12)
TIMEOUTS = st.integers(min_value=1, max_value=120_000)


def test_r3_lease_is_two_thirds_of_the_timeout_after_the_send() -> None:
    assert lease_until_mono_ms(1_000, 6_000) == 5_000


def test_r3_a_third_of_a_millisecond_is_given_up() -> None:
    assert lease_until_mono_ms(0, 4_000) == 2_666


def test_r3_no_lease_before_the_first_answer() -> None:
    assert lease_until_mono_ms(None, 6_000) is None
    assert not lease_holds(None, 6_000, 0)


@pytest.mark.parametrize(("now_mono_ms", "holds"), [(1_000, True), (4_999, True), (5_000, False)])
def test_r3_lease_ends_at_its_last_instant(now_mono_ms: int, holds: bool) -> None:
    assert lease_holds(1_000, 6_000, now_mono_ms) is holds


@given(sent=TIMES, timeout_ms=TIMEOUTS, silence_ms=st.integers(min_value=0, max_value=200_000))
def test_r3_lease_is_over_before_the_service_can_expire_the_session(
    sent: int, timeout_ms: int, silence_ms: int
) -> None:
    """The service hears the request no earlier than its send, so it waits at least as long."""
    if lease_holds(sent, timeout_ms, sent + silence_ms):
        assert silence_ms < timeout_ms


@given(sent=TIMES, timeout_ms=TIMEOUTS, now=TIMES)
def test_r3_a_lease_that_ended_stays_ended(sent: int, timeout_ms: int, now: int) -> None:
    if not lease_holds(sent, timeout_ms, now):
        assert not lease_holds(sent, timeout_ms, now + 1)
