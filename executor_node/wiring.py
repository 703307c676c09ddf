"""Puts an executor together for a process of its own. The only module here that names adapters."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from timeball.errors import FailedPrecondition
from timeball.registry import Handler

from executor_node.membership import SessionMemberships
from executor_node.service import ExecutorConfig, ExecutorService
from timeball_server.coordination.remote.client import RemoteMembership
from timeball_server.rpc.options import internal_channel_options
from timeball_server.runtime.clock import SystemClock
from timeball_server.runtime.collector import settle_collector


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAddress:
    """Where the cluster is joined: a process that serves MembershipService."""

    server: str
    session_timeout_ms: int
    api_key: str = ""


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
        Exception: what made the service fail.
    """
    clock = SystemClock()
    key = cluster.api_key
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    options = list(internal_channel_options())
    async with grpc.aio.insecure_channel(cluster.server, options=options) as channel:

        async def connect() -> RemoteMembership:
            return RemoteMembership(channel, cluster.session_timeout_ms, clock, metadata)

        service = ExecutorService(config, handlers, SessionMemberships(connect), clock)
        stops: list[asyncio.Task[None]] = []

        def stop() -> None:
            if stops:
                service.hand_back_now()
            stops.append(asyncio.get_running_loop().create_task(service.stop()))

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        await service.start()
        settle_collector()
        await service.wait_stopped()
