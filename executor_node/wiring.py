"""Puts an executor together for a process of its own. The only module here that names adapters."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from timeball.errors import FailedPrecondition, Unavailable
from timeball.registry import Handler

from executor_node.membership import Connect, SessionMemberships
from executor_node.service import ExecutorConfig, ExecutorService
from timeball_server.coordination.remote.client import RemoteMembership
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Membership
from timeball_server.rpc.options import internal_channel_options
from timeball_server.runtime.clock import SystemClock
from timeball_server.runtime.collector import settle_collector
from timeball_server.runtime.logs import hear_vendors


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAddress:
    """Where the cluster is joined: ZooKeeper, or a process that serves MembershipService.

    Attributes:
        server: host:port of a coordinator, used when `zookeeper` is empty.
        zookeeper: host:port,host:port/root.
        zookeeper_user, zookeeper_password: of who made the entries there; empty = open entries.
        connect_deadline_ms: how long joining may take at the start.
    """

    server: str
    session_timeout_ms: int
    api_key: str = ""
    zookeeper: str = ""
    zookeeper_user: str = ""
    zookeeper_password: str = ""
    connect_deadline_ms: int = 60_000

    def __repr__(self) -> str:
        """Never with the secrets."""
        return f"ClusterAddress({self.where!r})"

    @property
    def where(self) -> str:
        """Where it is, for people."""
        return self.zookeeper or self.server


class DataDirectoryLock:
    """One executor per data directory, for as long as the process lives (rule R15).

    Raises:
        FailedPrecondition: another living process has it.
        OSError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(folder / "executor.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise FailedPrecondition(
                f"another executor uses {folder}; stop it, or give this one its own --data-dir"
            ) from error

    def release(self) -> None:
        """Let others have it. Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


async def run_executor(
    config: ExecutorConfig, handlers: Mapping[str, Handler], cluster: ClusterAddress
) -> None:
    """Run until SIGTERM or SIGINT; a second one hands running work back at once.

    Raises:
        Unavailable: the cluster could not be joined in time.
        Exception: what made the service fail.
    """
    clock = SystemClock()
    async with AsyncExitStack() as held:
        connect = await _connector(cluster, clock, held)
        service = ExecutorService(config, handlers, SessionMemberships(connect), clock)
        stops: list[asyncio.Task[None]] = []

        def stop() -> None:
            if stops:
                service.hand_back_now()
            stops.append(asyncio.get_running_loop().create_task(service.stop()))

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        await _start(service, cluster)
        settle_collector()
        await service.wait_stopped()


async def _start(service: ExecutorService, cluster: ClusterAddress) -> None:
    """Join; its own log says once why it waits, the drivers' words come after it has joined."""
    hear_vendors(logging.CRITICAL)
    try:
        async with asyncio.timeout(cluster.connect_deadline_ms / 1_000):
            await service.start()
    except TimeoutError as error:
        raise Unavailable(
            f"The cluster at {cluster.where} could not be joined within "
            f"{cluster.connect_deadline_ms // 1_000} s; is it running, and is the address right?"
        ) from error
    hear_vendors(logging.WARNING)


async def _connector(cluster: ClusterAddress, clock: Clock, held: AsyncExitStack) -> Connect:
    """What opens a session; a channel that it needs is closed with `held`."""
    if cluster.zookeeper:
        return _zookeeper_connector(cluster, clock)
    metadata = (("authorization", f"Bearer {cluster.api_key}"),) if cluster.api_key else ()
    options = list(internal_channel_options())
    channel = await held.enter_async_context(
        grpc.aio.insecure_channel(cluster.server, options=options)
    )

    async def connect() -> Membership:
        return RemoteMembership(channel, cluster.session_timeout_ms, clock, metadata)

    return connect


def _zookeeper_connector(cluster: ClusterAddress, clock: Clock) -> Connect:
    """Imported late: a slim executor has no ZooKeeper client installed."""
    from timeball_server.coordination.zookeeper.identity import open_allowed
    from timeball_server.coordination.zookeeper.options import ZooKeeperOptions, parse_address

    hosts, root = parse_address(cluster.zookeeper)
    options = ZooKeeperOptions(
        hosts=hosts,
        root=root,
        session_timeout_ms=cluster.session_timeout_ms,
        user=cluster.zookeeper_user,
        password=cluster.zookeeper_password,
    )

    async def connect() -> Membership:
        return await open_allowed(options, clock)

    return connect
