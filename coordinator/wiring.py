"""Puts a coordinator together: the one place here that names adapters."""

from __future__ import annotations

import hmac
import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from grpc.aio import Server

from coordinator.leadership import leading
from coordinator.node import Connect, CoordinatorConfig, CoordinatorPorts
from coordinator.service import Coordinator, Doors
from timeball_server.cluster.settings import CoordinatorSettings
from timeball_server.cluster.wiring import (
    Say,
    WithStore,
    cluster_layout,
    open_store,
    session_opener,
    with_metrics,
)
from timeball_server.coordination.remote.servicer import MembershipServicer
from timeball_server.core.buckets import Layout
from timeball_server.internal.v1 import membership_service_pb2_grpc
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import Membership
from timeball_server.ports.owners import OwnerDialer, OwnerInspector, OwnerObserver
from timeball_server.ports.store import Store
from timeball_server.rpc.auth import Authenticator, OpenLoopback, stored_keys
from timeball_server.rpc.live_keys import LiveKeys
from timeball_server.rpc.owner_transport import GrpcOwnerDialer
from timeball_server.rpc.server import Service as RpcService
from timeball_server.rpc.validation import RequestValidator, shipped_rules
from timeball_server.runtime.clock import SystemClock
from timeball_server.runtime.entropy import fresh_random, system_random
from timeball_server.runtime.lifecycle import Service
from timeball_server.runtime.settings import AccessSettings


def coordinator_ports(
    *,
    store: Store,
    connect: Connect,
    dialer: OwnerDialer,
    clock: Clock,
    layout: Layout,
    inspect: Callable[[str], OwnerInspector] | None = None,
    observe: Callable[[str], OwnerObserver] | None = None,
) -> CoordinatorPorts:
    """The world of a production coordinator: it takes part in leading, its ids are random."""
    return CoordinatorPorts(
        store=store,
        connect=connect,
        dialer=dialer,
        clock=clock,
        lead=leading(layout.all_shards(), clock),
        entropy=system_random(),
        inspect=inspect,
        observe=observe,
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


async def clustered_coordinator(
    config: CoordinatorConfig, settings: CoordinatorSettings, say: Say
) -> Service:
    """A coordinator of a cluster, its store connected.

    Raises:
        StoreUnavailable: the database was not there in time.
        FailedPrecondition: the schema or the cluster's facts do not fit.
    """
    clock = SystemClock()
    listen = f"{settings.listen.host}:{settings.listen.port}"
    authenticator = _authenticator(settings.access, listen, clock)
    store = await open_store(settings.store, clock, say, settings.cluster)
    try:
        layout = await cluster_layout(store)
    except BaseException:
        await store.close()
        raise
    dialer = GrpcOwnerDialer(clock=clock, rng=fresh_random())
    ports = coordinator_ports(
        store=store,
        connect=session_opener(settings.coordination, store, clock, say),
        dialer=dialer,
        clock=clock,
        layout=layout,
        inspect=dialer.inspector,
        observe=dialer.observer,
    )
    doors = Doors(
        listen=listen,
        authenticator=authenticator,
        store="cassandra",
        http=settings.http.listen,
        operators=settings.operators.listen,
    )
    if settings.access.pepper:
        config = replace(config, token_key=_token_key(settings.access))
    service = coordinator(config, ports, layout, doors)
    return with_metrics(WithStore(service, store), settings.metrics, [service.metrics])


def _authenticator(access: AccessSettings, listen: str, clock: Clock) -> Authenticator:
    """Keys of the store and of the file that the settings name; without a pepper open to all."""
    if not access.pepper:
        return OpenLoopback(listen)
    text = Path(access.keys_file).read_text(encoding="utf-8") if access.keys_file else ""
    return LiveKeys(stored_keys(tomllib.loads(text)), access.pepper.encode(), clock)


def _token_key(access: AccessSettings) -> bytes:
    """What seals page tokens: one for all coordinators that share a pepper."""
    return hmac.digest(access.pepper.encode(), b"page tokens", "sha256")
