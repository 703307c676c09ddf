"""Metrics of a process, answered to Prometheus over plain HTTP: GET /metrics and GET /healthz.

Owns a registry of its own, so one process is one target and nothing of other libraries leaks in.
Reads its sources when asked and keeps no number itself. Shows operational figures without asking
who reads: it belongs on loopback or in a network of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from timeball.errors import FailedPrecondition

from timeball_server.ports.metrics import Distribution, Family, Figures, Kind, Source
from timeball_server.runtime.lifecycle import Phase, Service

REQUEST_MS: Final = 5_000
"""A reader that has not sent its request in this time, or taken the answer, is cut off."""
HEAD_BYTES: Final = 8 * 1024
READERS: Final = 16
"""Connections at once; more are closed unanswered."""
_TEXT: Final = "text/plain; charset=utf-8"
Reply = tuple[str, str, bytes]
"""Status line, content type, body."""


class _Sources(Collector):
    """Turns our families into the library's, at the moment of a scrape."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Every family of every source."""
        for source in self._sources:
            for family in source():
                yield _metric(family)


def _metric(family: Family) -> Metric:
    if isinstance(family, Distribution):
        return _histogram(family)
    return _figures(family)


def _figures(family: Figures) -> Metric:
    make = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = make(family.name, family.text, labels=family.labels)
    for values, value in family.samples:
        metric.add_metric(values, value)
    return metric


def _histogram(family: Distribution) -> Metric:
    names = [*(str(bound) for bound in family.bounds), "+Inf"]
    buckets = list(zip(names, map(float, accumulate(family.counts)), strict=True))
    metric = HistogramMetricFamily(family.name, family.text)
    metric.add_metric((), buckets, sum_value=family.total)
    return metric


def exposition(sources: Sequence[Source]) -> Callable[[], bytes]:
    """What a scrape answers: the sources and the process itself, in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Sources(sources))
    return lambda: generate_latest(registry)


class MetricsServer(Service):
    """Answers one request per connection.

    Args:
        listen: host:port; port 0 takes a free one.
        sources: whose numbers are shown.
        healthy: whether the process does its work; False turns /healthz into 503.
    """

    def __init__(self, listen: str, sources: Sequence[Source], healthy: Callable[[], bool]) -> None:
        super().__init__("metrics")
        self._listen = listen
        self._write = exposition(sources)
        self._healthy = healthy
        self._server: asyncio.Server | None = None
        self._readers: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """host:port where it listens; with the real port after start."""
        if self._server is None or not self._server.sockets:
            return self._listen
        host = self._listen.rpartition(":")[0]
        return f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def _begin(self) -> None:
        host, _, port = self._listen.rpartition(":")
        try:
            self._server = await asyncio.start_server(
                self._serve, host.strip("[]"), int(port), limit=HEAD_BYTES
            )
        except OSError as error:
            raise FailedPrecondition(
                f"cannot serve metrics on {self._listen}: {error.strerror or error}"
            ) from error

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for reader in tuple(self._readers):
            reader.cancel()
        if self._readers:
            await asyncio.wait(tuple(self._readers))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a connection is served by a task")
        crowded = len(self._readers) >= READERS
        self._readers.add(task)
        try:
            if not crowded:
                async with asyncio.timeout(REQUEST_MS / 1_000):
                    await self._answer(reader, writer)
        except (TimeoutError, OSError):
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()  # we stop; asyncio would report the cancellation as a crash
        finally:
            self._readers.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        method, status, kind, body = self._reply(head)
        lines = (
            f"HTTP/1.1 {status}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            *(("Allow: GET, HEAD",) if status.startswith("405") else ()),
            "Connection: close",
        )
        writer.write("\r\n".join((*lines, "", "")).encode())
        writer.write(b"" if method == "HEAD" else body)
        await writer.drain()

    def _reply(self, head: bytes) -> tuple[str, str, str, bytes]:
        """The request's method, and the answer."""
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return "", "400 Bad Request", _TEXT, b"this is not HTTP/1.1\n"
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return method, "405 Method Not Allowed", _TEXT, b"only GET is served here\n"
        return method, *self._page(target.partition("?")[0])

    def _page(self, path: str) -> Reply:
        if path == "/metrics":
            return "200 OK", CONTENT_TYPE_PLAIN_0_0_4, self._write()
        if path == "/healthz":
            if self._healthy():
                return "200 OK", _TEXT, b"ok\n"
            return "503 Service Unavailable", _TEXT, b"not serving\n"
        return "404 Not Found", _TEXT, b"there are /metrics and /healthz\n"


class WithMetrics(Service):
    """A service and the page of its numbers: started and stopped as one."""

    def __init__(self, service: Service, listen: str, sources: Sequence[Source]) -> None:
        super().__init__(f"{service.name} with metrics")
        self._service = service
        self.metrics = MetricsServer(listen, sources, self._is_serving)

    @property
    def address(self) -> str:
        """host:port where the service listens."""
        return str(getattr(self._service, "address", ""))

    async def _begin(self) -> None:
        await self.metrics.start()
        await self._service.start()
        self.spawn("watch", self._service.wait_stopped())
        self.spawn("watch metrics", self.metrics.wait_stopped())

    async def _end(self) -> None:
        await self._service.stop()
        await self.metrics.stop()

    def _is_serving(self) -> bool:
        return self._service.phase is Phase.RUNNING
