"""Random lives of a schedule that users change: updates, pauses, triggers, backfills, overlaps.

On top of `ScheduleModel`: runs end, owners change while users ask, and the expected nominal times
follow from the versions that were written, not from what the engine says of itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.engine_world import Call
from tests.support.schedule_model import ScheduleModel
from tests.support.schedule_world import (
    lives,
    read_schedule,
    run_id,
    shown,
    verdicts,
)
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import (
    BackfillSchedule,
    PauseSchedule,
    ResumeSchedule,
    ScheduleDone,
    TriggerSchedule,
    UpdateSchedule,
)
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import VersionRow
from timeball_server.core.messages import RevokeAnswer, RunOrder
from timeball_server.core.model import (
    BackfillState,
    CatchUp,
    CatchUpPolicy,
    Overlap,
    OverlapPolicy,
    ScheduleSpec,
    ScheduleView,
)
from timeball_server.core.schedules.calendars import next_nominal_ms

RULES = (
    Overlap(),
    Overlap(policy=OverlapPolicy.ALLOW, limit=2),
    Overlap(policy=OverlapPolicy.SKIP),
    Overlap(policy=OverlapPolicy.BUFFER_ONE),
    Overlap(policy=OverlapPolicy.BUFFER, limit=3),
    Overlap(policy=OverlapPolicy.CANCEL_OTHER),
    Overlap(policy=OverlapPolicy.TERMINATE_OTHER),
)
ALONE = (OverlapPolicy.SKIP, OverlapPolicy.BUFFER_ONE, OverlapPolicy.BUFFER)
"""With these no two runs of the calendar are in hand at a time."""
CHANGES = (
    *("pass_time", "pass_time", "pass_time", "hold", "settle_one", "settle", "settle", "land"),
    *("deliver", "thaw", "pause", "take_over", "take_over_at_tick", "finish", "finish", "finish"),
    *("update", "suspend", "go_on", "trigger", "backfill", "read"),
)


class ChangingModel(ScheduleModel):
    """One schedule whose rules are drawn, and whose users do not leave it alone."""

    def __init__(self, seed: int) -> None:
        self.rule = Overlap()
        super().__init__(seed)
        self.over: set[TaskId] = set()
        self.triggers: list[Call] = []

    def draw(self) -> dict[str, Any]:
        """What schedule it is, and its rules."""
        self.every_ms = self.chance.choice([2_000, 7_000, 10_000, 60_000])
        self.rule = self.chance.choice(RULES)
        policy = self.chance.choice([CatchUpPolicy.ONE, CatchUpPolicy.ONE, *CatchUpPolicy])
        window_ms = self.chance.choice([20_000, 600_000])
        return {
            "every_ms": self.every_ms,
            "overlap": self.rule,
            "catch_up": CatchUp(policy=policy, window_ms=window_ms),
        }

    def act(self) -> str:
        """One thing happens; revocations are answered as they come."""
        action = self.chance.choice(CHANGES)
        getattr(self, action)()
        self._answer_revokes()
        self.latest_ms = max(self.latest_ms, self.world.wall_ms)
        return action

    # What users and runs do ----------------------------------------------------------------------

    def finish(self) -> None:
        """A run ends, and its result is durable at once."""
        if self.owner.hold_writes or self.owner.hold_reads or self.owner.writes:
            return
        left = [order for order in self.executor.orders if order.run.task_id not in self.over]
        if left:
            order: RunOrder = self.chance.choice(left)
            self.over.add(order.run.task_id)
            self.executor.succeeds(order)

    def _answer_revokes(self) -> None:
        """What has not begun is given back, and has never been started then."""
        while self.executor.revokes:
            _, revoke = self.executor.revokes[0]
            mine = [order for order in self.executor.orders if order.run == revoke.run]
            for order in mine:
                self.executor.orders.remove(order)
            self.executor.answers_revoke(RevokeAnswer.REVOKED)

    def _ask(self, kind: Any, **fields: Any) -> Call:
        common = {"namespace": "shop", "actor": "clerk", "request_id": f"r{self.chance.random()}"}
        command = kind(task_id=self.schedule_id, **common, **fields)
        return self.owner.ask(command, self.schedule_id)

    def update(self) -> None:
        """Another distance of nominal times."""
        view = self._view()
        if view is None:
            return
        spec = replace(view.spec, every_ms=self.chance.choice([2_000, 7_000, 10_000, 60_000]))
        self._ask(UpdateSchedule, spec=spec, fields=None, revision=None, allow_missing=False)

    def suspend(self) -> None:
        """A pause."""
        self._ask(PauseSchedule, reason="stocktaking")

    def go_on(self) -> None:
        """The end of a pause."""
        self._ask(ResumeSchedule)

    def trigger(self) -> None:
        """A run by hand."""
        self.triggers.append(
            self._ask(
                TriggerSchedule,
                minute=minute_of(self.world.wall_ms),
                unique=self.world.unique(),
            )
        )

    def backfill(self) -> None:
        """Some of the past once more."""
        to_ms = self.world.wall_ms - 1
        name = f"b{self.chance.randrange(10**6)}"
        self._ask(BackfillSchedule, backfill_id=name, from_ms=to_ms - 20_000, to_ms=to_ms)

    def _view(self) -> ScheduleView | None:
        call = read_schedule(self.owner, self.schedule_id)
        return shown(call) if isinstance(call.outcome, ScheduleDone) else None

    # What must hold ------------------------------------------------------------------------------

    def check(self) -> None:
        """Nothing starts twice, and what must be alone is."""
        super().check()
        if self.rule.policy not in ALONE or self.triggers:
            return
        scheduled = {run_id(self.schedule_id, at) for at in verdicts(self.world, self.schedule_id)}
        orders = (order.run.task_id for order in self.executor.orders)
        in_hand = {run for run in orders if run in scheduled and run not in self.over}
        assert len(in_hand) <= 1, "two runs of one schedule at a time"

    def settle_all(self) -> ScheduleView:
        """Everything lands, users let go, a last owner works until nothing waits."""
        self.heal(ends=False)
        self.go_on()
        self._finish_all()
        self.world.run(30_000)
        self._finish_all()
        view = self._view()
        assert view is not None
        return view

    def _finish_all(self) -> None:
        for _ in range(60):
            self._answer_revokes()
            self.finish()
            self.world.run(1_100)

    def expected(self, view: ScheduleView) -> dict[int, int]:
        """Every nominal time that must have a verdict by now, and its version."""
        rows: dict[int, VersionRow] = {}
        for row in self.world.disk.listed:
            if isinstance(row, VersionRow) and row.schedule_id == self.schedule_id:
                known = rows.get(row.version)
                if row.version <= view.version and (known is None or known.epoch <= row.epoch):
                    rows[row.version] = row
        until_ms = view.next_ms or self.world.wall_ms
        found: dict[int, int] = {}
        for number in sorted(rows):
            row, after = rows[number], rows.get(number + 1)
            last_ms = until_ms - 1 if after is None else after.after_ms
            spec: ScheduleSpec = row.detail.spec
            at_ms = next_nominal_ms(spec.when, row.after_ms)
            while at_ms is not None and at_ms <= last_ms:
                found[at_ms] = number
                at_ms = next_nominal_ms(spec.when, at_ms)
        return {at_ms: number for at_ms, number in found.items() if at_ms not in view.buffered}

    def check_all(self) -> None:
        """Every nominal time of every version has one verdict, and launches are what they say."""
        view = self.settle_all()
        self.check()
        expected = self.expected(view)
        found = verdicts(self.world, self.schedule_id)
        assert sorted(found) == sorted(expected)
        started = {order.run.task_id for order in self.executor.orders}
        stopping = self.rule.policy in (OverlapPolicy.CANCEL_OTHER, OverlapPolicy.TERMINATE_OTHER)
        for nominal_ms, row in found.items():
            run = run_id(self.schedule_id, nominal_ms)
            launched = row.verdict == "LAUNCHED"
            assert launched == lives(self.world, run), (nominal_ms, row)
            assert launched == (run in started) or stopping, (nominal_ms, row)
        assert view.runs == sum(row.verdict == "LAUNCHED" for row in found.values())
        assert view.next_ms is not None
        assert view.next_ms > self.world.wall_ms, "it goes on"
        self._check_by_hand(view, started)

    def _check_by_hand(self, view: ScheduleView, started: set[TaskId]) -> None:
        for call in self.triggers:
            if isinstance(call.outcome, ScheduleDone):
                run = call.outcome.schedule.run
                assert run in started or self.rule.policy in (
                    OverlapPolicy.CANCEL_OTHER,
                    OverlapPolicy.TERMINATE_OTHER,
                )
        assert all(one.state is not BackfillState.RUNNING for one in view.backfills)
