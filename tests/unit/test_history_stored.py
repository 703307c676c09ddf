"""The judge of what is stored at last: nothing for too long, and parts one after another."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.support.checker.history import History
from tests.support.checker.judge import judge
from tests.support.checker.records import Terms
from tests.support.checker.stored import ROUNDS_US, Stored
from tests.support.checker.verdicts import Promise

S = 1_000_000
KEPT = Terms(calm=True, kept_us=45 * S, read_us=300 * S)
PARTS = Terms(calm=True, still=True, part_tasks=4, read_us=300 * S)
LAST_US = KEPT.read_us - 45 * S - ROUNDS_US


def bucket(ends_us: int = 60 * S, changed_us: int = LAST_US, **facts: object) -> Stored:
    return replace(Stored(shard=1, ends_us=ends_us, changed_us=changed_us), **facts)


def promises(terms: Terms, *buckets: Stored) -> list[Promise]:
    return [violation.promise for violation in judge(History([terms, *buckets]))]


def test_a_bucket_is_kept_so_long_after_its_last_change() -> None:
    assert not promises(KEPT, bucket())


def test_a_bucket_that_was_kept_long_enough_is_removed() -> None:
    assert promises(KEPT, bucket(changed_us=LAST_US - 1)) == [Promise.HYGIENE]


def test_a_bucket_stays_until_its_own_minute_is_that_old() -> None:
    assert not promises(KEPT, bucket(ends_us=LAST_US, changed_us=0))


def test_a_bucket_with_something_open_stays() -> None:
    assert not promises(KEPT, bucket(changed_us=0, open="t"))


def test_a_bucket_waits_for_all_older_ones_of_its_shard() -> None:
    older, younger = bucket(changed_us=0, open="t"), bucket(ends_us=61 * S, changed_us=0)
    assert not promises(KEPT, younger, older)
    assert promises(KEPT, replace(younger, shard=2), older) == [Promise.HYGIENE]


def test_what_faults_may_have_held_up_is_not_judged() -> None:
    assert not promises(replace(KEPT, calm=False), bucket(changed_us=0))


@pytest.mark.parametrize("parts", [(1,), (4,), (9,), (4, 1), (9, 4, 4), (4, 4, 3)])
def test_parts_are_filled_one_after_another(parts: tuple[int, ...]) -> None:
    assert not promises(PARTS, bucket(parts=parts))


@pytest.mark.parametrize("parts", [(13,), (3, 1), (4, 5), (4, 0, 1), (4, 3, 1), (4, 5, 1)])
def test_no_part_is_left_out_or_larger_than_it_may_be(parts: tuple[int, ...]) -> None:
    assert promises(PARTS, bucket(parts=parts)) == [Promise.THRIFT]
