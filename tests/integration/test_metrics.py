"""Metrics over real sockets: the page, what is refused, and a real `timeball dev`."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from timeball import AsyncClient
from timeball.errors import FailedPrecondition

from tests.support.dev_server import Process, ending
from tests.support.polls import until
from timeball_server.ports.metrics import Distribution, Figures, Kind, counter
from timeball_server.runtime.lifecycle import Service
from timeball_server.runtime.metrics import HEAD_BYTES, READERS, MetricsServer, WithMetrics

pytestmark = pytest.mark.asyncio
HEALTH = {"ok": True}


@asynccontextmanager
async def served() -> AsyncIterator[tuple[str, int]]:
    families = (
        counter("tests_things", "Things.", 3),
        Figures(name="tests_odd", text="Odd.", kind=Kind.GAUGE, labels=("name",),
                samples=[(('a"b\\c\nd',), 1.5)]),
        Distribution(name="tests_seconds", text="Time.", bounds=[0.1, 1.0], counts=[2, 1, 1],
                     total=5.0),
    )  # fmt: skip
    HEALTH["ok"] = True
    server = MetricsServer("127.0.0.1:0", [lambda: families], lambda: HEALTH["ok"])
    await server.start()
    host, _, port = server.address.rpartition(":")
    try:
        yield host, int(port)
    finally:
        await server.stop()


async def ask(where: tuple[str, int], request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*where)
    try:
        writer.write(request)
        writer.write_eof()
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of a page."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_page_can_be_read_back() -> None:
    async with served() as where:
        head, _, body = (await ask(where, b"GET /metrics HTTP/1.1\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4")
    found = values(body.decode())
    assert found["tests_things_total", ()] == 3
    assert found["tests_odd", (("name", 'a"b\\c\nd'),)] == 1.5
    buckets = [found["tests_seconds_bucket", (("le", le),)] for le in ("0.1", "1.0", "+Inf")]
    assert buckets == [2, 3, 4]
    assert (found["tests_seconds_sum", ()], found["tests_seconds_count", ()]) == (5.0, 4)
    assert ("process_cpu_seconds_total", ()) in found


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /healthz HTTP/1.1", b"200"),
        (b"HEAD /metrics HTTP/1.0", b"200"),
        (b"GET /metrics?x=1 HTTP/1.1", b"200"),
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /metrics/.. HTTP/1.1", b"404"),
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"hello", b"400"),
        (b"\xff\xfe \x00 HTTP/2", b"400"),
    ],
)
async def test_only_two_pages_are_served(request_line: bytes, status: bytes) -> None:
    async with served() as where:
        answer = await ask(where, request_line + b"\r\nHost: a\r\n\r\n")
    assert answer.split(b" ")[1] == status
    if request_line.startswith(b"HEAD"):
        assert answer.endswith(b"\r\n\r\n")


async def test_a_sick_process_says_so() -> None:
    async with served() as where:
        HEALTH["ok"] = False
        answer = await ask(where, b"GET /healthz HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503 ")


async def test_half_a_request_or_an_endless_one_gets_nothing() -> None:
    async with served() as where:
        assert await ask(where, b"GET /metrics HT") == b""
        assert await ask(where, b"GET /metrics HTTP/1.1\r\nA: " + b"a" * 2 * HEAD_BYTES) == b""
        assert b" 200 " in await ask(where, b"GET /healthz HTTP/1.1\r\n\r\n")


async def test_a_crowd_of_silent_readers_does_not_pile_up_and_does_not_hold_the_end() -> None:
    async with served() as where:
        silent = [await asyncio.open_connection(*where) for _ in range(READERS)]
        assert await ask(where, b"GET /healthz HTTP/1.1\r\n\r\n") == b""
        _, first = silent[0]
        first.close()
        await first.wait_closed()
    for _, writer in silent:
        writer.close()


async def test_a_port_that_is_taken_is_said() -> None:
    async with served() as (host, port):
        second = MetricsServer(f"{host}:{port}", [], lambda: True)
        with pytest.raises(FailedPrecondition, match=f"cannot serve metrics on {host}:{port}"):
            await second.start()


async def test_a_service_and_its_page_live_and_end_together() -> None:
    inner = Service("inner")
    both = WithMetrics(inner, "127.0.0.1:0", [])
    await both.start()
    host, _, port = both.metrics.address.rpartition(":")
    assert b" 200 " in await ask((host, int(port)), b"GET /healthz HTTP/1.1\r\n\r\n")
    await inner.stop()
    assert b" 503 " in await ask((host, int(port)), b"GET /healthz HTTP/1.1\r\n\r\n")
    await both.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return str(answer.read().decode())


async def test_a_real_dev_process_shows_its_work(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    dev = Process(tmp_path, "dev")
    with ending(dev):
        dev.spawn("dev", "tests/support/dev_tasks.py", "--memory", "--listen", "127.0.0.1:0",
                  "--metrics", "127.0.0.1:0", "--ready-file", str(ready))  # fmt: skip
        until(lambda: ready.exists() or dev.code is not None, "timeball dev is ready")
        said = re.search(r"metrics: (http://\S+)", dev.output())
        assert said is not None, dev.output()
        async with AsyncClient(ready.read_text().strip()) as client:
            for _ in range(3):
                handle = await client.submit("it.echo", {"value": "x"})
                await handle.result()
            found = values(await asyncio.to_thread(page, said[1]))
    assert found["timeball_start_lateness_seconds_count", ()] == 3
    assert found["timeball_engine_events_total", (("event", "succeeded"),)] == 3
    method = ("method", "/timeball.v1.TaskService/CreateTask")
    assert found["timeball_calls_total", (method, ("status", "OK"))] == 3
    assert found["timeball_shards_owned", ()] == 4
    assert found["timeball_lease_left_seconds", ()] > 0
    assert found["timeball_commit_rows_total", ()] > 0
    epochs = [value for (name, _), value in found.items() if name == "timeball_shard_epoch"]
    assert len(epochs) == 4


async def test_metrics_for_everybody_are_refused_in_dev_mode(tmp_path: Path) -> None:
    dev = Process(tmp_path, "dev")
    with ending(dev):
        dev.spawn("dev", "--memory", "--metrics", "0.0.0.0:0")
        assert dev.wait() == 2
    assert "--metrics:" in dev.output()
