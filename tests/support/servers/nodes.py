"""What every server of the tests can do, whatever it speaks, alone and as one of a cluster.

A node is ready when it answers in its own protocol, never because its process lives or its log says
so. Calls that wait block; coroutines hand them to `asyncio.to_thread`.
"""

from __future__ import annotations

import contextlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

from tests.support.polls import until
from tests.support.servers.addresses import Address
from tests.support.servers.process import ServerError, ServerProcess

READY_DEADLINE_S = 300.0
"""Long: on a machine ten times too busy one start took 130 s. Only ends what would hang."""


class ServerNode(ABC):
    """One server: ours, with a process, or an existing one, which can only be asked."""

    def __init__(self, *, address: Address, process: ServerProcess | None = None) -> None:
        self.address = address
        self._process = process

    @property
    def name(self) -> str:
        """What its log and its errors call it."""
        return self._process.name if self._process else str(self.address)

    @property
    def is_ours(self) -> bool:
        """Whether it may be stopped, killed and frozen."""
        return self._process is not None

    @property
    def process(self) -> ServerProcess:
        """Its process; raises ServerError for an existing server."""
        if self._process is None:
            raise ServerError(
                f"{self.name} was there before the tests: only servers the tests started may be "
                "stopped; ask for one by a fixture named `_own` or `_three`"
            )
        return self._process

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves clients now, by its own protocol; never raises because it does not."""

    def start(self) -> None:
        """Starts it on the data it has; returns before it is ready."""
        self.process.start()

    def wait_ready(self, deadline_s: float = READY_DEADLINE_S) -> None:
        """Returns when it answers; raises ServerError with its log when it ends or takes longer."""
        try:
            until(self._is_ready, f"{self.name} answers", deadline_s)
        except AssertionError as late:
            if self._process is None:
                raise ServerError(f"{self.name} does not answer; is it running?") from late
            raise self._process.error(f"does not answer within {deadline_s} s") from late

    def restart(self) -> None:
        """Ends it in order when it runs, starts it on the same data and waits until it answers."""
        self.process.stop()
        self.start()
        self.wait_ready()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.process.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.thaw()

    @contextlib.contextmanager
    def killed(self) -> Iterator[None]:
        """Killed inside the block, ready again after it."""
        self.kill()
        try:
            yield
        finally:
            self.start()
            self.wait_ready()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Frozen inside the block, ready again after it."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()
            self.wait_ready()

    def _is_ready(self) -> bool:
        if self._process is not None and not self._process.is_running:
            raise self._process.error("ended by itself")
        return self.answers()


Node = TypeVar("Node", bound=ServerNode)


class ServerCluster(ABC, Generic[Node]):
    """Servers that belong together, and the folder their data is in when they are ours."""

    def __init__(self, *, nodes: tuple[Node, ...], folder: Path | None = None) -> None:
        self.nodes = nodes
        self._folder = folder

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where clients connect to."""
        return tuple(node.address for node in self.nodes)

    @property
    def endpoints(self) -> str:
        """The same as text: `host:port,host:port`."""
        return ",".join(map(str, self.addresses))

    @abstractmethod
    def is_whole(self) -> bool:
        """Whether every node serves and knows that every other does."""

    def start(self) -> None:
        """Starts every node at once and returns when they serve together."""
        for node in self.nodes:
            node.start()
        self.wait_whole()

    def wait_whole(self) -> None:
        """Returns when the cluster is whole; raises ServerError when it takes too long."""
        for node in self.nodes:
            node.wait_ready()
        try:
            until(self.is_whole, f"{self.endpoints} whole", READY_DEADLINE_S)
        except AssertionError as late:
            raise ServerError(f"the nodes do not find each other\n{self.tails()}") from late

    def heal(self) -> None:
        """Thaws what is frozen, starts what is down and waits until the cluster is whole."""
        for node in self.nodes:
            if node.is_ours:
                node.thaw()
            if node.is_ours and not node.process.is_running:
                node.start()
        self.wait_whole()

    def close(self) -> None:
        """Kills every node that is ours and removes its data; the logs stay."""
        for node in self.nodes:
            if node.is_ours:
                node.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def tails(self) -> str:
        """The end of every log that is ours."""
        ours = [node.process for node in self.nodes if node.is_ours]
        return "\n".join(f"--- {process.log}\n{process.tail()}" for process in ours)
