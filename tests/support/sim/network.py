"""A network between processes: delay, loss, cut links, broken streams, calls with unknown ends.

Everything that travels is carried by the loop in nobody's name, so that freezing a process holds
up neither its peers nor what it had sent. Order is kept on a stream, never between streams.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from timeball.errors import OutcomeUnknown, TimeballError, Unavailable

from tests.support.sim.gate import Gate
from tests.support.sim.history import History
from tests.support.sim.profile import Profile
from tests.support.virtual_loop import VirtualClock, VirtualLoop

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")
PAUSED_SHARE = 0.5
_NOBODY = contextvars.Context()


@dataclass(frozen=True, slots=True)
class Listener:
    """Who answers at an address."""

    node: str
    process: str
    service: Any


class Network:
    """Carries calls and streams."""

    def __init__(
        self, loop: VirtualLoop, rng: random.Random, profile: Profile, history: History
    ) -> None:
        self.loop = loop
        self.rng = rng
        self._draw = rng.random
        self.profile = profile
        self.history = history
        self._listeners: dict[str, Listener] = {}
        self._cut: dict[tuple[str, str], int] = {}
        self._calls: dict[str, dict[asyncio.Future[Any], None]] = {}
        self._connections: dict[Connection, None] = {}
        self.gate = Gate()
        self.after = partial(loop.call_later, context=_NOBODY)
        """Do something after so many seconds, in nobody's name."""

    # Topology -----------------------------------------------------------------------------------

    def listen(self, address: str, listener: Listener) -> None:
        """From now on this process answers at the address."""
        self._listeners[address] = listener

    def listener(self, address: str) -> Listener | None:
        """Who answers at an address now."""
        return self._listeners.get(address)

    def listener_is(self, listener: Listener) -> bool:
        """Whether this listener still stands."""
        return any(each is listener for each in self._listeners.values())

    def died(self, process: str) -> None:
        """A process is gone: its peers learn that their connections broke, sooner or later."""
        gone = [a for a, each in self._listeners.items() if each.process == process]
        for address in gone:
            del self._listeners[address]
        for answer in self._calls.pop(process, {}):
            self.after(self.break_s(), _fail, answer, OutcomeUnknown("the peer died"))
        for connection in [c for c in self._connections if process in c.processes]:
            connection.snap()

    def cut(self, ways: Iterable[tuple[str, str]]) -> None:
        """Let nothing pass on these ways, each from one node to another."""
        for way in ways:
            self._cut[way] = self._cut.get(way, 0) + 1

    def heal(self, ways: Iterable[tuple[str, str]]) -> None:
        """Undo one cut of each of these ways."""
        for way in ways:
            self._cut[way] -= 1

    def is_cut(self, source: str, target: str) -> bool:
        """Whether nothing passes from one node to another."""
        return self._cut.get((source, target), 0) > 0

    def snap_one(self) -> bool:
        """Break a random stream; False if there is none."""
        if not self._connections:
            return False
        self.rng.choice(list(self._connections)).snap()
        return True

    def forget(self, connection: Connection) -> None:
        """A connection is over on both sides."""
        self._connections.pop(connection, None)

    # Time ---------------------------------------------------------------------------------------

    def delay_s(self) -> float:
        """How long one way takes."""
        draw = self._draw
        longest_s = self.profile.slow_s if draw() < self.profile.slow_share else 0.002
        return 0.0001 + (longest_s - 0.0001) * draw()

    def break_s(self) -> float:
        """How long it takes to learn that a connection broke."""
        return self.rng.uniform(0.001, 3.0)

    def loses(self) -> bool:
        """Whether this message is lost, and its connection with it."""
        return self._draw() < self.profile.loss_share

    async def pause(self, process: str) -> None:
        """Freeze a process here and now, half of the times, perhaps for longer than its session."""
        if self.rng.random() < PAUSED_SHARE and not self.loop.is_held(process):
            self.history.strike("aimed freeze", process)
            self.loop.freeze(process)
            self.after(self.rng.uniform(1.0, 15.0), self.loop.thaw, process)
            await VirtualClock(self.loop).sleep_ms(0)

    # Calls --------------------------------------------------------------------------------------

    async def call(
        self,
        source: str,
        address: str,
        name: str,
        invoke: Callable[[Any], Coroutine[Any, Any, T]],
    ) -> T:
        """One request and its answer.

        Raises:
            Unavailable: the request was not received.
            OutcomeUnknown: it may have been.
        """
        answer: asyncio.Future[T] = self.loop.create_future()
        self.after(self.delay_s(), self._arrive, source, address, name, invoke, answer)
        try:
            return await answer
        finally:
            del answer  # its error leads back to this frame, and only a collector undoes that

    def _arrive(
        self,
        source: str,
        address: str,
        name: str,
        invoke: Callable[[Any], Coroutine[Any, Any, T]],
        answer: asyncio.Future[T],
    ) -> None:
        listener = self._listeners.get(address)
        if listener is None:
            self.after(self.delay_s(), _fail, answer, Unavailable("nobody listens there"))
        elif self.is_cut(source, listener.node):
            refused = self.rng.random() < 0.5
            error = Unavailable("no route") if refused else OutcomeUnknown("connection broke")
            self.after(self.break_s(), _fail, answer, error)
        elif self.loses():
            self.history.fault("request lost", source, name)
            late = self.rng.random() < self.profile.late_share
            self.after(self.break_s(), _fail, answer, OutcomeUnknown("the connection broke"))
            if late:
                delay_s = self.rng.uniform(0.01, 2.0)
                self.after(delay_s, self._run, source, address, name, invoke, answer)
        else:
            self._run(source, address, name, invoke, answer)
            if self.rng.random() < self.profile.twice_share:
                self.history.fault("request twice", source, name)
                delay_s = self.rng.uniform(0.001, 2.0)
                nobody: asyncio.Future[T] = self.loop.create_future()
                nobody.add_done_callback(_look)
                self.after(delay_s, self._run, source, address, name, invoke, nobody)

    def _run(
        self,
        source: str,
        address: str,
        name: str,
        invoke: Callable[[Any], Coroutine[Any, Any, T]],
        answer: asyncio.Future[T],
    ) -> None:
        listener = self._listeners.get(address)
        if listener is None:
            return
        self.history.trace(listener.process, f"<- {source} {name}")
        task = self.loop.start_in(listener.process, invoke(listener.service))
        calls = self._calls.setdefault(listener.process, {})
        calls[answer] = None

        def done(task: asyncio.Task[T]) -> None:
            calls.pop(answer, None)
            self._answer(source, listener, name, task, answer)

        task.add_done_callback(done, context=_NOBODY)

    def _answer(
        self,
        source: str,
        listener: Listener,
        name: str,
        task: asyncio.Task[T],
        answer: asyncio.Future[T],
    ) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, TimeballError):
            self.history.problem(listener.process, f"{name} failed with {error!r}")
        if task.cancelled() or self.is_cut(listener.node, source):
            self.after(self.break_s(), _fail, answer, OutcomeUnknown("the connection broke"))
        elif self.loses():
            self.history.fault("answer lost", listener.process, name)
            self.after(self.break_s(), _fail, answer, OutcomeUnknown("the connection broke"))
        elif error is not None:
            self.after(self.delay_s(), _fail, answer, error)
        else:
            self.after(self.delay_s(), _succeed, answer, task.result())

    # Streams ------------------------------------------------------------------------------------

    def connect(
        self, one: tuple[str, str], other: tuple[str, str]
    ) -> tuple[End[Any, Any], End[Any, Any]]:
        """Two ends of a stream between two (node, process)."""
        connection = Connection(self, one, other)
        self._connections[connection] = None
        return connection.ends


class Connection:
    """A stream between two processes."""

    def __init__(self, network: Network, one: tuple[str, str], other: tuple[str, str]) -> None:
        self.network = network
        self.nodes = (one[0], other[0])
        self.processes = (one[1], other[1])
        self.snapped = False
        left, right = End[Any, Any](self, *one), End[Any, Any](self, *other)
        left.peer, right.peer = right, left
        self.ends = (left, right)

    def snap(self) -> None:
        """Break: nothing is sent any more, and each side learns of it in its own time."""
        if self.snapped:
            return
        self.snapped = True
        self.network.forget(self)
        self.network.history.trace("network", f"stream {self.processes} broke")
        keep = self.network.rng.random() < 0.5
        for end in self.ends:
            end.deaf = not keep
            self.network.after(self.network.break_s(), end.end)


class End(Generic[In, Out]):
    """One end of a stream: what `ExecutorStream` and `ExecutorServer` share."""

    def __init__(self, connection: Connection, node: str, process: str) -> None:
        self.node = node
        self.peer: End[Out, In] = self  # type: ignore[assignment]
        self.deaf = False
        self._connection = connection
        self._process = process
        self._inbox: deque[In] = deque()
        self._news: asyncio.Future[None] | None = None
        self._over = False
        self._arrives = 0.0

    def send(self, message: Out) -> None:
        """Put a message on its way."""
        connection = self._connection
        if self._over or connection.snapped:
            return
        self._in_order(self.peer.take, message)

    async def receive(self) -> In | None:
        """The next message, None at the end."""
        while not self._inbox:
            if self._over:
                return None
            await self.news()
        return self._inbox.popleft()

    async def news(self) -> None:
        """Wait for a message or the end, without taking it."""
        if not self._inbox and not self._over:
            self._news = self._connection.network.loop.create_future()
            await self._news

    @property
    def spoken(self) -> bool:
        """Whether a message can be taken."""
        return bool(self._inbox)

    def close(self) -> None:
        """End this side at once; the other one learns it in order."""
        if not self._over:
            self.end()
            if not self._connection.snapped:
                self._in_order(self.peer.end)

    def take(self, message: In) -> None:
        """A message arrives."""
        connection = self._connection
        network = connection.network
        if self._over or self.deaf:
            return
        if network.is_cut(self.peer.node, self.node) or network.loses():
            network.history.fault("stream lost", self._process)
            connection.snap()
            self.deaf = True
            return
        self._inbox.append(message)
        self._wake()

    def end(self) -> None:
        """Nothing comes any more."""
        self._over = True
        self._connection.network.forget(self._connection)
        self._wake()

    def _in_order(self, call: Callable[..., object], *arguments: object) -> None:
        network = self._connection.network
        if self._process in network.gate.stuck:
            network.gate.messages.append(lambda: call(*arguments))
            return
        now = network.loop.time()
        self._arrives = max(self._arrives + 0.000_001, now + network.delay_s())
        network.after(self._arrives - now, call, *arguments)

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


def _look(answer: asyncio.Future[Any]) -> None:
    """Nobody waits for the second answer to one request."""
    if not answer.cancelled():
        answer.exception()


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


def _succeed(answer: asyncio.Future[T], value: T) -> None:
    if not answer.done():
        answer.set_result(value)
