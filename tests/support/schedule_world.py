"""Schedules in the engine's world: commands, the ledger as readers see it, torn writes.

A write's rows are durable bucket by bucket: `tear` lets some of them land and nobody hear of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.engine_world import SHARD, START_MS, Call, Node, World, task_spec
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import (
    CreateSchedule,
    EndSchedule,
    ReadSchedule,
    ScheduleDone,
    UpdateSchedule,
)
from timeball_server.core.engine import effects as fx
from timeball_server.core.ids import (
    KIND_SCHEDULE,
    SCHEDULES_MINUTE,
    Bucket,
    IdParts,
    TaskId,
    encode_id,
    home_of_name,
    unique_of_occurrence,
)
from timeball_server.core.journal import (
    DueRow,
    EventKind,
    EventRow,
    LedgerRow,
    Row,
    ScheduleDetail,
    State,
)
from timeball_server.core.model import Overlap, OverlapPolicy, ScheduleSpec, ScheduleView

TICKS = (EventKind.TICK, EventKind.LAST_TICK)


def create_schedule(
    node: Node,
    *,
    unique: bytes | None = None,
    resend: bool = False,
    handler: str = "charge",
    **spec: Any,
) -> Call:
    """Create a schedule whose home is the present minute."""
    world = node.world
    command = CreateSchedule(
        minute=minute_of(world.wall_ms),
        shard=SHARD,
        unique=world.unique() if unique is None else unique,
        spec=ScheduleSpec(task=task_spec(handler=handler), **{"every_ms": 10_000, **spec}),
        request_id="request",
        actor="clerk",
        resend=resend,
    )
    home = Bucket(command.minute, SHARD)
    return node.ask(command, encode_id(IdParts(home, command.unique, KIND_SCHEDULE)))


def read_schedule(node: Node, schedule_id: TaskId) -> Call:
    """Read a schedule."""
    return node.ask(ReadSchedule(task_id=schedule_id, namespace="shop"), schedule_id)


def end_schedule(node: Node, schedule_id: TaskId) -> Call:
    """End a schedule."""
    command = EndSchedule(task_id=schedule_id, namespace="shop", request_id="end", actor="clerk")
    return node.ask(command, schedule_id)


def ask(node: Node, kind: Any, schedule_id: TaskId, request_id: str = "r", **fields: Any) -> Call:
    """Send a command about a schedule."""
    command = kind(
        task_id=schedule_id, namespace="shop", actor="clerk", request_id=request_id, **fields
    )
    return node.ask(command, schedule_id)


def update(node: Node, schedule_id: TaskId, request_id: str = "u", **fields: Any) -> Call:
    """Put another specification in force, whatever there is."""
    spec = ScheduleSpec(task=task_spec(), **{"every_ms": 10_000, **fields})
    what = {"fields": None, "revision": None, "allow_missing": False}
    return ask(node, UpdateSchedule, schedule_id, request_id, spec=spec, **what)


def named(node: Node, name: str, request_id: str = "c", **fields: Any) -> Call:
    """Create a schedule with a chosen name."""
    part, unique = home_of_name("shop", name)
    command = CreateSchedule(
        minute=SCHEDULES_MINUTE,
        shard=SHARD,
        part=part,
        unique=unique,
        spec=ScheduleSpec(task=task_spec(), name=name, **{"every_ms": 10_000, **fields}),
        request_id=request_id,
        actor="clerk",
    )
    home = Bucket(SCHEDULES_MINUTE, SHARD, part)
    return node.ask(command, encode_id(IdParts(home, unique, KIND_SCHEDULE)))


def with_rule(world: World, policy: OverlapPolicy, limit: int = 0) -> tuple[Node, TaskId]:
    """An owner, and a schedule with an overlap rule."""
    node = world.owner()
    rule = Overlap(policy=policy, limit=limit)
    return node, create_schedule(node, overlap=rule).task_id


def at(seconds: int) -> int:
    """A nominal time, as milliseconds."""
    return START_MS + seconds * 1_000


def shown(call: Call) -> ScheduleView:
    """The schedule of a command that holds."""
    assert isinstance(call.outcome, ScheduleDone), call.outcome
    return call.outcome.schedule


def run_id(schedule_id: TaskId, nominal_ms: int) -> TaskId:
    """The id of the run at a nominal time."""
    unique = unique_of_occurrence(schedule_id, nominal_ms)
    return encode_id(IdParts(Bucket(minute_of(nominal_ms), SHARD), unique))


def verdicts(world: World, schedule_id: TaskId) -> dict[int, LedgerRow]:
    """The verdict in force on every nominal time: of the greatest epoch, ranges spread out."""
    found: dict[int, LedgerRow] = {}
    for row in world.disk.listed:
        if not isinstance(row, LedgerRow) or row.schedule_id != schedule_id:
            continue
        times = row.times or 1
        last_ms = row.last_nominal_ms or row.nominal_ms
        step_ms = (last_ms - row.nominal_ms) // max(1, times - 1)
        for index in range(times):
            nominal_ms = row.nominal_ms + index * step_ms
            standing = found.get(nominal_ms)
            if standing is not None and standing.epoch == row.epoch:
                same = (standing.verdict, standing.task_id) == (row.verdict, row.task_id)
                assert same, f"two verdicts of one epoch: {standing} and {row}"
            if standing is None or standing.epoch <= row.epoch:
                found[nominal_ms] = row
    return found


def words(world: World, schedule_id: TaskId) -> list[tuple[int, str]]:
    """The verdicts in force by nominal time, as seconds since the world began."""
    found = verdicts(world, schedule_id)
    return [
        ((nominal_ms - 1_800_000_000_000) // 1_000, found[nominal_ms].verdict)
        for nominal_ms in sorted(found)
    ]


def tear(world: World, write: fx.Write, lands: Callable[[Row], bool]) -> None:
    """Part of a write reaches the store: the rows that this says yes to."""
    world.disk.append([row for row in write.rows if lands(row)])


def of_schedule(row: Row) -> bool:
    """Whether a row is the schedule's own event."""
    return isinstance(row, EventRow) and isinstance(row.detail, ScheduleDetail)


def of_run(row: Row) -> bool:
    """Whether a row is a run's first event or its hint."""
    return isinstance(row, DueRow) or (isinstance(row, EventRow) and not of_schedule(row))


def lives(world: World, task_id: TaskId) -> bool:
    """Whether a run exists and is not void."""
    rows = world.disk.rows(task_id)
    return bool(rows) and world.disk.history(task_id).head.state is not State.VOID
