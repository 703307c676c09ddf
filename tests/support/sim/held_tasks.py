"""Tasks that are made to be held back, and what the judge is told of each of them."""

from __future__ import annotations

import random
from typing import Final

import msgspec

from tests.support.checker.questions import Nature
from tests.support.checker.records import Mode, Wish
from tests.support.sim.clients import Client, Wanted, addressed
from tests.support.sim.desks import MOST, PACE_MS, PACED, Labels
from tests.support.sim.handlers import WORK
from tests.support.sim.world import World
from tests.support.virtual_loop import START_WALL_MS, since_start_us
from timeball_server.core.minting import CreateTime, fresh_request_id
from timeball_server.core.model import DeliveryMode, Payload, RetryPolicy, TaskSpec, Timeouts

BACKOFF_MS: Final = 800


class Maker:
    """Makes the tasks of one client."""

    def __init__(self, world: World, client: Client, rng: random.Random) -> None:
        self.client = client
        self._world = world
        self._rng = rng

    def wanted(
        self,
        *,
        due_s: float,
        handler: str = WORK,
        fails: int = 0,
        work_ms: int = 50,
        labels: Labels = (),
        key: str = "",
        priority: int = 4,
        start_by_ms: int | None = None,
        ill: str = "",
        crowd: str = "",
        slow: str = "",
        slow_ms: int = 0,
        mode: DeliveryMode = DeliveryMode.AT_LEAST_ONCE,
    ) -> Wanted:
        """A task that is due so many seconds from now."""
        now_ms = START_WALL_MS + self._world.loop.now_us // 1_000
        request_id = fresh_request_id(now_ms, self._rng.randbytes(10))
        mark, due_ms = request_id.hex(), now_ms + round(due_s * 1_000)
        namespace, time = self.client.namespace, CreateTime(run_ms=due_ms, delay_ms=0)
        facts = {"mark": mark, "fails": fails, "work_ms": work_ms, "fatal": False, "poison": 0}
        whom = {"ill": ill, "slow": slow, "slow_ms": slow_ms}
        spec = TaskSpec(
            namespace=namespace,
            owner=self.client.name,
            handler=handler,
            payload=Payload(data=msgspec.json.encode(facts | whom)),
            priority=priority,
            selector=labels,
            mode=mode,
            timeouts=Timeouts(schedule_to_start_ms=start_by_ms),
            concurrency_key=key,
            retry=RetryPolicy(
                max_attempts=9, initial_delay_ms=BACKOFF_MS, coefficient=1.0, jitter=0.0
            ),
        )
        due_us = since_start_us(due_ms)
        wish = Wish(
            mode=Mode(mode),
            due_us=due_us,
            max_attempts=9,
            payload=mark,
            key=key and f"{namespace}/{key}",
            most=MOST.get(key, 0),
        )
        wanted = addressed(spec, wish, request_id, time, now_ms)
        self._world.history.natures[wanted.task_id] = Nature(
            task=wanted.task_id,
            handler=handler,
            labels=labels,
            backoff_us=BACKOFF_MS * 1_000,
            pace_us=PACE_MS * 1_000 if key == PACED else 0,
            start_by_us=None if start_by_ms is None else due_us + (start_by_ms + 1) * 1_000,
            crowd=crowd,
        )
        return wanted
