"""The verdict on a history: every broken promise, and what the run happened to show.

The same for simulated and for real clusters. Linear in the records but for tasks that are asked
about very often at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.checker.base import NEVER_US
from tests.support.checker.caught_up import in_turn
from tests.support.checker.cluster import answers, isolation, leftovers, owners, requests, watchers
from tests.support.checker.costs import costs, shares
from tests.support.checker.dealings import dealings
from tests.support.checker.edited_runs import wishes_of
from tests.support.checker.edits import Edited, edited
from tests.support.checker.explained import explained, held_back
from tests.support.checker.forecasts import forecasts
from tests.support.checker.history import History
from tests.support.checker.keys import keys
from tests.support.checker.lists import lists
from tests.support.checker.orders import orders
from tests.support.checker.progress import progress
from tests.support.checker.rates import limits
from tests.support.checker.records import OF_SCHEDULES, Call, Kind, Terms
from tests.support.checker.retrying import retries
from tests.support.checker.schedules import LAUNCHED, Plan, plans
from tests.support.checker.stored import stored
from tests.support.checker.tasks import Life
from tests.support.checker.teams import teams
from tests.support.checker.timeouts import timeouts
from tests.support.checker.verdicts import Violation


def judge(history: History) -> list[Violation]:
    """All violations of one run."""
    scheduled, changed = plans(history), edited(history)
    found: list[Violation] = [*leftovers(history)]
    for each in changed:
        found += each.judge()
    lives = _lives(history, scheduled, changed)
    for life in lives.values():
        found += life.judge()
    for plan in scheduled:
        found += plan.judge()
    everything = (
        owners,
        requests,
        watchers,
        isolation,
        answers,
        keys,
        timeouts,
        retries,
        limits,
        costs,
        forecasts,
        explained,
        held_back,
        orders,
        lists,
        shares,
        progress,
        teams,
        dealings,
        stored,
        in_turn,
    )
    return [*found, *(broken for part in everything for broken in part(history))]


def _lives(history: History, scheduled: list[Plan], changed: list[Edited]) -> dict[str, Life]:
    """Everything of each task together."""
    lives = _Lives(history.terms, _struck(history))
    for op in history.ops:
        if op.task and op.call not in OF_SCHEDULES and not op.foreign:
            lives.of(op.task).ops.append(op)
    for life in lives.found.values():
        _wanted(life)
    for plan, nominal_us, task in _launched(scheduled):
        life = lives.of(task)
        life.wish, life.is_acknowledged = plan.wish_at(nominal_us), True
        life.made_us = nominal_us - history.terms.early_us
    for plan in scheduled:
        asked_us = min((op.inv_us for op in plan.filled.begun), default=NEVER_US)
        for task in {start.task: None for start in plan.filled.starts}:
            life = lives.of(task)
            life.wish, life.is_acknowledged, life.made_us = plan.wish_at(None), True, asked_us
    _changed(lives, changed)
    _ran(lives, history)
    for task, final in history.final.items():
        lives.of(task).final = final
    return lives.found


def _ran(lives: _Lives, history: History) -> None:
    """What began, and how that was over."""
    for start in history.starts:
        lives.of(start.task).starts.append(start)
    for end in history.ends:
        lives.of(end.task).ends[end.attempt, end.process] = end
    for left in history.left:
        if left.handed_back:
            lives.of(left.task).handed_back[left.attempt, left.process] = left.at_us


def _changed(lives: _Lives, changed: list[Edited]) -> None:
    """What runs of edited schedules are asked to do."""
    for each in changed:
        for task, (wish, made_us, told) in wishes_of(each).items():
            life = lives.of(task)
            life.wish, life.is_acknowledged, life.made_us = wish, True, made_us
            life.ops += told


class _Lives:
    """Tasks by id, made as they are first heard of."""

    def __init__(self, terms: Terms, struck: dict[str, int]) -> None:
        self.found: dict[str, Life] = {}
        self._terms = terms
        self._struck = struck

    def of(self, task: str) -> Life:
        life = self.found.get(task)
        if life is None:
            life = self.found[task] = Life(task, self._terms, self._struck)
        return life


def _struck(history: History) -> dict[str, int]:
    """When each process was first struck so that it may be given up."""
    found: dict[str, int] = {}
    for fault in history.faults:
        if fault.gives_up:
            found[fault.scope] = min(fault.at_us, found.get(fault.scope, NEVER_US))
    return found


def _wanted(life: Life) -> None:
    """What the creations of a task say that it should be."""
    made = [op for op in life.ops if op.call is Call.CREATE]
    if not made:
        return
    life.made_us = min(op.inv_us for op in made)
    good = next((op for op in made if op.kind is Kind.OK), None)
    life.is_acknowledged = good is not None
    life.known_us = 0 if good is None else good.ret_us
    life.wish = (good or made[0]).wish


def _launched(scheduled: list[Plan]) -> Iterator[tuple[Plan, int, str]]:
    for plan in scheduled:
        for nominal_us, verdicts in plan.decided().items():
            for verdict in verdicts:
                if verdict.verdict == LAUNCHED and verdict.task:
                    yield plan, nominal_us, verdict.task
