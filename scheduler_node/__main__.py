"""`python -m scheduler_node`: a scheduler node of a cluster as a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from timeball._version import __version__
from timeball.errors import Violation

from scheduler_node.service import SchedulerNodeConfig
from scheduler_node.wiring import clustered_node
from timeball_server.cluster.settings import SchedulerNodeSettings, cluster_problems
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.ids import NodeId
from timeball_server.core.retention import HOUR_MS
from timeball_server.ports.clock import Clock
from timeball_server.runtime.clock import SystemClock
from timeball_server.runtime.lifecycle import Service
from timeball_server.runtime.process import Say, default_name, main


def problems(settings: SchedulerNodeSettings) -> Iterable[Violation]:
    """What is wrong with settings that are fine one by one."""
    return cluster_problems(settings.store, settings.coordination)


async def make(settings: SchedulerNodeSettings, say: Say, clock: Clock | None = None) -> Service:
    """The node that the settings describe, by default with the machine's clock."""
    listen = settings.listen
    config = SchedulerNodeConfig(
        node=NodeId(settings.node.name or default_name()),
        address=f"{listen.host}:{listen.port}",
        engine=EngineConfig(
            session_timeout_ms=settings.coordination.session_timeout_ms,
            retention_ms=settings.retention.ended_hours * HOUR_MS,
            executor_deaths=settings.attempts.executor_deaths,
        ),
        version=__version__,
    )
    return await clustered_node(config, settings, say, clock or SystemClock())


if __name__ == "__main__":
    sys.exit(main("scheduler_node", SchedulerNodeSettings, make, problems))
