"""The judge of rates, caps and shares: each is seen broken by a history of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from tests.support.checker.bounds import Rate
from tests.support.checker.history import History, Line
from tests.support.checker.judge import judge
from tests.support.checker.rates import limits
from tests.support.checker.records import (
    Call,
    Claim,
    End,
    Fault,
    Kind,
    Mode,
    Op,
    Sent,
    Start,
    Terms,
    Wish,
)
from tests.support.checker.verdicts import Promise

S = 1_000_000
CALM = Terms(calm=True, late_us=200_000, read_us=99 * S)
ROUGH = Terms(calm=False, healed_us=50 * S, read_us=99 * S)
KEY = Rate(name="k", at_us=0, starts=1, burst=2, of_key=True)
HANDLER = Rate(name="k", at_us=0, starts=2, burst=1)
TWO_OWNERS = [Claim(shard=shard, epoch=1, owner=f"n{shard}") for shard in (0, 1)]


def asked(number: int, **facts: object) -> Op:
    wish = Wish(mode=Mode.AT_LEAST_ONCE, payload=f"p{number}", **facts)  # type: ignore[arg-type]
    at_us = S + number
    return Op(
        client="c",
        call=Call.CREATE,
        task=f"t{number}",
        inv_us=at_us,
        ret_us=at_us + 1,
        kind=Kind.OK,
        wish=wish,
    )


def ran(number: int, at_us: int, for_us: int = 1_000, process: str = "x") -> list[Line]:
    known = {"task": f"t{number}", "attempt": 1, "process": process}
    start = Start(epoch=1, at_us=at_us, payload=f"p{number}", **known)  # type: ignore[arg-type]
    return [start, End(at_us=at_us + for_us, ok=True, **known)]  # type: ignore[arg-type]


def rated(starts_us: Sequence[int], ranks: Sequence[int] = ()) -> list[Line]:
    made = [
        asked(number, rates=("k",), rank=ranks[number] if ranks else 0)
        for number in range(len(starts_us))
    ]
    return [*made, *(line for each in enumerate(starts_us) for line in ran(*each))]


def crowd(tenants: Iterable[str]) -> list[Line]:
    lines: list[Line] = []
    for number, tenant in enumerate(tenants):
        weight = {"one": 1, "three": 3}[tenant]
        lines.append(asked(number, crowd="all", tenant=tenant, weight=weight))
        lines += [Sent(task=f"t{number}", shard=0, epoch=1, owner="n0")]
        lines += ran(number, 2 * S + number)
    return lines


def capped(spans: Iterable[tuple[int, int, str]], places: int = 2) -> list[Line]:
    lines: list[Line] = []
    for number, (at_us, for_us, process) in enumerate(spans):
        lines.append(asked(number, cap="h", places=places))
        lines += ran(number, at_us, for_us, process)
    return lines


EVERY_SECOND = [2 * S, 2 * S + 1, *(S * at for at in range(3, 12))]
FASTER = Rate(name="k", at_us=4 * S, starts=4, burst=2, of_key=True)
FREE = Rate(name="k", at_us=4 * S, starts=0, of_key=True)
BUSY = [(at * S, S, process) for at in (2, 2, 3, 3, 4, 4) for process in ("x", "y")]
RIGHT: dict[str, list[Line]] = {
    "a burst, and then the rate": [CALM, KEY, *rated(EVERY_SECOND)],
    "urgent ones first": [CALM, KEY, *rated([2 * S, 3 * S, 4 * S], [5, 5, 4])],
    "faster after a change": [
        CALM,
        KEY,
        FASTER,
        *rated([3 * S, 4 * S, *(7 * S + 250_000 * each for each in range(12))]),
    ],
    "no limit after a change": [CALM, KEY, FREE, *rated([3 * S, 4 * S, *([7 * S] * 12)])],
    "two owners": [
        CALM,
        HANDLER,
        *TWO_OWNERS,
        *(
            Sent(task=f"t{each}", shard=each % 2, epoch=1, owner=f"n{each % 2}")
            for each in range(8)
        ),
        *rated([(2 + each // 2) * S for each in range(8)]),
    ],
    "a cap on each of two": [CALM, *capped(BUSY)],
    "by their weights": [CALM, *crowd(["three", "three", "one", "three"] * 20)],
    "late, because something is broken": [ROUGH, KEY, *rated([9 * S, 9 * S, 9 * S, 9 * S])],
}
WRONG: dict[str, list[Line]] = {
    "more than a burst": [CALM, KEY, *rated([2 * S, 2 * S, 2 * S, 3 * S])],
    "more than the rate": [CALM, KEY, *rated([S * 2 + 900_000 * each for each in range(40)])],
    "too many since the beginning": [ROUGH, KEY, *rated([S * 2, *([2 * S + 1] * 4)])],
    "slower than the rate": [CALM, KEY, *rated([2 * S * each for each in range(1, 9)])],
    "slower than after a change": [
        CALM,
        KEY,
        FASTER,
        *rated([3 * S, *(S * each for each in range(4, 24))]),
    ],
    "an owner that does not use its part": [
        CALM,
        HANDLER,
        *TWO_OWNERS,
        *(
            Sent(task=f"t{each}", shard=each % 2, epoch=1, owner=f"n{each % 2}")
            for each in range(8)
        ),
        *rated([*((2 + each // 2) * S for each in range(7)), 19 * S]),
    ],
    "urgent ones last": [CALM, KEY, *rated([2 * S, 3 * S, 4 * S], [4, 5, 5])],
    "beyond a cap": [CALM, *capped([(2 * S, S, "x"), (2 * S, S, "x"), (2 * S + 9, S, "x")])],
    "beyond a cap, because something is broken": [
        ROUGH,
        *capped([(2 * S, S, "x"), (2 * S, S, "x"), (2 * S + 9, S, "x")]),
    ],
    "below a cap": [CALM, *capped([(at * S, S, "x") for at in range(2, 9)])],
    "all alike": [CALM, *crowd(["three", "one"] * 40)],
    "the wrong way round": [CALM, *crowd(["one", "three", "one", "one"] * 20)],
}


@pytest.mark.parametrize("name", RIGHT)
def test_kept_limits_are_found_kept(name: str) -> None:
    found = [str(each) for each in judge(History(RIGHT[name]))]
    assert not [each for each in found if each.startswith(Promise.LIMITS)]


@pytest.mark.parametrize("name", WRONG)
def test_broken_limits_are_found_broken(name: str) -> None:
    assert {each.promise for each in limits(History(WRONG[name]))} == {Promise.LIMITS}


def test_place_of_a_dead_process_is_free() -> None:
    killed = Fault(name="crash", scope="x", at_us=3 * S, until_us=3 * S, gives_up=True, kills=True)
    work = capped([(2 * S, 9 * S, "x"), (2 * S, 9 * S, "x"), (4 * S, S, "x")])
    assert not list(limits(History([ROUGH, killed, *work])))


def test_new_owner_of_a_part_of_a_rate_has_a_burst_of_its_own() -> None:
    starts = rated([2 * S] * 8)
    assert list(limits(History([ROUGH, HANDLER, *TWO_OWNERS, *starts])))
    again = Claim(shard=0, epoch=2, owner="n1")
    assert not list(limits(History([ROUGH, HANDLER, *TWO_OWNERS, again, *starts])))
