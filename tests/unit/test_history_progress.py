"""The judge of progress and checkpoints: each is seen broken by a history of its own."""

from __future__ import annotations

import pytest

from tests.support.checker.history import History, Line
from tests.support.checker.progress import progress
from tests.support.checker.questions import Asked, Because
from tests.support.checker.records import Claim, End, Fault, Left, Sent, Terms
from tests.support.checker.words import Found, Glance, Said

S = 1_000_000
CALM = Terms(calm=True, read_us=999 * S)
ROUGH = Terms(calm=False, read_us=999 * S)
OWNED: tuple[Line, ...] = (
    Claim(shard=0, epoch=1, owner="n1"),
    Sent(task="t", shard=0, epoch=1, owner="n1"),
)


def told(terms: Terms, *lines: Line) -> list[str]:
    """What the judge says."""
    return [each.text for each in progress(History([terms, *OWNED, *lines]))]


def found(attempt: int, at_s: float, mark: str = "", process: str = "x1", **facts: object) -> Found:
    known = {"silent_us": 2 * S, "apart_us": S} | facts
    return Found(
        task="t",
        attempt=attempt,
        process=process,
        at_us=round(at_s * S),
        mark=mark,
        **known,  # type: ignore[arg-type]
    )


def said(attempt: int, at_s: float, mark: str = "", process: str = "x1") -> Said:
    at_us = round(at_s * S)
    return Said(
        task="t", attempt=attempt, process=process, at_us=at_us, fraction=at_s / 1_000, mark=mark
    )


def ended(attempt: int, at_s: float, process: str = "x1") -> End:
    return End(task="t", attempt=attempt, process=process, at_us=round(at_s * S), ok=False)


def cut(attempt: int, at_s: float, *, handed_back: bool = False) -> Left:
    at_us = round(at_s * S)
    return Left(task="t", attempt=attempt, process="x1", at_us=at_us, handed_back=handed_back)


def lost(scope: str, at_s: float) -> Fault:
    at_us = round(at_s * S)
    return Fault(name="crash", scope=scope, at_us=at_us, until_us=at_us, gives_up=True, kills=True)


FIRST: tuple[Line, ...] = (found(1, 1), said(1, 1, "a"), said(1, 2, "b"), said(1, 2.5), ended(1, 3))


def test_whoever_goes_on_finds_the_last_mark() -> None:
    after: tuple[Line, ...] = (found(2, 4, "b"), ended(2, 5), found(3, 6, "b"), ended(3, 7))
    assert told(CALM, *FIRST, *after) == []


@pytest.mark.parametrize("mark", ["", "a", "other"])
def test_no_older_one_and_none_that_nobody_left(mark: str) -> None:
    for terms in (CALM, ROUGH):
        assert told(terms, *FIRST, found(2, 4, mark), ended(2, 5))


def test_a_mark_of_the_attempt_itself_or_of_later_is_made_up() -> None:
    lines: tuple[Line, ...] = (found(1, 1, "z"), said(1, 2, "z"), ended(1, 3))
    (text,) = told(CALM, *lines)
    assert "nobody left" in text


def test_of_a_lost_executor_what_was_passed_on_is_known() -> None:
    """The first at once, and a second and a way later the next."""
    words = [said(1, 1 + each, f"m{each}") for each in range(9)]
    gone: tuple[Line, ...] = (found(1, 1), *words, lost("x1", 9.5))
    assert told(ROUGH, *gone, found(2, 12, "m6", "x2"), ended(2, 13, "x2")) == []
    assert told(ROUGH, *gone, found(2, 12, "m5", "x2"), ended(2, 13, "x2"))


def test_of_both_lost_what_was_written_down_is_known() -> None:
    words = [said(1, 1 + each, f"m{each}") for each in range(199)]
    second = Claim(shard=0, epoch=2, owner="n2")
    both = (lost("x1", 199.5), lost("n1", 199.5))
    gone: tuple[Line, ...] = (found(1, 1), *words, *both, second)
    assert told(ROUGH, *gone, found(2, 220, "m136", "x2"), ended(2, 221, "x2")) == []
    assert told(ROUGH, *gone, found(2, 220, "m135", "x2"), ended(2, 221, "x2"))
    third = Claim(shard=0, epoch=3, owner="n1")
    assert told(ROUGH, *gone, third, found(2, 220, "", "x2"), ended(2, 221, "x2")) == []


def test_who_is_silent_is_given_up_after_its_last_word() -> None:
    words: tuple[Line, ...] = (found(1, 1), said(1, 1), said(1, 2))
    assert told(CALM, *words, cut(1, 4.5)) == []
    assert told(CALM, *words, cut(1, 3.9))
    assert told(CALM, *words, cut(1, 3.9, handed_back=True)) == []
    assert told(CALM, *words, cut(1, 5.3))
    assert told(CALM, *words)


def test_what_may_be_silent_is_never_given_up() -> None:
    words: tuple[Line, ...] = (found(1, 1, silent_us=None), said(1, 1))
    assert told(CALM, *words, ended(1, 60)) == []
    assert told(CALM, *words, cut(1, 60))


def glance(at_s: float, fraction: float | None, mark: str = "") -> Glance:
    at_us = round(at_s * S)
    return Glance(task="t", attempt=1, inv_us=at_us, ret_us=at_us + 1, fraction=fraction, mark=mark)


SPEAKS: tuple[Line, ...] = (found(1, 1), said(1, 1, "a"), said(1, 2, "b"), said(1, 3), ended(1, 5))


@pytest.mark.parametrize(
    ("shown", "good"),
    [
        (glance(1.1, None), True),
        (glance(2.5, None), False),
        (glance(2.5, 0.001, "a"), True),
        (glance(2.5, 0.002, "b"), True),
        (glance(2.5, 0.003, "b"), False),
        (glance(2.5, 0.001, "other"), False),
        (glance(3.5, 0.001, "a"), False),
        (glance(3.5, 0.002, "a"), False),
        (glance(4.5, 0.003, "b"), True),
    ],
)
def test_answers_show_the_newest_word(shown: Glance, good: bool) -> None:
    assert (told(CALM, *SPEAKS, shown) == []) is good


@pytest.mark.parametrize(
    ("at_s", "word", "next_s", "good"),
    [
        (1.1, "", 3, True),
        (2.5, "", 4, False),
        (2.5, "0.001", 3, True),
        (2.5, "0.002", 4.4, True),
        (2.5, "0.002", 4.6, False),
        (4.5, "0.003", 4.9, False),
        (4.5, "0.003", 5, True),
        (4.5, "0.003", None, False),
        (1.5, "0.009", 3, False),
    ],
)
def test_who_asks_is_told_how_far_it_is(
    at_s: float, word: str, next_s: float | None, good: bool
) -> None:
    next_us = None if next_s is None else round(next_s * S)
    details = (("attempt", "1"), *((("progress", word),) if word else ()))
    because = Because(cause="RUNNING", next_us=next_us, details=details)
    at_us = round(at_s * S)
    asked = Asked(client="c", task="t", inv_us=at_us, ret_us=at_us + 1, because=(because,))
    assert (told(CALM, *SPEAKS, asked) == []) is good
