"""A real executor state in the engine's world: it hears and answers at once, runs end by hand.

Several owners may send to it. It counts what runs at once, by handler.
"""

from __future__ import annotations

from collections import Counter

from tests.support.engine_world import Node, World
from timeball_server.core import executor_runs as xr
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.executor_state import ExecutorState
from timeball_server.core.ids import Incarnation, NodeId
from timeball_server.core.messages import (
    Refused,
    RunOrder,
    RunResult,
    StreamHello,
    ToExecutor,
)
from timeball_server.core.model import Payload


class RealExecutor:
    """`most` is the largest number of runs at once, by handler, that ever was."""

    def __init__(
        self,
        world: World,
        name: str = "x1",
        *,
        slots: int = 10,
        handlers: tuple[str, ...] = ("charge",),
        caps: tuple[tuple[str, int], ...] = (),
    ) -> None:
        self.world = world
        self.facts = ExecutorFacts(
            node=NodeId(name),
            incarnation=Incarnation(world.next_number()),
            strength=1,
            slots=slots,
            labels=(),
            handlers=handlers,
            caps=caps,
        )
        self.state = ExecutorState(
            incarnation=self.facts.incarnation, slots=slots, handlers=handlers, caps=dict(caps)
        )
        self.running: list[RunOrder] = []
        self.most: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._numbers: Counter[str] = Counter()
        world.joined(self)

    def stream_opened(self, node: Node) -> None:
        """A new stream of this node, with the next number."""
        self._numbers[node.engine.node] += 1
        key = self._key(node)
        hello = StreamHello(
            owner=key.owner,
            owner_incarnation=key.incarnation,
            number=key.number,
            executor_incarnation=self.facts.incarnation,
        )
        self._perform(self.state.open_stream(hello))

    def hear(self, node: Node, message: ToExecutor) -> None:
        """Take a message and act on it."""
        self._perform(self.state.receive(self._key(node), message))
        self._perform(self.state.flush())

    def ends(self, order: RunOrder) -> None:
        """A handler returns."""
        self.running.remove(order)
        now_ms = self.world.wall_ms
        self.state.ended(
            RunResult(
                run=order.run,
                shard=order.shard,
                started_ms=now_ms,
                ended_ms=now_ms,
                result=Payload(data=b"1"),
            )
        )
        self._perform(self.state.flush())

    def _key(self, node: Node) -> xr.StreamKey:
        name = node.engine.node
        return xr.StreamKey(NodeId(name), Incarnation(1), self._numbers[name])

    def _perform(self, effects: list[xr.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, xr.StartRuns):
                for order in effect.orders:
                    self._start(order)
            elif isinstance(effect, xr.Send):
                self._say(effect)

    def _start(self, order: RunOrder) -> None:
        self.running.append(order)
        handler = order.handler
        count = sum(each.handler == handler for each in self.running)
        self.most[handler] = max(self.most[handler], count)
        self.state.started(order.run, self.world.wall_ms)

    def _say(self, effect: xr.Send) -> None:
        if isinstance(effect.message, Refused):
            self.refused[effect.message.reason] += len(effect.message.runs)
        for node in self.world.nodes:
            if self._key(node) == effect.stream and self.facts.incarnation in node.open:
                node.feed(ev.ExecutorSaid(self.facts.incarnation, effect.message))
