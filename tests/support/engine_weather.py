"""Random lives of a shard in rough weather: clocks that are set, keys, limits, hand-overs.

On top of `engine_model`: seeded, so that a failure names the number that shows it again. At the end
no place of a key, no gate and nothing that was waited for is left in the owner's memory.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from tests.support.engine_model import CONFIG, Model, ModelExecutor
from tests.support.engine_world import SHARD, Node
from tests.support.limits import key_rule
from timeball_server.core import executor_runs as xr
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.limit_rules import LimitKind, LimitRule, Rate
from timeball_server.core.messages import RunOrder, RunResult
from timeball_server.core.model import DeliveryMode, Failure, RetryPolicy, Timeouts

ROUGH: EngineConfig = replace(CONFIG, key_doubt_ms=20_000)
SLOW = Rate(starts=2, per_ms=1_000, burst=2)
RULES: tuple[tuple[LimitRule, ...], ...] = (
    (),
    (LimitRule(namespace="shop", kind=LimitKind.HANDLER, pattern="charge", rate=SLOW),),
    (key_rule("k1", concurrency=1, rate=SLOW),),
)
TIMEOUTS = (
    *(Timeouts(), Timeouts(), Timeouts(schedule_to_start_ms=1_000)),
    *(Timeouts(schedule_to_close_ms=4_000), Timeouts(heartbeat_ms=3_000)),
)
SILENT = Failure(kind="HEARTBEAT_TIMEOUT", message="silent")
STOPPED = Failure(kind="CANCELLED", message="", retriable=False)
ACTIONS = (
    *("create",) * 4,
    *("again", "cancel", "cancel", "look", "terminate", "terminate", "delete", "update", "update"),
    *("move", "move", "again_changed", "settle", "settle", "settle_all", "settle_all", "read_all"),
    *("read_all", "carry", "carry", "carry", "carry", "end", "end", "tick", "tick", "tick"),
    *("break_stream", "mend_streams", "join", "vanish", "take_over", "thaw", "set_clock"),
    *("limit", "suspend", "suspend", "hand_over", "take_back"),
)


class RoughExecutor(ModelExecutor):
    """One that obeys when it is told to stop, more or less."""

    @property
    def weather(self) -> Weather:
        """The whole that it lives in."""
        assert isinstance(self.model, Weather)
        return self.model

    def _perform(self, effects: list[xr.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, xr.CancelHandler):
                for order in [each for each in self.running if each.run == effect.run]:
                    self._stop(order, effect)
        super()._perform(effects)

    def _stop(self, order: RunOrder, effect: xr.CancelHandler) -> None:
        if effect.if_silent:
            self.model.promises.report(order)
            self._end(order, failure=SILENT)
        elif effect.terminate or self.weather.chance.random() < 0.5:
            self._end(order, failure=STOPPED, cancelled=True)

    def _end(self, order: RunOrder, **words: Any) -> None:
        self.running.remove(order)
        now_ms = self.model.world.wall_ms
        ended = RunResult(
            run=order.run, shard=order.shard, started_ms=now_ms, ended_ms=now_ms, **words
        )
        self.state.ended(ended)
        self._perform(self.state.flush())

    def _start(self, order: RunOrder) -> None:
        """By the latest time that any clock has shown: setting it back makes nothing early."""
        weather = self.weather
        weather.promises.start(order, max(weather.world.wall_ms, weather.latest_ms))
        living = [x for x in weather.executors if x.facts.incarnation in weather.world.executors]
        busy = [each.concurrency_key for x in living for each in x.running]
        assert not order.concurrency_key or order.concurrency_key not in busy, "two of one key"
        self.running.append(order)
        self.state.started(order.run, weather.world.wall_ms)


class Weather(Model):
    """The whole, with everything that a cluster meets on a bad day."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.latest_ms = 0
        super().__init__()
        self.latest_ms = self.world.wall_ms

    def live(self) -> list[str]:
        """Some dozens of things happen; what did."""
        happened: list[str] = []
        for _ in range(self.chance.randrange(10, 60)):
            happened.append(self.chance.choice(ACTIONS))
            getattr(self, happened[-1])(self.chance.randrange(2_001))
            self.latest_ms = max(self.latest_ms, self.world.wall_ms)
            self.check()
        return happened

    def join(self, choice: int = 0) -> None:
        """An executor joins, at times under the name of one that vanished."""
        if len(self.world.executors) < 3:
            self.joined += 1
            self.executors.append(RoughExecutor(self, f"x{self.joined % 4}"))

    def create(self, choice: int) -> None:
        """A caller creates a task of any kind."""
        modes = (DeliveryMode.AT_LEAST_ONCE, DeliveryMode.AT_MOST_ONCE)
        call = self.owner.create(
            in_ms=(None, None, 0, -2_000, 700, 3_000, 12_000, 35_000)[choice % 8],
            mode=modes[choice // 8 % 2],
            retry=RetryPolicy(max_attempts=1 + choice // 16 % 3),
            concurrency_key=("", "", "k1", "k2")[choice // 48 % 4],
            timeouts=self.chance.choice(TIMEOUTS),
            priority=self.chance.randrange(10),
        )
        if choice // 8 % 2:
            self.promises.at_most_once.add(call.task_id)
        self._note(call)

    def set_clock(self, choice: int) -> None:
        """The wall clock is set; no time passes."""
        by_ms = (700, 5_000, 40_000, 700_000)[choice // 2 % 4]
        self.world.wall_ms += by_ms if choice % 2 else -by_ms
        self.owner.feed(ev.Tick())

    def limit(self, choice: int) -> None:
        """Somebody sets other limits."""
        self.owner.feed(ev.LimitsSet(RULES[choice % 3], 1))

    def suspend(self, choice: int) -> None:
        """The coordination service is out of sight, or back."""
        self.owner.feed(ev.Suspended(choice % 2 == 0))

    def hand_over(self, choice: int) -> None:
        """The shard is handed over, if the store lets it fall quiet."""
        old, known = self.owner, len(self.owner.log)
        old.feed(ev.ShardReleasing(SHARD))
        for _ in range(30):
            if any(isinstance(each, fx.ShardQuiet | fx.GiveUp) for each in old.log[known:]):
                self.owner = self._new_owner()
                return
            if choice % 2:
                self.settle_all(0)
            self.world.jump(100)

    def take_back(self, choice: int) -> None:
        """The owner loses the shard with all that is on the way, and is given it again."""
        if choice % 3 == 0:
            self.owner.feed(ev.ShardLost(SHARD))
            self.owner.writes.clear()
            self.owner.reads.clear()
            self.owner.acquire()

    def _new_owner(self) -> Node:
        node = self.world.node(f"s{len(self.world.nodes) + 1}", ROUGH)
        node.hold_writes = True
        node.acquire()
        return node

    def heal(self) -> None:
        """The clock is right again, nothing is limited, and all else is as it should be."""
        self.world.jump(max(0, self.latest_ms - self.world.wall_ms))
        super().heal()

    def _check_memory(self) -> None:
        super()._check_memory()
        engine = self.owner.engine
        shard = engine.shards[SHARD]
        assert (engine.gates.places, engine.gates.size, engine.gates.unsettled) == (0, 0, {})
        assert not any(shard.unresolved.values())
        assert (shard.beats, shard.asking, shard.finding, shard.barred) == ({}, {}, {}, [])
