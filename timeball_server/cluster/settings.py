"""Settings of the cluster's processes, one tree each; sections are shared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from timeball.errors import Violation

from timeball_server.runtime.settings import (
    AccessSettings,
    AttemptSettings,
    ClusterSettings,
    CoordinationKind,
    CoordinationSettings,
    HttpSettings,
    ListenSettings,
    MetricsSettings,
    NodeSettings,
    OperatorsSettings,
    RetentionSettings,
    StoreKind,
    StoreSettings,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerNodeSettings:
    """A scheduler node."""

    node: NodeSettings = field(default_factory=NodeSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    listen: ListenSettings = field(default_factory=ListenSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    coordination: CoordinationSettings = field(default_factory=CoordinationSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    attempts: AttemptSettings = field(default_factory=AttemptSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorSettings:
    """A coordinator."""

    node: NodeSettings = field(default_factory=NodeSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    listen: ListenSettings = field(default_factory=ListenSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    coordination: CoordinationSettings = field(default_factory=CoordinationSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    operators: OperatorsSettings = field(default_factory=OperatorsSettings)


def cluster_problems(
    store: StoreSettings, coordination: CoordinationSettings
) -> Iterable[Violation]:
    """What one process can have and a cluster cannot."""
    if store.kind is not StoreKind.CASSANDRA:
        yield Violation("store.kind", "a cluster keeps its tasks in cassandra")
    if coordination.kind is not CoordinationKind.ZOOKEEPER:
        yield Violation("coordination.kind", "a cluster coordinates through zookeeper")
