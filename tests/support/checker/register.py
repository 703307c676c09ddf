"""Is what clients were told of one task possible at all, in some order that time allows (I8)?

A task is a small register: absent, then open, then ended in one way for ever, or at last deleted;
or void, so that it never exists. Every operation takes effect at one instant between its call and
its answer; one without an answer may take effect at any time after its call, or never. The
service's own doing, that a task ends, is an operation without an answer, too.

The search is that of Wing and Gong, with a memory of what was tried. One task at a time, because
what is possible for each is possible for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from tests.support.checker.base import NEVER_US
from tests.support.checker.records import Call, Kind, Op

ABSENT: Final = "absent"
OPEN: Final = "open"
VOID: Final = "void"
DELETED: Final = "deleted"
ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "TERMINATED"})
HIDDEN: Final = frozenset({ABSENT, VOID, DELETED})
NOT_FOUND: Final = frozenset({"TASK_NOT_FOUND", "NOT_FOUND"})
EXPIRED: Final = "TASK_EXPIRED"
"""Says nothing of what the register held: its time is judged apart."""
TOO_LATE: Final = "TOO_LATE"
STALE: Final = "STALE_ETAG"
NOT_ENDED: Final = "FAILED_PRECONDITION"
ASKED_TO_END: Final = frozenset({Call.CANCEL, Call.TERMINATE})
EXISTS: Final = "exists"
"""No state but a question: the register is neither absent nor void nor deleted."""


class Step(NamedTuple):
    """What may happen to the register: from these states (None = any) to that one (None = same).

    `must` is whether it has happened at all.
    """

    inv_us: int
    ret_us: int
    before: frozenset[str] | None
    after: str | None
    must: bool


def steps_of(ops: Sequence[Op], ends: Sequence[tuple[str, int]]) -> list[Step]:
    """All that may have happened to one task.

    Args:
        ops: of this task.
        ends: ways in which it may have ended by itself, and not before when.
    """
    open_ = frozenset({OPEN})
    steps = [Step(at_us, NEVER_US, open_, state, must=False) for state, at_us in ends]
    for op in ops:
        steps += _steps(op)
    return sorted(steps, key=lambda step: (step.inv_us, step.ret_us))


def _steps(op: Op) -> list[Step]:
    if op.call is Call.CREATE:
        return _creation(op)
    if op.call in ASKED_TO_END:
        return _cancellation(op)
    if op.call is Call.DELETE and op.kind is not Kind.FAIL:
        return _deletion(op)
    if op.kind is Kind.FAIL and op.reason in NOT_FOUND:
        return [Step(op.inv_us, op.ret_us, HIDDEN, None, must=True)]
    if op.call in (Call.UPDATE, Call.RESCHEDULE, Call.DELETE):
        return _change(op)
    if op.kind is not Kind.OK or op.seen is None:
        return []
    state = op.seen.state if op.seen.ended else OPEN
    return [Step(op.inv_us, op.ret_us, frozenset({state}), None, must=True)]


def _change(op: Op) -> list[Step]:
    """A change took effect while the task was open; what is answered then is how it stands."""
    if op.kind is Kind.OK and op.seen is not None:
        state = op.seen.state if op.seen.ended else OPEN
        held = Step(op.inv_us, op.ret_us, frozenset({OPEN}), None, must=True)
        return [held, Step(op.inv_us, op.ret_us, frozenset({state}), None, must=True)]
    if op.kind is Kind.FAIL and op.reason in (TOO_LATE, STALE):
        return [Step(op.inv_us, op.ret_us, None, EXISTS, must=True)]
    if op.kind is Kind.FAIL and op.reason == NOT_ENDED:
        return [Step(op.inv_us, op.ret_us, frozenset({OPEN}), None, must=True)]
    return []


def _deletion(op: Op) -> list[Step]:
    hide = Step(op.inv_us, op.ret_us, ENDED, DELETED, must=False)
    if op.kind is Kind.OK:
        return [hide, Step(op.inv_us, op.ret_us, frozenset({DELETED}), None, must=True)]
    return [hide._replace(ret_us=NEVER_US)]


def _creation(op: Op) -> list[Step]:
    if op.kind is Kind.OK and op.seen is not None and op.seen.ended:
        return [Step(op.inv_us, op.ret_us, frozenset({op.seen.state}), None, must=True), _make(op)]
    if op.kind is Kind.OK:
        return [_make(op), Step(op.inv_us, op.ret_us, None, EXISTS, must=True)]
    return [_make(op)] if op.kind is Kind.INFO else []


def _make(op: Op) -> Step:
    return Step(op.inv_us, op.ret_us, frozenset({ABSENT}), OPEN, must=False)


def _cancellation(op: Op) -> list[Step]:
    if op.kind is Kind.OK and op.seen is not None:
        end = op.seen.state
        change = Step(op.inv_us, op.ret_us, frozenset({OPEN}), end, must=False)
        return [change, Step(op.inv_us, op.ret_us, frozenset({end}), None, must=True)]
    if op.kind is Kind.INFO:
        end = "CANCELLED" if op.call is Call.CANCEL else "TERMINATED"
        return [
            Step(op.inv_us, NEVER_US, frozenset({OPEN}), end, must=False),
            Step(op.inv_us, NEVER_US, frozenset({ABSENT}), VOID, must=False),
        ]
    if op.reason in NOT_FOUND:
        change = Step(op.inv_us, op.ret_us, frozenset({ABSENT}), VOID, must=False)
        gone = frozenset({VOID, DELETED})
        return [change, Step(op.inv_us, op.ret_us, gone, None, must=True)]
    if op.reason == TOO_LATE:
        return [Step(op.inv_us, op.ret_us, None, EXISTS, must=True)]
    return []


def is_possible(steps: Sequence[Step]) -> bool:
    """Whether some order of these steps, sorted by their beginnings, explains every answer."""
    return _in_turn(steps) or _search(steps)


def _in_turn(steps: Sequence[Step]) -> bool:
    """The usual case: everything that may happen does, in the order of the beginnings."""
    state = ABSENT
    for step in steps:
        following = _after(state, step)
        if following is None and step.must:
            return False
        state = following or state
    return True


def _search(steps: Sequence[Step]) -> bool:
    all_must = sum(1 << number for number, step in enumerate(steps) if step.must)
    tried: set[tuple[int, str]] = set()
    stack = [(0, ABSENT)]
    while stack:
        done, state = stack.pop()
        if done & all_must == all_must:
            return True
        if (done, state) in tried:
            continue
        tried.add((done, state))
        stack += _next(steps, done, state)
    return False


def _next(steps: Sequence[Step], done: int, state: str) -> list[tuple[int, str]]:
    """What may happen next: nothing that begins after something unhappened had to be over."""
    open_ = [(n, step) for n, step in enumerate(steps) if not done >> n & 1]
    until_us = min((step.ret_us for _, step in open_ if step.must), default=NEVER_US)
    found = []
    for number, step in open_:
        if step.inv_us > until_us:
            break
        if not step.must and _is_over(steps, done, step):
            continue
        following = _after(state, step)
        if following is not None:
            found.append((done | 1 << number, following))
    return found


def _is_over(steps: Sequence[Step], done: int, step: Step) -> bool:
    """Whether something that began after this one had to be over has happened already."""
    if step.ret_us == NEVER_US:
        return False
    return any(
        done >> n & 1 and other.inv_us > step.ret_us for n, other in enumerate(steps) if other.must
    )


def _after(state: str, step: Step) -> str | None:
    """The state after a step, None if it cannot happen now."""
    if step.after == EXISTS:
        return None if state in HIDDEN else state
    if step.before is not None and state not in step.before:
        return None
    return state if step.after is None else step.after
