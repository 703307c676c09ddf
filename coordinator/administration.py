"""What a coordinator offers to administrators, put together around one store and one audit log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coordinator.access_api import AccessApi
from coordinator.api import TaskApi
from coordinator.audit import Auditor
from coordinator.audit_log import AuditLog
from coordinator.keys_api import KeysApi
from coordinator.limits_api import LimitsApi
from coordinator.redrive import Redriver
from coordinator.requests import Cluster
from timeball_server.rpc.auth import Authenticator
from timeball_server.rpc.live_keys import LiveKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Administration:
    """The parts; all note what they do with the one auditor."""

    auditor: Auditor
    audit_log: AuditLog
    tenants: AccessApi
    keys: KeysApi
    limits: LimitsApi
    redriver: Redriver


def administration(
    cluster: Cluster, tasks: TaskApi, authenticator: Authenticator
) -> Administration:
    """The parts for one coordinator; a cluster that asks for no keys makes none."""
    access, clock, token_key = cluster.store.access, cluster.clock, cluster.token_key
    live = authenticator if isinstance(authenticator, LiveKeys) else None
    auditor = Auditor(access, clock, cluster.entropy)
    switched: Callable[[], None] = _nothing if live is None else live.forget_all
    tenants = AccessApi(access, auditor, clock, token_key, switched)
    keys = KeysApi(access, tenants, auditor, clock, cluster.entropy, live, token_key)
    return Administration(
        auditor=auditor,
        audit_log=AuditLog(access, clock, token_key),
        tenants=tenants,
        keys=keys,
        limits=LimitsApi(access, tenants, auditor, clock, token_key),
        redriver=Redriver(cluster.store, tasks),
    )


def _nothing() -> None:
    """Nobody is let in by a stored key, so nothing stale can be believed."""
