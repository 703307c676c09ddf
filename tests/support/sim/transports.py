"""The owner and executor ports over the simulated network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from timeball.errors import Unavailable

from executor_node.node import ExecutorNode
from scheduler_node.calls import Calls
from tests.support.checker.records import Sent
from tests.support.sim.network import End, Listener, Network
from timeball_server.core.commands import Command, Outcome, Rejected, RejectionReason, WatchTask
from timeball_server.core.messages import (
    AckResults,
    Dispatch,
    Finished,
    FromExecutor,
    Inventory,
    Refused,
    Started,
    StreamHello,
    ToExecutor,
)
from timeball_server.ports.coordination import Member
from timeball_server.ports.owners import Change, OwnerClient, OwnerWatch

OPEN_TIMEOUT_S = 5.0
Wish = tuple[int, WatchTask | None]


class SimOwnerClient:
    """One scheduler node as a coordinator sees it; implements `OwnerClient`."""

    def __init__(
        self,
        network: Network,
        source: tuple[str, str],
        address: str,
        seam: Callable[[Command], Command],
    ) -> None:
        self._network = network
        self._source, self._process = source
        self._address = address
        self._seam = seam

    async def execute(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        """Carry out commands."""
        commands = [self._seam(command) for command in commands]
        names = ",".join(type(command).__name__ for command in commands)
        for command in commands:
            self._network.history.spend(type(command).__name__)

        async def invoke(calls: Calls) -> Sequence[Outcome]:
            try:
                return await calls.execute(commands)
            except Unavailable as error:
                return [Rejected(RejectionReason.NOT_READY, error.message)] * len(commands)

        return await self._network.call(self._source, self._address, names, invoke)

    def watch(self) -> SimOwnerWatch:
        """A push stream."""
        return SimOwnerWatch(self._network, (self._source, self._process), self._address)


class SimOwnerWatch:
    """The coordinator's end of a push stream; implements `OwnerWatch`."""

    def __init__(self, network: Network, me: tuple[str, str], address: str) -> None:
        self._end: End[Sequence[Change], Wish] | None = None
        listener = network.listener(address)
        if listener is not None and not network.is_cut(me[0], listener.node):
            self._end, theirs = network.connect(me, (listener.node, listener.process))
            network.after(network.delay_s(), _serve_watch_at, network, listener, theirs)

    def follow(self, number: int, watched: WatchTask) -> None:
        """Follow a task."""
        if self._end is not None:
            self._end.send((number, watched))

    def drop(self, number: int) -> None:
        """Follow it no longer."""
        if self._end is not None:
            self._end.send((number, None))

    async def changes(self) -> Sequence[Change]:
        """What has changed."""
        news = None if self._end is None else await self._end.receive()
        if news is None:
            raise Unavailable("the push stream broke")
        return news

    async def close(self) -> None:
        """End it."""
        if self._end is not None:
            self._end.close()


def _serve_watch_at(network: Network, listener: Listener, end: End[Wish, Any]) -> None:
    if network.listener_is(listener):
        network.loop.start_in(listener.process, _hear(listener, end))
    else:
        end.close()


async def _hear(listener: Listener, end: End[Wish, Any]) -> None:
    """The scheduler node's side, as its gRPC servicer would run it."""
    calls: Calls = listener.service
    watch = calls.watch()
    telling = asyncio.get_running_loop().create_task(_tell(watch, end))
    while (wish := await end.receive()) is not None:
        number, watched = wish
        if watched is None:
            watch.drop(number)
        else:
            watch.follow(number, watched)
    await watch.close()
    await telling


async def _tell(watch: OwnerWatch, end: End[Wish, Any]) -> None:
    try:
        while True:
            end.send(await watch.changes())
    except Unavailable:
        end.close()


class SimOwnerDialer:
    """Implements `OwnerDialer`."""

    def __init__(
        self, network: Network, source: tuple[str, str], seam: Callable[[Command], Command]
    ) -> None:
        self._network = network
        self._source = source
        self._seam = seam

    def client(self, address: str) -> OwnerClient:
        """The client for an address."""
        return SimOwnerClient(self._network, self._source, address, self._seam)

    async def close(self) -> None:
        """Nothing stays open."""


class SimExecutorStream:
    """The owner's end; implements `ExecutorStream` and writes dispatches down."""

    def __init__(
        self, network: Network, process: str, executor: str, end: End[FromExecutor, ToExecutor]
    ) -> None:
        self._network = network
        self._process = process
        self._executor = executor
        self._end = end

    def send(self, message: ToExecutor) -> None:
        """Queue a message."""
        if isinstance(message, Dispatch):
            self._note(message)
        self._network.history.spend(type(message).__name__)
        self._network.history.trace(self._process, f"-> {_named(message)}")
        self._end.send(message)

    async def receive(self) -> FromExecutor | None:
        """The next message."""
        message = await self._end.receive()
        self._network.history.spend(type(message).__name__)
        self._network.history.trace(self._process, f"<- {_named(message)}")
        return message

    async def close(self) -> None:
        """End the stream."""
        self._end.close()

    def _note(self, message: Dispatch) -> None:
        history = self._network.history
        for order in message.orders:
            history.sent.append(
                Sent(
                    task=order.run.task_id,
                    shard=order.shard,
                    epoch=order.epoch,
                    owner=self._process,
                    at_us=history.now_us(),
                    executor=self._executor,
                )
            )


class SimExecutorDialer:
    """Opens streams in the name of one scheduler process; implements `ExecutorDialer`."""

    def __init__(self, network: Network, node: str, process: str) -> None:
        self._network = network
        self._me = (node, process)

    async def open(self, executor: Member, hello: StreamHello) -> SimExecutorStream:
        """Connect, introduce ourselves and wait for the executor's first words."""
        network = self._network
        listener = network.listener(executor.address)
        if listener is None or network.is_cut(self._me[0], listener.node):
            raise Unavailable("the executor cannot be reached")
        mine, theirs = network.connect(self._me, (listener.node, listener.process))
        network.after(network.delay_s(), self._arrive, listener, hello, theirs)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await mine.news()
        except TimeoutError:
            mine.close()
            raise Unavailable("the executor did not answer") from None
        except BaseException:
            mine.close()
            raise
        if not mine.spoken:
            mine.close()
            raise Unavailable("the executor ended the stream without a word")
        return SimExecutorStream(network, self._me[1], listener.process, mine)

    def _arrive(self, listener: Listener, hello: StreamHello, end: End[Any, Any]) -> None:
        if self._network.listener_is(listener):
            serving = _serve(self._network, listener, hello, end)
            self._network.loop.start_in(listener.process, serving)
        else:
            end.close()


async def _serve(
    network: Network, listener: Listener, hello: StreamHello, end: End[Any, Any]
) -> None:
    """The executor's side of one stream, as its gRPC servicer would run it."""
    node: ExecutorNode = listener.service
    try:
        await node.serve(hello, end)
    except Unavailable as error:
        network.history.trace(listener.process, f"refuses a stream: {error}")
    except asyncio.CancelledError:
        raise
    except Exception as error:
        network.history.problem(listener.process, f"serving a stream failed with {error!r}")
        raise
    finally:
        end.close()


def _named(message: ToExecutor | FromExecutor | None) -> str:
    """A message in a few words."""
    if isinstance(message, Dispatch):
        runs = [(order.run.task_id, *order.run.run, order.epoch) for order in message.orders]
        return f"Dispatch {runs}"
    if isinstance(message, (Started, Refused)):
        return f"{type(message).__name__} {[(run.task_id, *run.run) for run, _ in message.runs]}"
    if isinstance(message, Finished):
        return f"Finished {[(each.run.task_id, *each.run.run) for each in message.results]}"
    if isinstance(message, AckResults):
        return f"AckResults {[(run.task_id, *run.run) for run, _, _ in message.runs]}"
    if isinstance(message, Inventory):
        entries = [(e.run.task_id, *e.run.run, str(e.phase)) for e in message.entries]
        return f"Inventory {message.number} {entries} {message.refused}"
    return str(message)
