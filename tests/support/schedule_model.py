"""Random lives of one schedule: late and torn writes, stale reads, take-overs, pauses, an end.

Seeded, so that a failure names the number that shows it again.
"""

from __future__ import annotations

import random
from typing import Any

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import LEASE_MS, START_MS, Call, World
from tests.support.schedule_world import (
    create_schedule,
    end_schedule,
    lives,
    of_run,
    of_schedule,
    read_schedule,
    run_id,
    tear,
    verdicts,
)
from timeball_server.core.commands import Done, Rejected, RejectionReason, ScheduleDone
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.journal import EventKind, LedgerRow, Row, State

TAKE_OVERS = ("take_over", "take_over_at_tick", "take_over_at_tick")
ACTIONS = (
    *("pass_time", "pass_time", "pass_time", "hold", "settle_one", "settle_one", "settle"),
    *("land", "read", "cancel_ahead", "deliver", "thaw", "pause", "step_back", *TAKE_OVERS),
)


class ScheduleModel:
    """One schedule of a world in which everything that can be late is moved by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = World()
        self.executor = ScriptedExecutor(self.world, slots=100_000)
        self.owner = self.world.owner()
        self.every_ms = 0
        self.schedule_id = create_schedule(self.owner, **self.draw()).task_id
        self.left: list[fx.Write] = []
        self.cancels: list[Call] = []
        self.latest_ms = self.world.wall_ms

    def draw(self) -> dict[str, Any]:
        """What schedule it is."""
        self.every_ms = self.chance.choice([1_000, 7_000, 10_000, 60_000, 3_600_000])
        return {"every_ms": self.every_ms}

    # What may happen -----------------------------------------------------------------------------

    def act(self) -> str:
        """One thing happens."""
        action = self.chance.choice(ACTIONS)
        getattr(self, action)()
        self.latest_ms = max(self.latest_ms, self.world.wall_ms)
        return action

    def pass_time(self) -> None:
        """Often up to the instants at which a schedule acts."""
        ahead_ms = self.every_ms - self.world.wall_ms % self.every_ms
        choices = [300, 1_500, ahead_ms, ahead_ms - 500, ahead_ms + 200]
        self.world.run(min(60_000, max(1, self.chance.choice(choices))))

    def hold(self) -> None:
        """The store becomes slow."""
        self.owner.hold_writes = True

    def settle_one(self) -> None:
        """One write is durable, not always the oldest."""
        if self.owner.writes:
            self.owner.settle_one(self.chance.randrange(len(self.owner.writes)))

    def settle(self) -> None:
        """The store is fast again."""
        self.owner.release_writes()

    def read(self) -> None:
        """Somebody looks: the head is pinned."""
        read_schedule(self.owner, self.schedule_id)

    def cancel_ahead(self) -> None:
        """Somebody cancels the run of the next nominal time."""
        if self.chance.random() < 0.2:
            self.cancels.append(self.owner.cancel(run_id(self.schedule_id, self.next_ms())))

    def next_ms(self) -> int:
        """The nominal time after now."""
        return self.world.wall_ms + self.every_ms - self.world.wall_ms % self.every_ms

    def deliver(self) -> None:
        """Reads are answered with what they saw when they were made."""
        self.owner.deliver_reads()

    def pause(self) -> None:
        """Nobody runs for a while, at times for longer than the catch-up window."""
        self.world.jump(self.chance.choice([5_000, 30_000, 30_000, 120_000, 900_000]))

    def step_back(self) -> None:
        """The owner's clock is corrected."""
        self.world.jump(-self.chance.randrange(1, 5_000))

    def take_over(self) -> None:
        """The owner freezes with its writes on the way, and loses its lease."""
        old = self.owner
        old.frozen, old.renews = True, False
        writes, old.writes = old.writes, []
        for write in writes:
            self._may_land(write)
        self.left += writes
        self.world.mono_ms += LEASE_MS
        self.owner = self.world.node(f"s{len(self.world.nodes) + 1}")
        self.owner.hold_reads = self.chance.random() < 0.5
        self.owner.hold_writes = self.chance.random() < 0.5
        self.owner.acquire()

    def take_over_at_tick(self) -> None:
        """The owner freezes between the hint and the tick, or while the tick is written."""
        self.owner.hold_writes = self.chance.random() < 0.8
        before_ms = self.chance.choice([900, 500, 0, -100])
        self.world.run(min(120_000, max(1, self.next_ms() - self.world.wall_ms - before_ms)))
        if self.chance.random() < 0.5:
            self.settle_one()
        self.take_over()

    def land(self) -> None:
        """What a frozen owner wrote lands late, whole or in part."""
        if self.left:
            self._may_land(self.chance.choice(self.left))

    def _may_land(self, write: fx.Write) -> None:
        def ledger(row: Row) -> bool:
            return isinstance(row, LedgerRow)

        def everything(row: Row) -> bool:
            return True

        def nothing(row: Row) -> bool:
            return False

        def no_ledger(row: Row) -> bool:
            return not ledger(row)

        parts = [of_schedule, of_run, ledger, no_ledger, everything, nothing]
        chosen = self.chance.choice(parts)
        tear(self.world, write, chosen)

    def thaw(self) -> None:
        """A frozen owner goes on, without its lease."""
        frozen = [node for node in self.world.nodes if node.frozen]
        if frozen:
            node = self.chance.choice(frozen)
            node.frozen = False
            node.feed(ev.Tick())
            assert node.engine.shards == {}
            node.writes.clear()

    # What must hold ------------------------------------------------------------------------------

    def check(self) -> None:
        """Facts that hold at every moment: nothing starts twice, nothing void starts.

        A void that was written before its time, under an id that nobody has been told yet, is
        only known to the owner that wrote it and to one that finds the time in hand.
        """
        started = [order.run.task_id for order in self.executor.orders]
        assert len(started) == len(set(started)), "a run was started twice"
        own = [call for call in self.cancels if call.node is self.owner]
        stopped = {call.task_id for call in own if _holds(call)}
        assert not stopped & set(started), "a run started that was cancelled before"

    def heal(self, *, ends: bool) -> int:
        """Everything lands, a last owner takes over and works for a while; until when it did."""
        self.owner.deliver_reads()
        self.settle()
        if ends:
            call = end_schedule(self.owner, self.schedule_id)
            self.owner.deliver_reads()
            self.settle()
            assert isinstance(call.outcome, ScheduleDone), call.outcome
        self.world.run(max(0, self.latest_ms - self.world.wall_ms) + 20_000)
        self.take_over()
        for write in self.left:
            self._may_land(write)
        self.owner.deliver_reads()
        self.settle()
        self.world.run(20_000)
        return self._decided_until_ms()

    def _decided_until_ms(self) -> int:
        rows = self.world.disk.history(self.schedule_id).chain
        ends = [row.at_ms for row in rows if row.kind is EventKind.SCHEDULE_ENDED]
        return ends[0] if ends else self.world.wall_ms

    def check_the_end(self, until_ms: int) -> None:
        """Every nominal time has one verdict, and what is launched is there and started once."""
        self.check()
        found = verdicts(self.world, self.schedule_id)
        first_ms = (START_MS // self.every_ms + 1) * self.every_ms
        assert sorted(found) == list(range(first_ms, until_ms + 1, self.every_ms))
        started = {order.run.task_id for order in self.executor.orders}
        asked = {call.task_id for call in self.cancels}
        for nominal_ms, row in found.items():
            run = run_id(self.schedule_id, nominal_ms)
            launched = row.verdict == "LAUNCHED"
            assert launched == lives(self.world, run), (nominal_ms, row)
            assert launched == (run in started) or run in asked, (nominal_ms, row)
        self._check_the_count(found)

    def _check_the_count(self, found: dict[int, LedgerRow]) -> None:
        head = self.world.disk.history(self.schedule_id).head
        call = read_schedule(self.owner, self.schedule_id)
        assert isinstance(call.outcome, ScheduleDone), call.outcome
        launched = sum(row.verdict == "LAUNCHED" for row in found.values())
        assert call.outcome.schedule.runs == launched
        assert (head.state is State.ENDED) == call.outcome.schedule.ended


def _holds(call: Call) -> bool:
    """Whether a cancellation was acknowledged, or its id voided."""
    outcome = call.outcome
    if isinstance(outcome, Rejected):
        return outcome.reason is RejectionReason.NOT_FOUND
    return isinstance(outcome, Done)
