"""Who asks why tasks do not run: about those of others, and about some made to be held back.

Draws from a source of its own. Whoever asks learns nothing that others use.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from typing import Final

from timeball.errors import (
    NewerVersionNeeded,
    OutcomeUnknown,
    ResourceExhausted,
    TaskNotFound,
    TimeballError,
    Unavailable,
)

from coordinator.node import CoordinatorNode
from coordinator.requests import Caller
from tests.support.checker.questions import Asked, Because
from tests.support.sim.clients import CALL_S, COORDINATORS
from tests.support.sim.history import Op
from tests.support.sim.keys import NAMESPACES
from tests.support.sim.world import World
from tests.support.virtual_loop import START_WALL_MS, VirtualClock, known_since_start_us
from timeball_server.core.explanation import Explanation, Reason
from timeball_server.core.ids import TaskId

NO_ANSWER: Final = (OutcomeUnknown, TimeoutError, Unavailable, ResourceExhausted)
NEAR_S: Final = 0.02
"""How close to the due instant many questions come."""
STRANGER_SHARE: Final = 0.05


class Asker:
    """Asks, and writes down what it is told."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self._world = world
        self._rng = random.Random(f"{world.seed} {name} asks")
        self._clock = VirtualClock(world.loop)

    async def plan(self, asks: int, until_us: int) -> None:
        """Ask so often about tasks that others have made, of handlers that all executors have."""
        for left in range(asks, 0, -1):
            gap_s = max(0.0, (until_us - self._world.loop.now_us) / 1e6) / left
            await self.pause(self._rng.uniform(0, 1.6 * gap_s))
            ops = self._world.history.ops
            found = [self._rng.choice(ops) for _ in range(10)] if ops else []
            made = [op for op in found if op.is_creation and op.wish and not op.wish.bounds]
            if made:
                self._world.loop.create_task(self._about(made[0]))

    async def _about(self, op: Op) -> None:
        """Now, or as it falls due; sometimes as a stranger."""
        rng, now_ms = self._rng, START_WALL_MS + self._world.loop.now_us / 1_000
        task_id, namespace = op.task_id, op.namespace
        if op.due_ms is not None and rng.random() < 0.5:
            await self.pause((op.due_ms - now_ms) / 1_000 + rng.gauss(0, NEAR_S))
        if rng.random() < STRANGER_SHARE:
            (namespace,) = (each for each in NAMESPACES if each != namespace)
            await self.ask(task_id, namespace, foreign=True)
        else:
            await self.ask(task_id, namespace)

    async def ask(self, task_id: str, namespace: str, *, foreign: bool = False) -> Asked:
        """Ask once why a task does not run."""
        history, inv_us = self._world.history, self._world.loop.now_us
        caller, reason = Caller(namespace, self.name), ""

        async def explain(node: CoordinatorNode) -> Explanation:
            return await node.api.explain(caller, TaskId(task_id), 8_000)

        address = self._rng.choice(COORDINATORS)
        because: tuple[Because, ...] = ()
        try:
            async with asyncio.timeout(CALL_S):
                answer = await self._world.network.call(
                    self.name, address, f"explain {task_id}", explain
                )
            because = tuple(map(_because, answer.reasons))
        except NO_ANSWER as error:
            reason = error.reason if isinstance(error, TimeballError) else "TIMEOUT"
            if isinstance(error, NewerVersionNeeded):
                history.problem(self.name, f"{task_id} is not explained: {error}")
        except TaskNotFound as error:
            reason = error.reason
        except TimeballError as error:
            reason = error.reason
            history.problem(self.name, f"explain {task_id}: unexpected {reason}: {error}")
        asked = Asked(
            client=self.name,
            task=task_id,
            inv_us=inv_us,
            ret_us=self._world.loop.now_us,
            reason=reason,
            because=because,
            foreign=foreign,
        )
        if history.is_open:
            history.asked.append(asked)
            causes = " ".join(each.cause for each in because)
            history.trace(self.name, f"explain {task_id} {reason}{causes}")
        return asked

    def pause(self, seconds: float) -> Awaitable[None]:
        """Do nothing for so long."""
        return self._clock.sleep_ms(max(0.0, seconds) * 1_000)


def _because(reason: Reason) -> Because:
    return Because(
        cause=str(reason.cause),
        since_us=known_since_start_us(reason.since_ms),
        next_us=known_since_start_us(reason.next_check_ms),
        details=reason.details,
    )
