"""`python -m coordinator`: a coordinator of a cluster as a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from timeball._version import __version__
from timeball.errors import Violation

from coordinator.node import CoordinatorConfig
from coordinator.wiring import clustered_coordinator
from timeball_server.cluster.settings import CoordinatorSettings, cluster_problems
from timeball_server.core.ids import NodeId
from timeball_server.rpc.auth import is_loopback
from timeball_server.runtime.lifecycle import Service
from timeball_server.runtime.process import Say, default_name, main


def _problems(settings: CoordinatorSettings) -> Iterable[Violation]:
    yield from cluster_problems(settings.store, settings.coordination)
    if not settings.access.pepper and not is_loopback(f"{settings.listen.host}:0"):
        yield Violation("access.pepper", "needed where others than this machine can call")
    http_reachable = settings.http.listen and not is_loopback(settings.http.listen)
    if http_reachable and not settings.access.pepper:
        yield Violation("access.pepper", "needed where others can call http.listen")


async def _make(settings: CoordinatorSettings, say: Say) -> Service:
    config = CoordinatorConfig(
        node=NodeId(settings.node.name or default_name()),
        address=settings.listen.advertise or "",
        version=__version__,
    )
    return await clustered_coordinator(config, settings, say)


if __name__ == "__main__":
    sys.exit(main("coordinator", CoordinatorSettings, _make, _problems))
