"""How late a task may begin, and what is told of that: in a calm run, and after the last fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from tests.support.checker.records import Call, Op, Seen, Start, Terms, Wish
from tests.support.checker.verdicts import Promise, Violation
from tests.support.checker.versions import Versions

STILL_US = 25_000
"""Where nothing is broken or moved: some ways over the network and two writes."""
TOLD_US = 10_000
"""What is told as lateness is the owner's word, and the sink hears of the start a little later."""


class Life(Protocol):
    """What is known of one task."""

    terms: Terms
    wish: Wish | None
    made_us: int
    known_us: int
    ops: list[Op]
    starts: list[Start]

    def broken(self, promise: Promise, text: str) -> Violation:
        """A violation of this task's."""
        ...


def late(life: Life, seen: Seen) -> Iterator[Violation]:
    """In a calm run everything is in time; after the last fault everything is soon."""
    terms, wish = life.terms, life.wish
    most_us = STILL_US if terms.still else terms.late_us
    if terms.calm and most_us is not None:
        for each in seen.tries:
            if each.late_us is not None and each.late_us > most_us:
                text = f"attempt {each.number} began {each.late_us} us late without any fault"
                yield life.broken(Promise.PUNCTUAL, text)
    moved = any(op.call is Call.RESCHEDULE for op in life.ops)
    if terms.recover_us is None or wish is None or not life.starts:
        return
    if wish.due_us is None and not moved:
        return
    last_due_us = Versions(terms, life.ops, wish, life.made_us).last_due_us()
    soonest_us = max(last_due_us, terms.healed_us, life.known_us)
    first_us = min(start.at_us for start in life.starts)
    if first_us > soonest_us + terms.recover_us:
        text = f"began {first_us - soonest_us} us after it was due and all was healed"
        yield life.broken(Promise.LIVE, text)
    if terms.still and wish.due_us is not None and not moved:
        yield from _told(life, wish.due_us, first_us, seen)


def _told(life: Life, due_us: int, first_us: int, seen: Seen) -> Iterator[Violation]:
    """Where nothing is broken, the sink and the answers agree on when the first attempt began."""
    told_us = [each.late_us for each in seen.tries if each.number == 1]
    updated = any(op.call is Call.UPDATE for op in life.ops)
    if not told_us or told_us[0] is None or updated:
        return
    late_us = first_us - max(due_us, life.known_us)
    if late_us > STILL_US:
        yield life.broken(Promise.PUNCTUAL, f"began {late_us} us late without any fault")
    if not -TOLD_US <= first_us - due_us - told_us[0] <= TOLD_US + max(0, life.known_us - due_us):
        text = f"began {first_us - due_us} us late, and {told_us[0]} us are told"
        yield life.broken(Promise.TRUTH, text)
