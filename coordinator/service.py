"""The coordinator with its doors: all services on one port, behind one gate.

Owns the order of starting and stopping: doors open before others learn the address, and close
before the session ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import structlog
from grpc.aio import Server
from timeball.v1 import admin_service_pb2_grpc, schedule_service_pb2_grpc, task_service_pb2_grpc

from coordinator.admin_api import AdminApi
from coordinator.admin_servicer import AdminServicer
from coordinator.administration import Administration, administration
from coordinator.chronicle import Chronicle
from coordinator.console_view import console_look
from coordinator.node import CoordinatorConfig, CoordinatorNode, CoordinatorPorts
from coordinator.schedule_reading import ScheduleReader
from coordinator.schedule_servicer import ScheduleServicer
from coordinator.schedules import ScheduleApi
from coordinator.task_servicer import TaskServicer
from timeball_server.core.buckets import Layout
from timeball_server.ports.metrics import Family, Figures, Kind, counter, gauge
from timeball_server.rpc.auth import Authenticator
from timeball_server.rpc.interceptors import Gate
from timeball_server.rpc.live_keys import REFRESH_MS, LiveKeys
from timeball_server.rpc.server import RpcServer
from timeball_server.rpc.server import Service as RpcService
from timeball_server.rpc.validation import RequestValidator
from timeball_server.runtime.lifecycle import Service

if TYPE_CHECKING:
    from timeball_server.console.app import ConsoleApp
    from timeball_server.rest.server import HttpServer

log = structlog.stdlib.get_logger("coordinator")
GRACE_MS: Final = 5_000
"""How long running calls may go on after new ones are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Where a coordinator listens and whom it lets in; host:port, port 0 takes a free one.

    `node_services` are for our own processes, behind the same gate. `store` says what the store
    is, for operators. `http` is where JSON over HTTP is served, and `operators` where generic tools
    look at the process; empty for nowhere.
    """

    listen: str
    authenticator: Authenticator
    node_services: Sequence[RpcService] = ()
    store: str = ""
    http: str = ""
    operators: str = ""


class Coordinator(Service):
    """The service. Its address is known once it has started."""

    def __init__(
        self,
        config: CoordinatorConfig,
        ports: CoordinatorPorts,
        layout: Layout,
        doors: Doors,
        validator: RequestValidator,
    ) -> None:
        super().__init__(f"coordinator {config.node} with doors")
        self.bugs = 0
        self.node = CoordinatorNode(config, ports, layout)
        self._advertised = config.address
        self._gate = Gate(doors.authenticator, validator, self._note_bug)
        self._parts = administration(self.node.cluster, self.node.api, doors.authenticator)
        self._keys = doors.authenticator if isinstance(doors.authenticator, LiveKeys) else None
        if self._keys is not None:
            self._keys.attach(ports.store.access)
        auditor = self._parts.auditor
        self._chronicle = Chronicle(config.node, self.node.overview, auditor, ports.clock)
        public = _public_services(self.node, doors, self._parts)
        services = [*public, *doors.node_services]
        self._server = RpcServer(doors.listen, services, interceptors=[self._gate])
        self._operators = _operators_port(doors, public)
        self._console: ConsoleApp | None = None
        self._http = self._http_door(doors, public, ports) if doors.http else None

    @property
    def address(self) -> str:
        """host:port where it listens."""
        return self._server.address

    @property
    def operators_address(self) -> str:
        """host:port of the operators' port, empty for nowhere."""
        return self._operators.address if self._operators else ""

    @property
    def http_address(self) -> str:
        """host:port where JSON over HTTP is served, empty for nowhere."""
        return self._http.address if self._http else ""

    def metrics(self) -> Iterator[Family]:
        """What was asked of this coordinator, and what became of it."""
        yield Figures(
            name="timeball_calls",
            text="Calls that have ended, by method and gRPC status.",
            kind=Kind.COUNTER,
            labels=("method", "status"),
            samples=list(self._gate.calls.items()),
        )
        yield Figures(
            name="timeball_calls_refused",
            text="Calls refused before they were carried out, by reason.",
            kind=Kind.COUNTER,
            labels=("reason",),
            samples=[((reason,), count) for reason, count in self._gate.refused.items()],
        )
        yield counter("timeball_call_bugs", "Calls that failed on a bug of ours.", self.bugs)
        yield from self._parts.auditor.metrics()
        yield from self.node.cluster.calls.admission.metrics()
        viewers = 0 if self._console is None else self._console.viewers
        yield gauge("timeball_console_viewers", "Consoles that are looked at now.", viewers)

    async def _begin(self) -> None:
        await self._server.start()
        address = self._advertised or self._server.address
        self.node.config = replace(self.node.config, address=address)
        await self.node.start()
        self.spawn("node", self._watch())
        self.spawn("audit", self._parts.auditor.run())
        self.spawn("chronicle", self._chronicle.run())
        if self._keys is not None:
            self.spawn("keys", self._refresh(self._keys))
        if self._http is not None:
            await self._http.start()
            self.spawn("http", self._http.wait_stopped())
        if self._operators is not None:
            await self._operators.start()
        log.info("serving", address=self.address, http=self.http_address,
                 operators=self.operators_address)  # fmt: skip

    async def _drain(self) -> None:
        if self._console is not None:
            await self._console.close()
        http = () if self._http is None else (self._http.stop(),)
        await asyncio.gather(self._server.stop(GRACE_MS), *http)

    async def _end(self) -> None:
        if self._console is not None:
            await self._console.close()
        if self._http is not None:
            await self._http.stop()
        await self._server.stop()
        if self._operators is not None:
            await self._operators.stop()
        await self._parts.auditor.flush()
        await self.node.stop()

    async def _refresh(self, keys: LiveKeys) -> None:
        """Keep what is known of stored keys young."""
        while True:
            await self.node.cluster.clock.sleep_ms(REFRESH_MS)
            await keys.refresh()

    async def _watch(self) -> None:
        """A node that stops by itself takes the doors along."""
        await self.node.wait_stopped()

    def _http_door(
        self, doors: Doors, services: Sequence[RpcService], ports: CoordinatorPorts
    ) -> HttpServer:
        """The same servicers behind the same gate; what it is made of loads only when wanted."""
        from timeball_server.console.door import console
        from timeball_server.rest.door import http_door

        config = self.node.config
        self._console = console(
            console_look(self.node.overview, self.node.observe, ports.clock),
            doors.authenticator,
            coordinator=config.node,
            version=config.version,
            store=doors.store,
            clock=ports.clock,
            on_bug=self._note_bug,
            refused=self._gate.refused,
        )
        return http_door(
            doors.http,
            self._gate,
            doors.authenticator,
            [service.register for service in services],
            clock=ports.clock,
            version=config.version,
            grace_ms=GRACE_MS,
            on_bug=self._note_bug,
            console=self._console,
        )

    def _note_bug(self, method: str, bug: BaseException) -> None:
        """Count and log what a servicer should not have raised."""
        self.bugs += 1
        log.error("a call failed on a bug", method=method, exc_info=bug)


def _operators_port(doors: Doors, services: Sequence[RpcService]) -> RpcServer | None:
    """Reflection and channelz on a port of their own; what they are made of loads when wanted."""
    if not doors.operators:
        return None
    from timeball_server.rpc.operators_port import OperatorsPort

    return OperatorsPort(doors.operators, [service.name for service in services])


def _public_services(
    node: CoordinatorNode, doors: Doors, parts: Administration
) -> list[RpcService]:
    """What callers may use."""
    tasks = TaskServicer(node.api, parts.redriver)
    api = ScheduleApi(node.cluster)
    schedules = ScheduleServicer(api, ScheduleReader(node.cluster, api), node.cluster.clock)
    operators = AdminApi(node.overview, node.inspect, node.cluster, node.wish)
    admin = AdminServicer(
        operators, parts, node.cluster.clock, store=doors.store, version=node.config.version
    )

    def add_tasks(server: Server) -> None:
        task_service_pb2_grpc.add_TaskServiceServicer_to_server(tasks, server)

    def add_schedules(server: Server) -> None:
        schedule_service_pb2_grpc.add_ScheduleServiceServicer_to_server(schedules, server)

    def add_admin(server: Server) -> None:
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(admin, server)

    return [
        RpcService(name="timeball.v1.TaskService", register=add_tasks, stopping=tasks.end_waits),
        RpcService(name="timeball.v1.ScheduleService", register=add_schedules),
        RpcService(name="timeball.v1.AdminService", register=add_admin),
    ]
