"""An executor whose every word is the test's: it accepts what it is sent and says nothing else."""

from __future__ import annotations

from tests.support.engine_world import Node, World
from timeball_server.core.engine import events as ev
from timeball_server.core.engine.identity import ExecutorFacts
from timeball_server.core.ids import Incarnation, NodeId
from timeball_server.core.messages import (
    AckResults,
    CancelRun,
    Capacity,
    Dispatch,
    Fence,
    Finished,
    FromExecutor,
    Inventory,
    InventoryEntry,
    RefusalReason,
    Refused,
    Revoke,
    RevokeAnswer,
    RevokeReply,
    RunOrder,
    RunPhase,
    RunResult,
    Started,
    ToExecutor,
)
from timeball_server.core.model import Failure, Payload


class ScriptedExecutor:
    """Keeps what it was told. `answers_fences` False = fences wait for `answer_fences`."""

    def __init__(
        self,
        world: World,
        name: str = "x1",
        *,
        strength: int = 1,
        slots: int = 10,
        handlers: tuple[str, ...] = ("charge",),
        labels: tuple[tuple[str, str], ...] = (),
        answers_fences: bool = True,
        caps: tuple[tuple[str, int], ...] = (),
    ) -> None:
        self.world = world
        self.facts = ExecutorFacts(
            node=NodeId(name),
            incarnation=Incarnation(world.next_number()),
            strength=strength,
            slots=slots,
            labels=labels,
            handlers=handlers,
            caps=caps,
        )
        self.answers_fences = answers_fences
        self.heard: list[ToExecutor] = []
        self.orders: list[RunOrder] = []
        self.revokes: list[tuple[Node, Revoke]] = []
        self.cancels: list[CancelRun] = []
        self.fences: list[tuple[Node, Fence]] = []
        self.acks: list[AckResults] = []
        self.known: dict[str, InventoryEntry] = {}
        self.frozen = False
        world.joined(self)

    @property
    def last(self) -> RunOrder:
        """The newest order."""
        return self.orders[-1]

    @property
    def acknowledged(self) -> list[str]:
        """Tasks whose results were acknowledged, in order."""
        return [run.task_id for ack in self.acks for run, _, _ in ack.runs]

    def hear(self, node: Node, message: ToExecutor) -> None:
        self.heard.append(message)
        match message:
            case Dispatch():
                assert message.incarnation == self.facts.incarnation
                for order in message.orders:
                    self._accept(order)
            case Fence():
                self.fences.append((node, message))
                if self.answers_fences:
                    self.answer_fences()
            case Revoke():
                self.revokes.append((node, message))
            case CancelRun():
                self.cancels.append(message)
            case AckResults():
                self.acks.append(message)

    def _accept(self, order: RunOrder) -> None:
        assert order.due_ms <= self.world.wall_ms, "early"
        self.orders.append(order)
        self.known[str(order.run)] = InventoryEntry(
            run=order.run, shard=order.shard, phase=RunPhase.ACCEPTED
        )

    def stream_opened(self, node: Node) -> None:
        """Nothing to do: the fence follows."""

    def tell(self, message: FromExecutor, *nodes: Node) -> None:
        """Say something to the nodes that are connected."""
        for node in nodes or tuple(self.world.nodes):
            if self.facts.incarnation in node.open:
                node.feed(ev.ExecutorSaid(self.facts.incarnation, message))

    def answer_fences(self) -> None:
        """Answer every fence with all runs of its shards that are known here."""
        fences, self.fences = self.fences, []
        for node, fence in fences:
            shards = {shard for shard, _ in fence.epochs}
            entries = tuple(entry for entry in self.known.values() if entry.shard in shards)
            self.tell(Inventory(fence.number, entries), node)

    def forget(self, order: RunOrder) -> None:
        """The order never came here."""
        self.orders.remove(order)
        del self.known[str(order.run)]

    def starts(self, order: RunOrder) -> None:
        """The handler begins."""
        started_ms = self.world.wall_ms
        self.known[str(order.run)] = InventoryEntry(
            run=order.run, shard=order.shard, phase=RunPhase.RUNNING, started_ms=started_ms
        )
        self.tell(Started(((order.run, started_ms),)))

    def succeeds(self, order: RunOrder, data: bytes = b"1") -> None:
        """The handler returns."""
        self._ends(order, result=Payload(data=data))

    def fails(
        self, order: RunOrder, *, retriable: bool = True, delay_ms: int | None = None
    ) -> None:
        """The handler raises."""
        failure = Failure(
            kind="ConnectionError", message="no", retriable=retriable, delay_ms=delay_ms
        )
        self._ends(order, failure=failure)

    def snoozes(self, order: RunOrder, delay_ms: int) -> None:
        """The handler asks to be called again later."""
        failure = Failure(kind="Snooze", message="later", delay_ms=delay_ms)
        self._ends(order, failure=failure, uncounted=True)

    def interrupts(self, order: RunOrder, *, begun: bool = True) -> None:
        """The executor shuts down."""
        started_ms = self.world.wall_ms if begun else 0
        self._ends(order, interrupted=True, started_ms=started_ms)

    def stops(self, order: RunOrder) -> None:
        """The handler obeys a cancellation."""
        self._ends(order, cancelled=True)

    def ends(self, order: RunOrder, *, failure: Failure, checkpoint: Payload | None = None) -> None:
        """The attempt fails like this."""
        self._ends(order, failure=failure, checkpoint=checkpoint)

    def _ends(self, order: RunOrder, **values: object) -> None:
        now_ms = self.world.wall_ms
        filled = {"started_ms": now_ms, "ended_ms": now_ms, **values}
        result = RunResult(run=order.run, shard=order.shard, **filled)  # type: ignore[arg-type]
        self.known.pop(str(order.run), None)
        self.tell(Finished((result,)))

    def refuses(self, order: RunOrder, reason: RefusalReason, epoch: int | None = None) -> None:
        """The order was not accepted."""
        self.known.pop(str(order.run), None)
        known_epoch = order.epoch if epoch is None else epoch
        self.tell(Refused(((order.run, order.shard),), reason, known_epoch))  # type: ignore[arg-type]

    def answers_revoke(self, answer: RevokeAnswer) -> None:
        """Answer the oldest REVOKE."""
        node, revoke = self.revokes.pop(0)
        if answer in (RevokeAnswer.REVOKED, RevokeAnswer.FINISHED):
            self.known.pop(str(revoke.run), None)
        started = self.world.wall_ms if answer is RevokeAnswer.RUNNING else None
        self.tell(RevokeReply(revoke.run, answer, started), node)

    def says_capacity(
        self, free: int, *, draining: bool = False, full: tuple[str, ...] = ()
    ) -> None:
        """Tell how much room there is."""
        self.tell(Capacity(slots=self.facts.slots, free=free, draining=draining, full=full))

    def vanishes(self) -> None:
        """The session ends."""
        self.world.vanished(self)
