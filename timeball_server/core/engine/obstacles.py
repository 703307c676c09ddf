"""Why no executor takes a task: who serves it, who carries its labels, who is there, who has room.

Only looks. Must never change a queue, a share or an executor: it tells what dispatching will find.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from timeball_server.core.engine.choice import (
    SPILL_UP_MS,
    preferred_strength,
    serves,
    without_left_out,
)
from timeball_server.core.engine.limit_reasons import limit_reasons
from timeball_server.core.engine.ready import Lane, lane_of, start_limit_ms
from timeball_server.core.engine.state import Engine, ExecutorState, TaskState
from timeball_server.core.explanation import BlockingCause, Details, Reason
from timeball_server.core.journal_text import instant_text
from timeball_server.core.model import TaskSpec
from timeball_server.core.priority import NINE_ONE_IN, RAISED_ONE_IN, effective_priority

LOOKED_AT_MAX: Final = 10_000
"""Waiting tasks that are compared with one, so that a backlog does not make asking dear."""
_NAMED_MAX: Final = 5
_SHARES: Final[Mapping[Lane, tuple[str, int]]] = MappingProxyType(
    {
        Lane.RAISED: ("raised retries", RAISED_ONE_IN),
        Lane.NINE: ("tasks of priority 9", NINE_ONE_IN),
    }
)
"""Who has a share, and of how many starts in a row he gets one."""


def executor_reasons(engine: Engine, task: TaskState) -> Iterator[Reason]:
    """What keeps a task from executors, or would if it were due now; nothing = one may have it."""
    spec = task.spec
    serving = [each for each in engine.executors.values() if spec.handler in each.handlers]
    fitting = [each for each in serving if each.labels.issuperset(spec.selector)]
    reachable = [each for each in fitting if serves(each, spec)]
    if not serving:
        yield _no_handler(engine, task)
    elif not fitting:
        yield _no_label(engine, task, serving)
    elif not reachable:
        yield _unreachable(engine, task, fitting)
    elif task.waits:
        yield from _queued(engine, task, reachable)


def _no_handler(engine: Engine, task: TaskState) -> Reason:
    handler = task.spec.handler
    return Reason(
        cause=BlockingCause.NO_HANDLER,
        sentence=f"no executor serves {handler}",
        since_ms=_since_ms(engine, task),
        next_check="one that does joins",
        details=(("handler", handler), *_start_by(task)),
    )


def _no_label(engine: Engine, task: TaskState, serving: Sequence[ExecutorState]) -> Reason:
    """Labels that nobody carries; if each is carried by somebody, all of them: nobody has all."""
    spec = task.spec
    carried = frozenset[tuple[str, str]]().union(*(each.labels for each in serving))
    missing = [pair for pair in spec.selector if pair not in carried] or list(spec.selector)
    words = ", ".join(f"{key}={value}" for key, value in missing)
    plural = "s" if len(missing) > 1 else ""
    return Reason(
        cause=BlockingCause.NO_LABEL,
        sentence=f"no executor with label{plural} {words} serves {spec.handler}",
        since_ms=_since_ms(engine, task),
        next_check="one joins",
        details=(
            *(("handler", spec.handler), ("label", words), ("serving", str(len(serving)))),
            *_start_by(task),
        ),
    )


def _unreachable(engine: Engine, task: TaskState, fitting: Sequence[ExecutorState]) -> Reason:
    handler = task.spec.handler
    states = ", ".join(f"{each.facts.node} {_ailment(each)}" for each in fitting[:_NAMED_MAX])
    more = f" and {len(fitting) - _NAMED_MAX} more" if len(fitting) > _NAMED_MAX else ""
    return Reason(
        cause=BlockingCause.EXECUTORS_UNREACHABLE,
        sentence=f"no executor that serves {handler} takes work: {states}{more}",
        since_ms=_since_ms(engine, task),
        next_check="one of them can be reached again, or another one joins",
        details=(
            *(("handler", handler), ("executors", _names(fitting))),
            *_start_by(task),
        ),
    )


def _since_ms(engine: Engine, task: TaskState) -> int | None:
    """Since it was due; what is not due yet is not held back yet."""
    return task.due_ms if task.due_ms <= engine.now_ms else None


def _ailment(executor: ExecutorState) -> str:
    if executor.draining:
        return "is draining"
    if not executor.stream_open:
        return "has no open stream to this scheduler node"
    return "has not answered what it runs yet"


def _queued(engine: Engine, task: TaskState, reachable: list[ExecutorState]) -> Iterator[Reason]:
    """It waits although executors are there: for a limit, for its lane's share, or for room."""
    handler, usable = task.spec.handler, without_left_out(reachable)
    limits = list(limit_reasons(engine, task))
    yield from limits
    if limits and any(each.has_room(handler) for each in usable):
        return
    spared = [each for each in reachable if each not in usable and each.has_room(handler)]
    lets_go = engine.ready.must_let_others_go(task)
    ahead = _count_ahead(engine, task, lets_go=lets_go)
    if spared:
        yield _left_out(task, spared)
    if lets_go:
        yield _over_share(task, ahead)
    has_slots = any(each.free > 0 for each in usable)
    if has_slots and not any(each.has_room(handler) for each in usable):
        yield _capped(task, usable, ahead)
    else:
        yield _full(engine, task, usable, ahead)


def _left_out(task: TaskState, spared: Sequence[ExecutorState]) -> Reason:
    """Who has room is given no work for its health; who is well has none."""
    worst = spared[0]
    backs = [each.health.left_out_until_ms for each in spared]
    return Reason(
        cause=BlockingCause.EXECUTORS_LEFT_OUT,
        sentence=f"{worst.facts.node} has room and is left out for now: {worst.health.reason}",
        since_ms=task.due_ms,
        next_check_ms=min((back for back in backs if back is not None), default=None),
        next_check="it is let back",
        details=(("handler", task.spec.handler), ("executors", _names(spared))),
    )


def _capped(task: TaskState, usable: Sequence[ExecutorState], ahead: str) -> Reason:
    """There are slots, but no more for this handler."""
    handler = task.spec.handler
    caps = sum(each.caps.get(handler, 0) for each in usable)
    return Reason(
        cause=BlockingCause.HANDLER_CAP,
        sentence=(
            f"executors have slots, but run as much of {handler} as its caps allow, {caps} at "
            f"once; tasks that go before it: {ahead}"
        ),
        since_ms=task.due_ms,
        next_check=f"an attempt of {handler} ends",
        details=(
            *(("handler", handler), ("executors", _names(usable)), ("cap", str(caps))),
            *(("ahead", ahead), *_start_by(task)),
        ),
    )


def _over_share(task: TaskState, ahead: str) -> Reason:
    lane = lane_of(task)
    who, one_in = _SHARES[lane]
    return Reason(
        cause=BlockingCause.LANE_BUDGET,
        sentence=(
            f"{who} have had their share, one start in {one_in} while other work waits, and let "
            f"others go; tasks that go before it: {ahead}"
        ),
        since_ms=task.due_ms,
        next_check="others have started",
        details=(
            *(("lane", lane.name), ("one_in", str(one_in))),
            *(("priority", str(task.spec.priority)), ("ahead", ahead)),
        ),
    )


def _full(
    engine: Engine, task: TaskState, reachable: Sequence[ExecutorState], ahead: str
) -> Reason:
    """Everybody is busy, or only stronger ones have room and its turn to use them comes soon."""
    spec, urgency = task.spec, _urgency(engine, task)
    own = preferred_strength(reachable, urgency)
    spill_ms = task.due_ms + SPILL_UP_MS
    has_room = any(each.has_room(spec.handler) for each in reachable)
    for_tier = has_room and spill_ms > engine.now_ms
    who = f"executors of strength {own} that serve" if for_tier else "all executors that serve"
    return Reason(
        cause=BlockingCause.EXECUTORS_FULL,
        sentence=f"{who} {spec.handler} are busy; tasks that go before it: {ahead}",
        since_ms=task.due_ms,
        next_check_ms=spill_ms if for_tier else None,
        next_check="it may use a stronger one" if for_tier else "one of them has room",
        details=(
            *(("handler", spec.handler), ("executors", _names(reachable))),
            ("slots", str(sum(each.facts.slots for each in reachable))),
            *(("priority", str(urgency)), ("strength", str(own)), ("ahead", ahead)),
            *_start_by(task),
        ),
    )


def _count_ahead(engine: Engine, task: TaskState, *, lets_go: bool) -> str:
    """How many waiting tasks go before it; "at least" that many if there are very many."""
    mine, lane = (-_urgency(engine, task), task.due_ms), lane_of(task)
    ahead = 0
    for number, other in enumerate(engine.ready.everybody()):
        if number == LOOKED_AT_MAX:
            return f"at least {ahead}"
        before = (-_urgency(engine, other), other.due_ms) < mine
        if before or (lets_go and lane_of(other) is not lane):
            ahead += other is not task and _may_share(engine, task.spec, other.spec)
    return str(ahead)


def _urgency(engine: Engine, task: TaskState) -> int:
    """The priority in force now."""
    waited_ms = engine.now_ms - task.due_ms
    return effective_priority(task.spec.priority, task.failed_attempts, waited_ms)


def _may_share(engine: Engine, spec: TaskSpec, other: TaskSpec) -> bool:
    """Whether some executor may run both: only then does one go before the other."""
    if (spec.handler, spec.selector) == (other.handler, other.selector):
        return True
    return any(serves(each, spec) and serves(each, other) for each in engine.executors.values())


def _names(executors: Sequence[ExecutorState]) -> str:
    names = [str(each.facts.node) for each in executors[:_NAMED_MAX]]
    return ", ".join(names if len(executors) <= _NAMED_MAX else [*names, "..."])


def _start_by(task: TaskState) -> Details:
    """When it is given up if nobody has taken it."""
    limit_ms = start_limit_ms(task)
    return () if limit_ms is None else (("start_by", instant_text(limit_ms)),)
