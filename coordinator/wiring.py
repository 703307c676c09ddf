"""Puts a coordinator together: the one place here that names adapters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from grpc.aio import Server

from coordinator.leadership import leading
from coordinator.node import Connect, CoordinatorConfig, CoordinatorPorts
from coordinator.service import Coordinator, Doors
from timeball_server.coordination.remote.servicer import MembershipServicer
from timeball_server.core.buckets import Layout
from timeball_server.internal.v1 import membership_service_pb2_grpc
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Membership
from timeball_server.ports.owners import OwnerDialer
from timeball_server.ports.store import Store
from timeball_server.rpc.server import Service as RpcService
from timeball_server.rpc.validation import RequestValidator, shipped_rules
from timeball_server.runtime.entropy import system_random


def coordinator_ports(
    *, store: Store, connect: Connect, dialer: OwnerDialer, clock: Clock, layout: Layout
) -> CoordinatorPorts:
    """The world of a production coordinator: it takes part in leading, its ids are random."""
    return CoordinatorPorts(
        store=store,
        connect=connect,
        dialer=dialer,
        clock=clock,
        lead=leading(layout.all_shards(), clock),
        entropy=system_random(),
    )


def coordinator(
    config: CoordinatorConfig, ports: CoordinatorPorts, layout: Layout, doors: Doors
) -> Coordinator:
    """A coordinator that checks requests by the rules shipped with it."""
    validator = RequestValidator(ports.clock, shipped_rules())
    return Coordinator(config, ports, layout, doors, validator)


def membership_service(
    open_session: Callable[[int], Awaitable[Membership]], clock: Clock
) -> RpcService:
    """Lets processes without a coordination client be members, in sessions opened here.

    Args:
        open_session: opens a session with this timeout in milliseconds.
        clock: measures the callers' silence.
    """
    servicer = MembershipServicer(open_session, clock)

    def add(server: Server) -> None:
        membership_service_pb2_grpc.add_MembershipServiceServicer_to_server(servicer, server)

    return RpcService(name="timeball.internal.v1.MembershipService", register=add)
