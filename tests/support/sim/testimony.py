"""What a simulated run tells its judge: the records of the run and nothing of its inside."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from tests.support.checker.history import History, Line
from tests.support.checker.records import (
    Call,
    End,
    Final,
    Followed,
    Kind,
    Problem,
    Seen,
    SeenBackfill,
    SeenPlan,
    Spent,
    Start,
    Terms,
    Try,
)
from tests.support.checker.records import Op as Told
from tests.support.checker.register import EXPIRED
from tests.support.checker.words import Glance
from tests.support.sim.clients import NOTED_US
from tests.support.sim.handlers import WORK
from tests.support.sim.history import History as Run
from tests.support.sim.history import Op
from tests.support.sim.profile import SLOTS, Profile
from tests.support.virtual_loop import known_since_start_us, since_start_us
from timeball_server.core.journal import EventKind
from timeball_server.core.model import PublicState, ScheduleView, TaskView

CALM_LATENESS_US = 200_000
"""What planned moves may cost; nothing else goes wrong in a calm run."""
BROKEN_STREAM_US = 4_500_000
"""An executor opens a broken stream again within three seconds, and nothing is ever silent."""
RECOVER_US = 30_000_000
FORGET_US = 5_500_000
"""So long a coordinator shows an ended task that another one has deleted."""
LONGEST_FORGET_US = 30_000_000
"""The same, if it freezes between reading the task and remembering it."""
SLOT_CHANGES_US = 5_000
"""From the end of a run to the start of the next one in its slot, at most."""
KEY_CHANGES_US = 20_000
"""The same for a place of a key: its owner hears of the end and claims the next one first."""
OVERLAP_CHANGES_US = 60_000
"""The same for a schedule whose next run waits for one to end: its tick is written first."""
MOST_ATTEMPTS = 9
"""Of a task that is made to be held back."""
TAKEN_OVER = (EventKind.ADOPTED, EventKind.LOOKED)
"""Events by which an owner makes what it has found its own: they change nothing (rule R17)."""
Attempt = tuple[str, int]
"""A task, and the number of its attempt."""


def told_by(run: Run, profile: Profile) -> History:
    """The records of a run, for the judge."""
    return History(_lines(run, profile))


def _lines(run: Run, profile: Profile) -> Iterator[Line]:
    yield Terms(
        calm=profile.calm,
        still=profile.is_still and not (run.planned["move"] or run.planned["drain"]),
        lists=profile.calm,
        unbound=not run.planned["move"],
        answer_us=_answer_us(profile),
        early_us=profile.skew_ms * 1_000,
        late_us=CALM_LATENESS_US,
        healed_us=run.healed_us,
        recover_us=RECOVER_US,
        read_us=run.read_us,
        forget_us=FORGET_US if profile.calm else LONGEST_FORGET_US,
        kept_us=round(profile.retention_s * 1e6) or None,
        catch_up_per_s=profile.catch_up_per_s,
        part_tasks=profile.part_rows,
    )
    waited = _waited(run) | _made_to_wait(run)
    yield from (_told(op, waited) for op in run.ops)
    for records in (run.starts, run.ends, run.left, run.sent, run.claims, run.struck, run.rates):
        yield from records
    yield from run.verdicts
    yield from run.editions
    yield from run.away
    yield from run.residues
    yield from run.forecasts
    yield from run.listed
    yield from run.dealt
    yield from run.stored
    for more in (run.natures.values(), run.serving, run.asked, run.foreign_rows.values()):
        yield from more
    yield from run.said
    yield from run.found
    yield from _glances(run)
    for task_id, op in run.final.items():
        ok = op.kind is Kind.OK and isinstance(op.view, TaskView)
        yield Final(task=task_id, seen=_seen(op, waited) if ok else None, reason=op.reason)
    for task_id, told in run.followed.items():
        yield Followed(task=task_id, told=told)
    for what, times in run.spent.items():
        yield Spent(what=what, times=times)
    for text in run.problems:
        who, _, what = text.partition(": ")
        yield Problem(who=who, what=what)


def _answer_us(profile: Profile) -> int | None:
    """Within what each request is answered; where streams break, before a coordinator gives up."""
    if not profile.answers_soon:
        return None
    return BROKEN_STREAM_US if profile.snaps else NOTED_US


def _told(op: Op, waited: frozenset[Attempt]) -> Told:
    return Told(
        client=op.client,
        call=op.call,
        inv_us=op.inv_us,
        ret_us=op.ret_us,
        kind=Kind.INFO if op.call is Call.CREATE and op.reason == EXPIRED else op.kind,
        task=op.task_id,
        request=op.request_id.hex(),
        reason=op.reason,
        wish=op.wish,
        rhythm=op.rhythm,
        seen=_seen(op, waited) if op.kind is Kind.OK else None,
        version=op.version,
        etag=op.etag,
        due_us=known_since_start_us(op.due_ms),
        delay_us=op.delay_ms * 1_000,
        foreign=op.is_foreign,
        plan=_plan(op.view) if isinstance(op.view, ScheduleView) else None,
        backfill=op.backfill,
        first_us=since_start_us(op.first_ms) if op.backfill else 0,
        last_us=since_start_us(op.last_ms) if op.backfill else 0,
        requests=max(1, op.tries),
        stalls=() if op.call is Call.WAIT else tuple(op.stalls),
    )


def _plan(view: ScheduleView) -> SeenPlan:
    """A schedule as the answer shows it."""
    return SeenPlan(
        next_us=known_since_start_us(view.next_ms),
        ended=view.ended,
        backfills=tuple(
            SeenBackfill(name=each.backfill_id, state=str(each.state), launched=each.launched)
            for each in view.backfills
        ),
        etag=view.revision,
        number=view.version,
        paused=view.paused is not None,
        runs=view.runs,
        run=str(view.run or ""),
    )


def _made_to_wait(run: Run) -> frozenset[Attempt]:
    """Attempts of tasks that are made to be held back; why is asked about each of them."""
    tasks = [*run.natures, *run.foreign_rows]
    return frozenset((task, number) for task in tasks for number in range(1, MOST_ATTEMPTS + 1))


def _waited(run: Run) -> frozenset[Attempt]:
    """Attempts that began as a place fell free, of a full executor's slots or of a full key's.

    The work of others made them late. How late those of edited schedules may be is judged apart.
    """
    key_of = {op.wish.payload: op.wish for op in run.ops if op.wish is not None and op.wish.key}
    waits = {
        op.wish.payload
        for op in run.ops
        if op.wish is not None and op.rhythm is not None and op.rhythm.overlap.startswith("BUFFER")
    }
    patient = {op.wish.payload for op in run.ops if op.wish is not None and op.wish.waits}
    edited = {
        op.wish.payload
        for op in run.ops
        if op.wish is not None and op.rhythm is not None and op.rhythm.edited
    }
    found = {(each.task, each.attempt) for each in run.starts if each.payload in patient | edited}
    payload_of = {start.task: start.payload for start in run.starts}
    events: list[Start | End] = [*run.ends, *run.starts]
    running: Counter[str] = Counter()
    freed_us: dict[str, int] = {}
    for each in sorted(events, key=lambda each: each.at_us):
        rooms = {each.process: (SLOTS, SLOT_CHANGES_US)}
        payload = payload_of.get(each.task, "")
        if payload in waits:
            rooms[payload] = (1, OVERLAP_CHANGES_US)
        wish = key_of.get(payload)
        if wish is not None:
            rooms[wish.key] = (wish.most, KEY_CHANGES_US)
        for room, (places, changes_us) in rooms.items():
            if isinstance(each, End):
                if running[room] >= places:
                    freed_us[room] = each.at_us
                running[room] -= 1
                continue
            running[room] += 1
            if each.at_us - freed_us.get(room, -changes_us) < changes_us:
                found.add((each.task, each.attempt))
    return frozenset(found)


def _seen(op: Op, waited: frozenset[Attempt]) -> Seen | None:
    """A task as the answer shows it; an answer without a journal has no place."""
    view = op.view
    if not isinstance(view, TaskView):
        return None
    accepted = [event for event in view.journal if event.kind]
    changes = [event for event in accepted if event.kind not in TAKEN_OVER]
    return Seen(
        state=str(view.state),
        ended=view.terminal,
        cause=str(view.cause or ""),
        place=(accepted[-1].epoch, accepted[-1].seq) if accepted else (0, 0),
        revision=view.revision,
        changed_us=since_start_us(changes[-1].at_ms) if changes else None,
        result=_result(view),
        doubts=tuple(_attempt_in(text) for text in view.unaccounted),
        tries=tuple(
            Try(
                number=each.number,
                outcome=str(each.outcome),
                late_us=None
                if each.lateness_ms is None or (str(view.task_id), each.number) in waited
                else each.lateness_ms * 1_000,
                kind="" if each.failure is None else each.failure.kind,
                priority=each.priority,
            )
            for each in view.attempts
        ),
    )


def _glances(run: Run) -> Iterator[Glance]:
    """Answers that showed a task while its handler, which speaks, was at work."""
    speaking = {each.task for each in run.found}
    for op in run.ops:
        view = op.view
        if op.task_id not in speaking or op.kind is not Kind.OK or op.call is not Call.GET:
            continue
        if not isinstance(view, TaskView) or view.state is not PublicState.RUNNING:
            continue
        left = None if view.progress is None else view.progress.checkpoint
        yield Glance(
            task=op.task_id,
            attempt=view.attempt,
            inv_us=op.inv_us,
            ret_us=op.ret_us,
            fraction=None if view.progress is None else view.progress.fraction,
            mark="" if left is None else json.loads(left.data),
        )


def _result(view: TaskView) -> str | None:
    """What it says, of handlers that the judge knows."""
    known = view.spec.handler == WORK and view.result is not None
    return view.result.data.decode() if known and view.result is not None else None


def _attempt_in(text: str) -> int:
    """The number in "attempt 1 on executor-2"."""
    return int(text.split()[1])
