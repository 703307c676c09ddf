"""The judge of long outages can say no."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.chaos.goodput import Book, held, told

RATE, FROM_S, UNTIL_S, END_S = 10, 30, 90, 150


def played(*, well_at_s: int = UNTIL_S, tries: float = 1.0) -> dict[str, Any]:
    """What is told of an outage after which all is answered from some second on."""
    book = Book()
    seen = 0.0
    for second in range(END_S):
        down = FROM_S <= second < well_at_s
        book.asked[second] = RATE
        book.answered[second] = 0 if down else RATE
        book.ids |= set() if down else {f"{second}-{number}" for number in range(RATE)}
        seen += RATE * (tries if down else 1.0)
        book.offered[second] = seen
    return told(book, RATE, FROM_S, UNTIL_S, 0)


def test_an_outage_that_is_over_when_it_is_over_is_held() -> None:
    figures = played(well_at_s=UNTIL_S + 5, tries=1.2)
    assert held(figures, 30)
    assert figures["well_again_after_s"] == 5
    assert figures["answered_in_outage"] == 0
    assert 1.1 < figures["offered"] < 1.2


@pytest.mark.parametrize(
    "figures",
    [
        played(well_at_s=UNTIL_S + 35),
        played(well_at_s=END_S),
        played(tries=2.0),
        {**played(), "started_again": 1},
    ],
    ids=["slow", "never", "storm", "doubled"],
)
def test_anything_else_is_not(figures: dict[str, Any]) -> None:
    assert not held(figures, 30)
