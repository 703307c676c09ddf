"""Where a wire is listened to, and what an aim does that comes true: swallow or pass, kill, tell.

An aim names a point between two steps of the product and a victim. A tap sees the bytes of one
connection before they are passed on; what it returns decides whether they are.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from tests.support.chaos import frames
from tests.support.polls import wall_ms

CREATES: Final = frozenset({"CREATED", "BORN_CLAIMED"})
CLAIMS: Final = frozenset({"CLAIMED", "BORN_CLAIMED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Kill `pid` at a point.

    `wires`: names of the wires that count. `skip`: so many chances are let pass. `delay_ms`: how
    long after the point the signal is sent; only points that pass their bytes on have one.
    """

    number: int
    point: str
    pid: int
    wires: tuple[str, ...]
    owner: str = ""
    skip: int = 0
    delay_ms: float = 0.0


@dataclass(slots=True)
class Shot:
    """What was seen of one aim, as it is told; times are wall-clock milliseconds."""

    number: int
    point: str
    facts: dict[str, Any] = field(default_factory=dict)


class Gun:
    """Holds one aim at a time. Fires once: from then on the wires of the aim pass nothing."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self.aim: Aim | None = None
        self.tracked: set[str] = set()
        self._tell = tell
        self._skipped = 0
        self._shot: Shot | None = None

    def arm(self, aim: Aim) -> None:
        """Wait for its point."""
        self.aim, self._shot, self._skipped = aim, None, 0
        self.tracked = set()

    def disarm(self) -> None:
        """Give up waiting."""
        self.aim = None

    def wants(self, wire: str, *points: str) -> bool:
        """Whether this wire is listened to for one of these points now."""
        aim = self.aim
        return aim is not None and self._shot is None and aim.point in points and wire in aim.wires

    def take(self) -> bool:
        """Whether this chance is to be used; the first ones are let pass."""
        aim = self.aim
        if aim is None or self._skipped < aim.skip:
            self._skipped += 1
            return False
        return True

    def fire(self, **facts: Any) -> None:
        """The point is reached: kill now, or a moment later."""
        aim = self.aim
        if aim is None or self._shot is not None:
            raise AssertionError("a gun fires once for each aim")
        self._shot = Shot(aim.number, aim.point, {"at_ms": wall_ms(), **facts})
        if aim.delay_ms:
            loop = asyncio.get_running_loop()
            loop.call_later(aim.delay_ms / 1_000, self._kill, aim, self._shot)
        else:
            self._kill(aim, self._shot)

    def saw_result(self, tasks: Sequence[str]) -> None:
        """A result passed before the kill."""
        if self._shot is not None and self.tracked:
            reported = self.tracked.intersection(tasks)
            self._shot.facts.setdefault("reported", []).extend(sorted(reported))

    def _kill(self, aim: Aim, shot: Shot) -> None:
        try:
            os.kill(aim.pid, signal.SIGKILL)
            shot.facts["killed_ms"] = wall_ms()
        except ProcessLookupError:
            shot.facts["killed_ms"] = None
        self.aim = None
        self._tell({"number": shot.number, "point": shot.point, **shot.facts})


class Tap(Protocol):
    """Listens to one connection."""

    def request(self, data: bytes) -> bool:
        """Bytes of the client; False = they are not passed on."""
        ...

    def answer(self, data: bytes) -> bool:
        """Bytes of the server; False = they are not passed on."""
        ...


@dataclass(slots=True)
class _Asked:
    """A request with rows that the aim is about."""

    events: list[frames.Event]
    asked_ms: int


class CassandraTap:
    """Between a scheduler node and its store: what is durable, and whether the node knows."""

    DURABLE: Final = ("commit-durable", "claim-durable")
    TOLD: Final = ("commit-told", "claim-told", "leader-commit")

    def __init__(self, wire: str, gun: Gun) -> None:
        self._wire = wire
        self._gun = gun
        self._client = frames.CqlReader(is_client=True)
        self._server = frames.CqlReader(is_client=False)
        self._asked: dict[int, _Asked] = {}

    def request(self, data: bytes) -> bool:
        """Remember which answer would make rows of the aim's kind durable."""
        envelopes = self._client.feed(data)
        if self._gun.wants(self._wire, *self.DURABLE, *self.TOLD):
            for envelope in envelopes:
                self._look(envelope)
        return True

    def _look(self, envelope: frames.Envelope) -> None:
        aim = self._gun.aim
        kinds = CLAIMS if aim is not None and aim.point.startswith("claim") else CREATES
        events = [event for event in frames.events_in(envelope.body) if event.kind in kinds]
        if events:
            self._asked[envelope.stream] = _Asked(events, wall_ms())

    def answer(self, data: bytes) -> bool:
        """Fire when the answer comes that the aim waits for."""
        passed = True
        for envelope in self._server.feed(data):
            asked = self._asked.pop(envelope.stream, None)
            if asked is not None and envelope.opcode == frames.RESULT and passed:
                passed = self._durable(asked)
        return passed

    def _durable(self, asked: _Asked) -> bool:
        gun = self._gun
        if not gun.wants(self._wire, *self.DURABLE, *self.TOLD) or not gun.take():
            return True
        passes = gun.wants(self._wire, *self.TOLD)
        gun.fire(
            tasks=[[each.task_id, each.epoch, each.kind] for each in asked.events],
            asked_ms=asked.asked_ms,
            durable_ms=wall_ms(),
            passed=passes,
        )
        return passes


class ExecutorTap:
    """Between scheduler nodes and one executor: orders one way, results the other."""

    def __init__(self, wire: str, gun: Gun) -> None:
        self._wire = wire
        self._gun = gun
        self._owner: str | None = None

    def request(self, data: bytes) -> bool:
        """Fire at an order; an order that is swallowed is the last thing of its node."""
        self._owner = self._owner or frames.owner_in(data)
        gun = self._gun
        if not gun.wants(self._wire, "order-swallowed", "order-passed", "run-accepted"):
            return True
        aim = gun.aim
        of_victim = aim is not None and aim.owner in ("", self._owner)
        orders = frames.orders_in(data) if of_victim else []
        if not orders or not gun.take():
            return True
        passes = aim is not None and aim.point != "order-swallowed"
        gun.tracked = set(orders)
        gun.fire(tasks=orders, owner=self._owner, passed=passes, wire=self._wire)
        return passes

    def answer(self, data: bytes) -> bool:
        """Fire at a result, and note which results passed before a delayed kill."""
        gun = self._gun
        if gun.tracked:
            gun.saw_result(frames.results_in(data))
        if not gun.wants(self._wire, "result-swallowed"):
            return True
        results = frames.results_in(data)
        if not results or not gun.take():
            return True
        gun.fire(tasks=results, owner=self._owner, passed=False, wire=self._wire)
        return False


class ZooKeeperTap:
    """Between a coordinator and ZooKeeper: the assignment on its way, and its answer."""

    def __init__(self, wire: str, gun: Gun) -> None:
        self._wire = wire
        self._gun = gun
        self._client = frames.ZooKeeperReader()
        self._server = frames.ZooKeeperReader()
        self._asked: dict[int, int] = {}

    def request(self, data: bytes) -> bool:
        """Fire before an assignment leaves, or remember it."""
        passed = True
        for packet in self._client.feed(data):
            xid = frames.assignment_xid(packet)
            if xid is None or not passed:
                continue
            if self._gun.wants(self._wire, "assignment-unsent") and self._gun.take():
                self._gun.fire(xid=xid, passed=False)
                passed = False
            elif self._gun.wants(self._wire, "assignment-durable") and self._gun.take():
                self._asked[xid] = wall_ms()
        return passed

    def answer(self, data: bytes) -> bool:
        """Fire when the assignment is durable and its writer does not know."""
        passed = True
        for packet in self._server.feed(data):
            said = frames.answer_of(packet)
            asked_ms = None if said is None else self._asked.pop(said[0], None)
            if said is None or asked_ms is None or said[2] or not passed:
                continue
            if self._gun.wants(self._wire, "assignment-durable"):
                facts = {"xid": said[0], "zxid": said[1], "asked_ms": asked_ms}
                self._gun.fire(**facts, durable_ms=wall_ms(), passed=False)
                passed = False
        return passed


class DeafTap:
    """Listens to nothing."""

    def request(self, data: bytes) -> bool:
        """Pass."""
        return True

    def answer(self, data: bytes) -> bool:
        """Pass."""
        return True


TAPS: Final[dict[str, Callable[[str, Gun], Tap]]] = {
    "cassandra": CassandraTap,
    "executor": ExecutorTap,
    "zookeeper": ZooKeeperTap,
    "deaf": lambda wire, gun: DeafTap(),
}
