"""Histories that are written, not drawn: the exact order of steps that a rule is there for.

Drawn faults meet these orders once in hundreds of runs, and not for long. Each script drives the
same world, the same production classes and the same judge; on a sound product it breaks nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from tests.support.checker.records import Away, Call
from tests.support.foreign_rows import foreign
from tests.support.sim.archivists import DAY_US, Range
from tests.support.sim.clients import COORDINATORS
from tests.support.sim.gate import Rows
from tests.support.sim.profile import Profile
from tests.support.sim.reporters import Plan
from tests.support.sim.speakers import Spell
from tests.support.sim.stage import Stage
from timeball_server.coordination.local import Leg
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import DueRow, EventKind, EventRow

Script = Callable[[Stage], Awaitable[None]]
BORN: Final = frozenset({EventKind.CREATED, EventKind.BORN_CLAIMED})
SWEPT_S: Final = 90.0
"""After so long every bucket of now has been read once more."""
SOUND_S: Final = 40.0
"""So long after the last fault nothing has an excuse."""
DOUBT_S: Final = 400.0
"""After so long the attempts of an executor that vanished count as over."""
MISSING: Final = 20
"""Schedules that live through an absence."""
ABSENCE_S: Final = 110.0
CATCH_UP_PER_S: Final = 5
YEARS: Final = Range(-900 * DAY_US, -30 * DAY_US)
"""Some sixty times of a schedule that fires twice a month."""


async def late_cancel(stage: Stage) -> None:
    """An end of a lost owner lands after its successor has read the task (R16)."""
    task = await stage.create(due_s=30)
    first = await stage.doubt(task, stage.client.cancel(task, tries=1))
    await stage.next_owner(task)
    await stage.sleep(3)
    stage.gate.land(first.name)
    await stage.look(task)
    await stage.until(lambda: stage.starts(task))
    await stage.sleep(3)
    await stage.look(task)


async def late_cancel_and_claim(stage: Stage) -> None:
    """The same, and a claim of the successor lands after a third owner has shown the end (R17)."""
    task = await stage.create(due_s=20)
    first = await stage.doubt(task, stage.client.cancel(task, tries=1))
    second = await stage.next_owner(task)
    stage.start(first)
    stage.gate.shut.add(second.name)
    await stage.until(
        lambda: any(_is_claim(each.rows, task) for each in stage.gate.of(second.name))
    )
    stage.crash(second)
    stage.gate.land(first.name)
    third = await stage.next_owner(task)
    await stage.sleep(2)
    await stage.look(task, COORDINATORS[:1])
    stage.gate.land(second.name)
    stage.start(second)
    await stage.sleep(1)
    stage.crash(third)
    await stage.next_owner(task)
    await stage.sleep(3)
    await stage.look(task, COORDINATORS[1:])
    stage.start(third)


def _is_claim(rows: Rows, task: TaskId) -> bool:
    events = [row for row in rows if isinstance(row, EventRow) and row.task_id == task]
    return any(row.kind is EventKind.CLAIMED for row in events)


async def two_pasts(stage: Stage) -> None:
    """Two epochs write the same number, and a third goes on from the older one of them (R5)."""
    task = await stage.create(due_s=5, fails=1, work_ms=3_000)
    await stage.until(lambda: stage.starts(task))
    first, executor = stage.owner(task), stage.process(stage.starts(task)[0].process)
    stage.gate.shut.add(first.name)
    await stage.until(lambda: stage.gate.of(first.name))
    second = stage.other(first)
    stage.gate.shut.add(second.name)
    stage.crash(first)
    stage.crash(executor)
    await stage.next_owner(task)
    stage.start(first)
    await stage.until(lambda: any(_is_retry(each.rows) for each in stage.gate.of(second.name)))
    stage.crash(second)
    stage.gate.land(first.name)
    stage.start(executor)
    await stage.next_owner(task)
    await stage.until(lambda: len(stage.starts(task)) > 1)
    await stage.sleep(0.5)
    await stage.look(task)
    stage.gate.land(second.name)
    await stage.sleep(6)
    await stage.look(task)
    stage.start(second)


def _is_retry(rows: Rows) -> bool:
    return any(isinstance(row, EventRow) and row.kind is EventKind.RETRY for row in rows)


async def late_order(stage: Stage) -> None:
    """An order of a frozen owner arrives after its successor has asked its executor (R13)."""
    task = await stage.create(due_s=8, work_ms=500)
    first = stage.owner(task)
    await stage.sleep(5)
    stage.gate.stuck.add(first.name)
    await stage.until(lambda: stage.sent(task))
    stage.world.loop.freeze(first.name)
    stage.strike("freeze", first)
    await stage.next_owner(task)
    await stage.until(lambda: stage.starts(task))
    await stage.sleep(2)
    stage.gate.deliver()
    await stage.sleep(2)
    stage.world.loop.thaw(first.name)


async def deposed(stage: Stage) -> None:
    """An owner freezes beyond its session, and when it wakes its task is due in its memory (R4)."""
    task = await stage.create(due_s=25, work_ms=500)
    first = stage.owner(task)
    await stage.sleep(2)
    stage.world.loop.freeze(first.name)
    stage.strike("freeze", first)
    await stage.next_owner(task)
    stage.world.loop.thaw(first.name)
    await stage.until(lambda: stage.starts(task))
    await stage.sleep(20)


async def late_creation(stage: Stage) -> None:
    """A creation that nobody was told of lands behind the successor's cursor (R18)."""
    known = await stage.create(due_s=0)
    await stage.sleep(2)
    first = await stage.doubt(known, stage.create_beside(known, due_s=3))
    await stage.next_owner(known)
    await stage.sleep(12)
    stage.gate.land(first.name)
    await stage.sleep(SWEPT_S)


async def overdue_at_an_old_home(stage: Stage) -> None:
    """An owner is lost before it hands out a task whose home is behind the watermark (R22)."""
    await stage.sleep(150)
    executors = [each for each in stage.world.processes.values() if each.executor is not None]
    for executor in executors:
        stage.crash(executor)
    await stage.sleep(10)
    task = await stage.create(due_s=-240, made_s=-240)
    first = stage.owner(task)
    stage.crash(first)
    await stage.next_owner(task)
    for executor in executors:
        stage.start(executor)
    await stage.sleep(20)
    stage.start(first)


async def between_entry_and_epoch(stage: Stage) -> None:
    """A new owner freezes before its epoch is stored, and thaws when another one owns (R1)."""
    task = await stage.create(due_s=30)
    first = stage.owner(task)
    second = stage.other(first)
    stage.gate.faints.add(second.name)
    stage.crash(first)
    await stage.until(lambda: stage.world.loop.is_held(second.name))
    stage.strike("freeze", second)
    stage.gate.faints.clear()
    stage.start(first)
    await stage.next_owner(task)
    stage.world.loop.thaw(second.name)
    await stage.sleep(40)


async def stale_member(stage: Stage) -> None:
    """An executor is in its next life before an owner hears of the end of the former (R11)."""
    tasks = [await stage.create(due_s=8 - n / 100, work_ms=20_000) for n in range(12)]
    due_us = stage.world.loop.now_us + 8_000_000
    await stage.until(lambda: stage.world.loop.now_us > due_us - 400_000)

    async def slow(name: str, _: Leg) -> None:
        if name == "members":
            await stage.sleep(5)

    owners = {stage.owner(task).name: stage.owner(task) for task in tasks}
    for owner in owners.values():
        owner.sessions[-1].delay = slow
    for number in (1, 2, 3):
        executor = stage.process(f"executor-{number}")
        stage.crash(executor)
        stage.start(executor)
    await stage.sleep(12)
    for owner in owners.values():
        owner.sessions[-1].delay = None
    await stage.sleep(30)


async def half_a_tick(stage: Stage) -> None:
    """Of a tick the run alone was written (S1, S3)."""
    await _tear(stage, _is_run)


async def late_tick(stage: Stage) -> None:
    """A tick lands after others have decided on its time (S4)."""
    await _tear(stage, lambda rows, schedule: False)


async def tick_without_its_run(stage: Stage) -> None:
    """Of a tick the run was not written (S1, S3)."""
    await _tear(stage, lambda rows, schedule: not _is_run(rows, schedule))


async def _tear(stage: Stage, lands: Callable[[Rows, TaskId], bool]) -> None:
    schedule = await stage.plan(every_s=1)
    await stage.sleep(4)
    first = stage.owner(schedule)
    stage.gate.shut.add(first.name)
    await stage.until(lambda: any(_is_run(each.rows, schedule) for each in stage.gate.kept))
    stage.crash(first)
    stage.gate.land(first.name, lambda rows: lands(rows, schedule))
    second = await stage.next_owner(schedule)
    await stage.sleep(4)
    stage.gate.land(first.name)
    stage.start(first)
    await stage.sleep(2)
    stage.crash(second)
    await stage.next_owner(schedule)
    await stage.sleep(5)
    stage.start(second)


async def run_of_a_newer_version(stage: Stage) -> None:
    """Of a tick the run alone was written, by a version that nobody has any more (S3, ADR 18)."""
    schedule = await stage.plan(every_s=2)
    await stage.sleep(4)
    first = stage.owner(schedule)
    stage.gate.shut.add(first.name)
    await stage.until(lambda: any(_is_run(each.rows, schedule) for each in stage.gate.kept))
    rows = next(each.rows for each in stage.gate.kept if _is_run(each.rows, schedule))
    stage.crash(first)
    stage.gate.land(first.name, lambda rows: _is_run(rows, schedule))
    journal = stage.world.database.journal
    run = next(row for row in rows if isinstance(row, EventRow) and row.task_id != schedule)
    journal.add(foreign(run))
    await stage.next_owner(schedule)
    await stage.sleep(3)
    await stage.ask_in_vain(schedule)
    stage.start(first)
    await stage.sleep(3)
    journal.add(run)
    second = stage.owner(schedule)
    stage.crash(second)
    await stage.next_owner(schedule)
    stage.start(second)
    stage.heal()
    await stage.sleep(SOUND_S)
    await stage.archivist.look(schedule)


def _is_run(rows: Rows, schedule: TaskId) -> bool:
    """Whether rows make a new run of the schedule."""
    events = [row for row in rows if isinstance(row, EventRow)]
    return any(row.task_id != schedule and row.kind in BORN for row in events)


async def stop_behind_a_take_over(stage: Stage) -> None:
    """A backfill that an earlier owner had in hand is stopped: its next run is voided first (S4).

    The schedule is paused, so no step of the new owner's comes before the stop. Whoever asks is
    answered at once: nothing has been broken for long.
    """
    schedule = await stage.archive()
    archivist = stage.archivist
    await archivist.backfill(schedule, "years", YEARS)
    await stage.until(lambda: stage.runs_again() > 2)
    await archivist.ask_plainly(Call.PAUSE_SCHEDULE, schedule)
    first = stage.owner(schedule)
    stage.crash(first)
    await stage.next_owner(schedule)
    stage.start(first)
    stage.heal()
    await stage.sleep(SOUND_S)
    await archivist.look(schedule)
    await archivist.stop(schedule, "years")
    await archivist.look(schedule)
    await archivist.ask_plainly(Call.RESUME_SCHEDULE, schedule)


async def late_run_of_a_backfill(stage: Stage) -> None:
    """A run of a backfill lands after the next owner's stop was acknowledged (S4)."""
    await _tear_a_backfill(stage, stops=True)


async def backfill_that_changes_hands(stage: Stage) -> None:
    """A run of a backfill lands after the next owner has gone on (S1, S3)."""
    await _tear_a_backfill(stage, stops=False)


async def _tear_a_backfill(stage: Stage, *, stops: bool) -> None:
    schedule = await stage.archive()
    first = stage.owner(schedule)
    await stage.archivist.backfill(schedule, "years", YEARS)
    await stage.until(lambda: stage.runs_again() > 2)
    stage.gate.passes = _are_hints
    stage.gate.shut.add(first.name)
    await stage.until(lambda: any(_is_run(each.rows, schedule) for each in stage.gate.kept))
    stage.crash(first)
    second = await stage.next_owner(schedule)
    if stops:
        await stage.archivist.stop(schedule, "years")
    await stage.sleep(1)
    stage.gate.land(first.name)
    stage.start(first)
    await stage.sleep(2)
    stage.crash(second)
    await stage.next_owner(schedule)
    await stage.archivist.look(schedule)
    stage.start(second)


def _are_hints(rows: Rows) -> bool:
    """Whether rows say only where to look: they are durable before the event that needs them."""
    return all(isinstance(row, DueRow) for row in rows)


async def key_of_one_that_is_gone(stage: Stage) -> None:
    """An executor never comes back, and what ran there holds its key until the doubt is over."""
    held = await stage.create(due_s=2, work_ms=20_000, key="one")
    await stage.until(lambda: stage.starts(held))
    waiting = [await stage.create(due_s=1, key="one") for _ in range(2)]
    gone = stage.process(stage.starts(held)[0].process)
    stage.crash(gone)
    await stage.until(lambda: all(stage.starts(task) for task in waiting), DOUBT_S)
    await stage.until(lambda: len(stage.starts(held)) > 1)
    stage.start(gone)


async def key_of_one_that_was_fenced(stage: Stage) -> None:
    """An executor dies before it hears that what it runs was terminated: the key waits for that."""
    held = await stage.create(due_s=2, work_ms=20_000, key="one")
    await stage.until(lambda: stage.starts(held))
    waiting = await stage.create(due_s=1, key="one")
    gone = stage.process(stage.starts(held)[0].process)
    stage.strike("freeze", gone)
    stage.world.loop.freeze(gone.name)
    await stage.client.reviser.terminate(held)
    stage.crash(gone)
    await stage.until(lambda: bool(stage.starts(waiting)), DOUBT_S)
    stage.start(gone)


async def key_of_a_frozen_one(stage: Stage) -> None:
    """An executor is given up while it is frozen, and goes on with what holds the key (R14)."""
    held = await stage.create(due_s=2, work_ms=30_000, key="two")
    await stage.until(lambda: stage.starts(held))
    waiting = [await stage.create(due_s=1, work_ms=8_000, key="two") for _ in range(3)]
    frozen = stage.process(stage.starts(held)[0].process)
    stage.strike("freeze", frozen)
    stage.world.loop.freeze(frozen.name)
    await stage.sleep(12)
    first = stage.owner(held)
    stage.crash(first)
    await stage.next_owner(held)
    stage.start(first)
    await stage.sleep(3)
    stage.world.loop.thaw(frozen.name)
    await stage.until(lambda: all(stage.starts(task) for task in waiting))


async def checkpoint_without_owner(stage: Stage) -> None:
    """An executor and the owner of what it runs are lost together, minutes after its start."""
    await _lose(stage, LONG, LONG_S, owner=True)


async def checkpoint_of_a_lost_executor(stage: Stage) -> None:
    """An executor is lost; the owner of what it runs knows what was said."""
    await _lose(stage, SHORT, SHORT_S, owner=False)


async def _lose(stage: Stage, plan: Plan, seconds: float, *, owner: bool) -> None:
    task = await stage.speaking(plan)
    await stage.until(lambda: stage.starts(task))
    await stage.sleep(seconds)
    lost = [stage.process(stage.starts(task)[0].process)]
    lost += [stage.owner(task)] if owner else []
    for each in lost:
        stage.crash(each)
    await stage.until(lambda: len(stage.starts(task)) > 1)
    for each in lost:
        stage.start(each)
    await stage.sleep(10)


LONG: Final = Plan(spells=(Spell(words=400, every_ms=500, leaves=3), Spell()))
LONG_S: Final = 150.0
SHORT: Final = Plan(spells=(Spell(words=100, every_ms=500, leaves=3), Spell()))
SHORT_S: Final = 9.7


async def lost_schedule(stage: Stage) -> None:
    """An owner is lost long after the schedule's home is behind the watermark (S2)."""
    schedule = await stage.plan(every_s=5)
    await stage.sleep(200)
    first = stage.owner(schedule)
    stage.crash(first)
    await stage.next_owner(schedule)
    stage.heal()
    await stage.sleep(60)
    stage.start(first)


async def long_absence(stage: Stage) -> None:
    """Nobody is there for minutes: what was missed is made up for in turn, and work goes first."""
    for _ in range(MISSING):
        await stage.plan_to_miss(every_s=10)
    await stage.sleep(12)
    gone = [stage.process("scheduler-1"), stage.process("scheduler-2")]
    from_us = stage.world.loop.now_us
    for each in gone:
        stage.crash(each)
    await stage.sleep(ABSENCE_S)
    stage.world.history.away.append(Away(from_us=from_us, until_us=stage.world.loop.now_us))
    for each in gone:
        stage.start(each)
    stage.heal()
    for _ in range(10):
        await stage.create(due_s=1.5)
    await stage.sleep(60)


SCRIPTS: Final[Mapping[str, Script]] = MappingProxyType(
    {
        "late cancel": late_cancel,
        "late cancel and claim": late_cancel_and_claim,
        "two pasts": two_pasts,
        "late order": late_order,
        "deposed": deposed,
        "late creation": late_creation,
        "overdue at an old home": overdue_at_an_old_home,
        "between entry and epoch": between_entry_and_epoch,
        "stale member": stale_member,
        "half a tick": half_a_tick,
        "late tick": late_tick,
        "tick without its run": tick_without_its_run,
        "lost schedule": lost_schedule,
        "long absence": long_absence,
        "run of a newer version": run_of_a_newer_version,
        "stop behind a take-over": stop_behind_a_take_over,
        "late run of a backfill": late_run_of_a_backfill,
        "backfill that changes hands": backfill_that_changes_hands,
        "key of one that is gone": key_of_one_that_is_gone,
        "key of one that was fenced": key_of_one_that_was_fenced,
        "key of a frozen one": key_of_a_frozen_one,
        "checkpoint without owner": checkpoint_without_owner,
        "checkpoint of a lost executor": checkpoint_of_a_lost_executor,
    }
)
SCRIPTED: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        **{name: Profile(calm=False, tasks=1, script=name) for name in SCRIPTS},
        "long absence": Profile(
            calm=False, tasks=1, script="long absence", catch_up_per_s=CATCH_UP_PER_S
        ),
        "autumn": Profile(tasks=20, clients=2, schedules=12),
    }
)
"""Profiles by name that need no luck; "autumn" is drawn, and all of it lies in that night."""
