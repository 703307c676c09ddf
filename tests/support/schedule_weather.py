"""Random lives of a schedule in rough weather: set clocks, ends, failures, cancels, lost streams.

On top of `schedule_changes`, with other facts at the end: runs may be cancelled, so not each one
that was launched has started; but each was launched once, and only what the ledger says.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from tests.support.engine_world import SHARD, START_MS
from tests.support.schedule_changes import ALONE, CHANGES, RULES, ChangingModel
from tests.support.schedule_world import lives, read_schedule, run_id, shown, verdicts
from timeball_server.core.commands import StopBackfill, UpdateSchedule
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.journal import CLOSED, State
from timeball_server.core.messages import RunOrder
from timeball_server.core.model import BackfillState, Overlap, ScheduleView

ROUGH = (
    *("set_clock", "set_clock", "fail", "fail", "cancel_run", "cancel_next", "unplug", "plug"),
    *("stop_backfill", "hand_over", "take_back", "other_rule", "suspend_all"),
)


class ScheduleWeather(ChangingModel):
    """One schedule, with an end or a number of runs at times, that everything happens to."""

    def __init__(self, seed: int) -> None:
        self.max_runs = 0
        self.has_one_rule = True
        super().__init__(seed)

    def draw(self) -> dict[str, Any]:
        """What schedule it is, how often it runs and until when."""
        words = super().draw()
        self.max_runs = words["max_runs"] = self.chance.choice([0, 0, 0, 3, 8])
        if self.chance.random() < 0.3:
            words["end_ms"] = START_MS + self.chance.choice([60_000, 200_000])
        if self.chance.random() < 0.2:
            words["delay_ms"] = words.pop("every_ms")
        return words

    def act(self) -> str:
        """One thing happens; revocations are answered as they come."""
        action = self.chance.choice((*CHANGES, *ROUGH))
        getattr(self, action)()
        self._answer_revokes()
        self.latest_ms = max(self.latest_ms, self.world.wall_ms)
        return action

    # What may happen -----------------------------------------------------------------------------

    def set_clock(self) -> None:
        """The wall clock is set; no time passes."""
        rarely = [1_000_000] if self.chance.random() < 0.2 else []
        by_ms = self.chance.choice([1_500, 20_000, 90_000, *rarely])
        self.world.wall_ms += self.chance.choice([by_ms, -by_ms])
        self.owner.feed(ev.Tick())

    def _in_hand(self) -> list[RunOrder]:
        """Runs that could end now, with their results durable at once."""
        if self.owner.hold_writes or self.owner.hold_reads or self.owner.writes:
            return []
        return [each for each in self.executor.orders if str(each.run) in self.executor.known]

    def finish(self) -> None:
        """A run ends."""
        runs = self._in_hand()
        if runs:
            self.executor.succeeds(self.chance.choice(runs))

    def fail(self) -> None:
        """A run fails, for good or until another attempt."""
        runs = self._in_hand()
        if runs:
            delay_ms = self.chance.choice([10, 500, 40_000])
            for_good = self.chance.random() < 0.2
            self.executor.fails(self.chance.choice(runs), delay_ms=delay_ms, retriable=not for_good)

    def cancel_run(self) -> None:
        """Somebody cancels a run."""
        if self.executor.orders:
            self.owner.cancel(self.chance.choice(self.executor.orders).run.task_id)

    def cancel_next(self) -> None:
        """Somebody cancels the run in hand before its time."""
        view = self._view()
        if view is not None and view.next_ms is not None:
            self.owner.cancel(run_id(self.schedule_id, view.next_ms))

    def unplug(self) -> None:
        """The stream to the executor breaks."""
        if self.executor.facts.incarnation in self.owner.open:
            self.owner.disconnect(self.executor)

    def plug(self) -> None:
        """It is opened again."""
        if self.executor.facts.incarnation not in self.owner.open:
            self.owner.connect(self.executor)

    def suspend_all(self) -> None:
        """The coordination service is out of sight, or back."""
        self.owner.feed(ev.Suspended(self.chance.random() < 0.4))

    def stop_backfill(self) -> None:
        """Somebody stops a backfill, or asks for one that is over."""
        view = self._view()
        if view is not None and view.backfills:
            self._ask(StopBackfill, backfill_id=self.chance.choice(view.backfills).backfill_id)

    def other_rule(self) -> None:
        """Another overlap rule."""
        view = self._view()
        if view is not None:
            rule: Overlap = self.chance.choice(RULES)
            self.has_one_rule = False
            words = {"spec": replace(view.spec, overlap=rule), "fields": None, "revision": None}
            self._ask(UpdateSchedule, **words, allow_missing=False)

    def take_over(self) -> None:
        """As ever; what was asked of the executor before, it has answered."""
        self._answer_revokes()
        super().take_over()

    def hand_over(self) -> None:
        """The shard is handed over."""
        self._answer_revokes()
        old, known = self.owner, len(self.owner.log)
        old.feed(ev.ShardReleasing(SHARD))
        for _ in range(20):
            if any(isinstance(each, fx.ShardQuiet | fx.GiveUp) for each in old.log[known:]):
                self.owner = self.world.node(f"s{len(self.world.nodes) + 1}")
                self.owner.acquire()
                return
            self.settle()
            self.world.jump(100)
        self.take_over()

    def take_back(self) -> None:
        """The owner loses the shard, with writes on the way, and is given it again."""
        self._answer_revokes()
        writes, self.owner.writes = self.owner.writes, []
        self.owner.feed(ev.ShardLost(SHARD))
        self.owner.reads.clear()
        for write in writes:
            self._may_land(write)
        self.left += writes
        self.owner.acquire()

    # What must hold ------------------------------------------------------------------------------

    def check(self) -> None:
        """No attempt starts twice, and what must be alone is."""
        runs = [order.run for order in self.executor.orders]
        assert len(runs) == len(set(runs)), "a run was started twice"
        if self.rule.policy not in ALONE or self.triggers or not self.has_one_rule:
            return
        scheduled = {run_id(self.schedule_id, at) for at in verdicts(self.world, self.schedule_id)}
        known = [each for each in self.executor.orders if str(each.run) in self.executor.known]
        in_hand = {each.run.task_id for each in known} & scheduled
        still_open = [run for run in in_hand if self._state_of(run) not in CLOSED]
        assert len(still_open) <= 1, "two runs of one schedule at a time"

    def _state_of(self, run: Any) -> State:
        return self.world.disk.history(run).head.state

    def settle_all(self) -> ScheduleView:
        """All clocks are right, everything lands, a last owner works until nothing waits."""
        self.chance = random.Random(len(self.executor.orders))
        self.world.wall_ms = max(self.world.wall_ms, self.latest_ms)
        self.owner.feed(ev.Suspended(False))
        self.heal(ends=False)
        self.plug()
        self.go_on()
        for _ in range(3):
            self._finish_all()
            self.world.run(30_000)
        self._finish_all()
        return shown(read_schedule(self.owner, self.schedule_id))

    def _finish_all(self) -> None:
        for _ in range(20):
            self._answer_revokes()
            for order in self._in_hand():
                self.executor.succeeds(order)
            self.world.run(1_100)

    def check_all(self) -> None:
        """Every verdict is true, nothing was launched more often than allowed, and it goes on."""
        view = self.settle_all()
        self.check()
        found = verdicts(self.world, self.schedule_id)
        if not (view.ended or self.max_runs or view.spec.delay_ms is not None):
            assert sorted(found) == sorted(self.expected(view))
        started = {order.run.task_id for order in self.executor.orders}
        for at_ms, row in found.items():
            run = run_id(self.schedule_id, at_ms)
            launched = row.verdict == "LAUNCHED"
            assert launched == lives(self.world, run), (at_ms, row)
            assert launched or run not in started, (at_ms, row)
            just_now = at_ms > self.world.wall_ms - 5_000
            assert not launched or just_now or self._state_of(run) in CLOSED, (at_ms, row)
        launched_runs = sum(row.verdict == "LAUNCHED" for row in found.values())
        assert view.runs == launched_runs
        assert not self.max_runs or launched_runs <= self.max_runs
        self._check_that_it_goes_on(view)

    def _check_that_it_goes_on(self, view: ScheduleView) -> None:
        ahead = view.next_ms is not None and view.next_ms > self.world.wall_ms
        limited = bool(self.max_runs) or view.spec.end_ms is not None
        assert ahead or view.open or (view.ended and limited)
        assert not view.buffered or view.open
        assert all(one.state is not BackfillState.RUNNING for one in view.backfills)
        shard = self.owner.engine.shards[SHARD]
        assert (shard.parked, shard.asking) == (set(), {})
