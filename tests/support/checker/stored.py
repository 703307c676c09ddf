"""Buckets that are stored when all is over.

What was kept long enough is removed (I14), and no part of a bucket is larger than it may be (I20).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.support.checker.base import Record
from tests.support.checker.verdicts import Promise, Violation

if TYPE_CHECKING:
    from tests.support.checker.history import History

ROUNDS_US = 20_000_000
"""So soon after its time a bucket is removed: rounds follow each other, one shard at a time."""


class Stored(Record, frozen=True, kw_only=True, tag="stored"):
    """What is left of one minute of a shard.

    Attributes:
        ends_us: when the minute was over; `changed_us` when a task in it was changed last.
        open: the name of a task in it that has not ended, if any.
        parts: how many tasks each of its parts holds.
    """

    shard: int
    ends_us: int
    changed_us: int
    open: str = ""
    parts: tuple[int, ...] = ()


def stored(history: History) -> Iterator[Violation]:
    """What was kept is removed, and parts are filled one after another."""
    if history.terms.calm and history.terms.kept_us is not None:
        yield from _kept(history, history.terms.kept_us)
    most = history.terms.part_tasks
    for each in history.stored if history.terms.still and most else ():
        first, *others = each.parts
        if first > 3 * most or (others and (first < most or _is_uneven(others, most))):
            text = f"{each.parts} tasks in the parts of the minute that ended at {each.ends_us}"
            yield Violation(Promise.THRIFT, f"shard {each.shard}", text)


def _is_uneven(counts: list[int], most: int) -> bool:
    """The first part has besides whatever was asked for before it was made; these have not."""
    *full, last = counts
    return any(count != most for count in full) or not 0 < last <= most


def _kept(history: History, kept_us: int) -> Iterator[Violation]:
    """Of each shard the oldest bucket that is there must stay: all others wait for that one."""
    terms = history.terms
    oldest: dict[int, Stored] = {}
    for each in history.stored:
        first = oldest.setdefault(each.shard, each)
        if each.ends_us < first.ends_us:
            oldest[each.shard] = each
    for shard, bucket in oldest.items():
        since_us = terms.read_us - max(bucket.ends_us, bucket.changed_us)
        if not bucket.open and since_us > kept_us + ROUNDS_US:
            text = (
                f"the bucket that ended at {bucket.ends_us} is there, {since_us} us after its end"
            )
            yield Violation(Promise.HYGIENE, f"shard {shard}", text)
