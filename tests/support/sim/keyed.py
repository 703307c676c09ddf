"""Clusters whose tasks have keys: what runs of each key is judged from outside, at every start.

Owners, executors and faults are those of every other simulation. The witness counts a handler from
its first line until it returns, is cancelled, or its process dies; a frozen one goes on.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from timeball.context import current
from timeball.registry import Handler

from executor_node.node import ExecutorNode
from tests.support.checker.records import Wish
from tests.support.sim.clients import Client, Wanted
from tests.support.sim.keys import allow
from tests.support.sim.nemesis import Nemesis
from tests.support.sim.profile import Profile
from tests.support.sim.simulation import _silence as silence
from tests.support.sim.world import NodeKind, Seams, World
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run_virtual
from timeball_server.core.model import TaskSpec

KEYS: Final[Mapping[str, int]] = {"one": 1, "three": 3, "five": 5}
SETTLE_MS: Final = 5_000
QUIET_MS: Final = 180_000
HANDLER: Final = "sim.work"


@dataclass(slots=True)
class Witness:
    """What runs now, by key, and how much ever did at once."""

    alive: Callable[[object], bool] = lambda _: True
    running: dict[str, dict[object, object]] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    starts: int = 0
    keys: dict[str, str] = field(default_factory=dict)

    def begins(self, key: str, run: object, where: object) -> None:
        """A handler begins."""
        held = self.running.setdefault(key, {})
        held[run] = where
        self.running[key] = {each: at for each, at in held.items() if self.alive(at)}
        self.starts += 1
        self.most[key] = max(self.most.get(key, 0), len(self.running[key]))

    def ends(self, key: str, run: object) -> None:
        """A handler is over, however."""
        self.running.get(key, {}).pop(run, None)


class KeyedClient(Client):
    """A client all of whose tasks have a key, and who tells the witness which."""

    def __init__(self, world: World, name: str, keys: dict[str, str]) -> None:
        super().__init__(world, name)
        self.keys = keys

    def task(self, mark: str, due_ms: int | None, delay_ms: int) -> tuple[TaskSpec, Wish]:
        """As usual, with a key."""
        spec, wish = super().task(mark, due_ms, delay_ms)
        return replace(spec, concurrency_key=self._strange.choice(list(KEYS))), wish

    def _with_key(self, spec: TaskSpec, wish: Wish) -> tuple[TaskSpec, Wish]:
        """They have theirs already."""
        return spec, wish

    def _wanted(self) -> Wanted:
        wanted = super()._wanted()
        self.keys[wanted.task_id] = f"{self.namespace}/{wanted.spec.concurrency_key}"
        return wanted


def witnessed(witness: Witness) -> type[ExecutorNode]:
    """Executors whose handlers are seen."""

    class Witnessed(ExecutorNode):
        def __init__(self, *, handlers: Mapping[str, Handler], **others: Any) -> None:
            work = handlers[HANDLER].function

            async def seen(**said: Any) -> Any:
                context = current()
                key = witness.keys.get(context.task_id, "of a repetition under another id")
                run = (context.task_id, context.attempt, context.epoch)
                witness.begins(key, run, self)
                try:
                    return await work(context=context, **said)
                finally:
                    witness.ends(key, run)

            parameters = inspect.signature(work).parameters
            kept = [each for name, each in parameters.items() if name != "context"]
            named = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in kept]
            told: Any = seen
            told.__signature__ = inspect.Signature(named)
            told.__annotations__ = {each.name: each.annotation for each in named}
            super().__init__(handlers={HANDLER: Handler(HANDLER, told)}, **others)

    return Witnessed


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedReport:
    """What one seed has shown. `left` are tasks that had not ended when all was quiet."""

    most: Mapping[str, int]
    starts: int
    created: int
    left: tuple[str, ...]
    problems: tuple[str, ...]
    faults: int


def simulate_keys(seed: int, profile: Profile) -> KeyedReport:
    """Run one seed from its beginning to its verdict."""
    silence()
    witness = Witness()

    async def main(loop: VirtualLoop) -> KeyedReport:
        world = World(loop, seed, profile, Seams(executor=witnessed(witness)))
        witness.alive = lambda where: any(
            process.executor is where and process.alive for process in world.processes.values()
        )
        await allow(world.database, KEYS)
        return await _live(world, witness)

    return run_virtual(main, seed, limit_s=7_200)


async def _live(world: World, witness: Witness) -> KeyedReport:
    clock = VirtualClock(world.loop)
    for number in (1, 2):
        world.start(f"coordinator-{number}", NodeKind.COORDINATOR)
        world.start(f"scheduler-{number}", NodeKind.SCHEDULER)
    for number in (1, 2, 3):
        world.start(f"executor-{number}", NodeKind.EXECUTOR)
    await clock.sleep_ms(SETTLE_MS)
    nemesis = Nemesis(world)
    nemesis.start()
    clients = [KeyedClient(world, f"client-{number}", witness.keys) for number in range(6)]
    until_us = world.loop.now_us + round(world.profile.work_s * 1e6)
    share = -(-world.profile.tasks // len(clients))
    await asyncio.gather(*(client.run(share, until_us) for client in clients))
    await nemesis.stop()
    world.history.healed_us = world.loop.now_us
    await clock.sleep_ms(QUIET_MS)
    held = [
        task
        for process in world.processes.values()
        if process.service is not None
        for shard in process.service.shell.engine.shards.values()
        for task in shard.tasks
    ]
    world.history.is_open = False
    return KeyedReport(
        most=dict(witness.most),
        starts=witness.starts,
        created=sum(len(client.tasks) for client in clients),
        left=tuple(held),
        problems=tuple(world.history.problems),
        faults=sum(world.history.faults.values()),
    )
