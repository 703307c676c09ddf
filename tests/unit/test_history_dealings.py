"""The judge of requests at the corners: what each is told, and what it leaves as it was."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.support.checker.dealings import ANSWERS, CHANGES, Corner, Dealt
from tests.support.checker.history import History
from tests.support.checker.judge import judge
from tests.support.checker.records import Terms
from tests.support.checker.verdicts import Promise

BEFORE, AFTER = "t SCHEDULED revision 1 events 1", "t SCHEDULED revision 2 events 2"


def dealt(corner: Corner) -> Dealt:
    """A request at a corner that was dealt with as it should be."""
    changes = corner in CHANGES
    return Dealt(
        client="clerk",
        corner=corner,
        what="update",
        subject="t",
        said=ANSWERS[corner],
        before=BEFORE,
        shown="t SCHEDULED revision 2" if changes else "t SCHEDULED revision 1",
        after=AFTER if changes else BEFORE,
        wanted="revision 2" if changes else "",
    )


def broken(each: Dealt) -> list[str]:
    found = judge(History([Terms(calm=True), each]))
    assert {violation.promise for violation in found} <= {Promise.DEALINGS}
    return [violation.text for violation in found]


@pytest.mark.parametrize("corner", Corner)
def test_what_is_dealt_with_as_it_should_be(corner: Corner) -> None:
    assert not broken(dealt(corner))


@pytest.mark.parametrize("corner", Corner)
def test_every_corner_has_one_answer(corner: Corner) -> None:
    assert broken(replace(dealt(corner), said="UNAVAILABLE"))


@pytest.mark.parametrize("corner", [each for each in Corner if each not in CHANGES])
def test_what_is_refused_or_was_done_before_changes_nothing(corner: Corner) -> None:
    assert broken(replace(dealt(corner), after=AFTER))


@pytest.mark.parametrize("corner", sorted(CHANGES))
def test_what_holds_changes_something(corner: Corner) -> None:
    assert broken(replace(dealt(corner), before=AFTER))


def test_an_answer_shows_what_is_there() -> None:
    assert broken(replace(dealt(Corner.AGAIN), shown="t SCHEDULED revision 3"))


def test_a_change_is_the_one_that_was_asked_for() -> None:
    assert broken(replace(dealt(Corner.CHANGE), wanted="revision 3"))
