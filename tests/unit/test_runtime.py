"""Clock, signals and logs of a process."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.support.signals import RecordedSignals
from tests.support.virtual_loop import VirtualLoop, run_virtual
from timeball_server.runtime.clock import SystemClock
from timeball_server.runtime.logs import HIDDEN, VENDORS, configure_logs, hear_vendors
from timeball_server.runtime.signals import SILENT


@pytest.fixture
def fresh_logs() -> Iterator[None]:
    """Give the process its logs back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in VENDORS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


def test_the_system_clock_reads_both_times_and_only_the_date_is_large() -> None:
    clock = SystemClock()
    first, second = clock.now(), clock.now()
    assert second.mono_ms >= first.mono_ms
    assert first.wall_ms > 1_700_000_000_000
    assert first.mono_ms < first.wall_ms


@pytest.mark.asyncio
@pytest.mark.parametrize("duration_ms", [-5, 0, 3])
async def test_the_system_clock_waits_for_any_duration(duration_ms: float) -> None:
    clock = SystemClock()
    before = clock.now().mono_ms
    await clock.sleep_ms(duration_ms)
    assert clock.now().mono_ms - before >= min(0, duration_ms)


def test_signals_are_kept_and_wake_who_waits() -> None:
    async def main(loop: VirtualLoop) -> object:
        signals = RecordedSignals()
        loop.call_later(1, signals.emit, "taken", 1)
        loop.call_later(2, signals.emit, "taken", 2)
        second = await signals.wait("taken", 2)
        assert await signals.wait("taken") == 1
        return second

    assert run_virtual(main) == 2


def test_the_signals_of_production_do_nothing() -> None:
    assert SILENT.emit("taken", object()) is None  # type: ignore[func-returns-value]


@pytest.mark.usefixtures("fresh_logs")
def test_json_logs_are_one_object_per_line_whoever_writes() -> None:
    stream = io.StringIO()
    configure_logs(stream, level="info", as_json=True, node="node-a")
    structlog.stdlib.get_logger("leader").info("took a shard", shard=7)
    logging.getLogger("vendor").warning("slow by %s ms", 12)
    structlog.stdlib.get_logger("leader").debug("not written")
    ours, vendors = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (ours["event"], ours["shard"], ours["node"]) == ("took a shard", 7, "node-a")
    assert (ours["level"], ours["logger"]) == ("info", "leader")
    assert (vendors["event"], vendors["level"]) == ("slow by 12 ms", "warning")
    assert ours["timestamp"].endswith("Z")


@pytest.mark.usefixtures("fresh_logs")
def test_text_logs_carry_the_fields() -> None:
    stream = io.StringIO()
    configure_logs(stream, level="info", as_json=False, node="node-a")
    structlog.stdlib.get_logger("leader").info("took a shard", shard=7)
    assert "took a shard" in stream.getvalue()
    assert "shard=7" in stream.getvalue()


@pytest.mark.usefixtures("fresh_logs")
@pytest.mark.parametrize("name", ["token", "authorization", "password"])
def test_secrets_are_never_written(name: str) -> None:
    stream = io.StringIO()
    configure_logs(stream, level="info", as_json=True, node="node-a")
    structlog.stdlib.get_logger("auth").info("refused", **{name: "open sesame"})
    assert "sesame" not in stream.getvalue()
    assert json.loads(stream.getvalue())[name] == HIDDEN


@pytest.mark.usefixtures("fresh_logs")
@pytest.mark.parametrize("as_json", [True, False])
def test_a_crash_is_logged_without_what_its_variables_held(as_json: bool) -> None:
    stream = io.StringIO()

    def crash(api_key: str) -> None:
        raise ValueError(f"a key of {len(api_key)} characters is not known")

    configure_logs(stream, level="info", as_json=as_json, node="node-a")
    try:
        crash("open" + "sesame")
    except ValueError:
        structlog.stdlib.get_logger("x").exception("crashed")
    assert "a key of 10 characters" in stream.getvalue()
    assert "in crash" in stream.getvalue() or '"crash"' in stream.getvalue()
    assert "opensesame" not in stream.getvalue()


@pytest.mark.usefixtures("fresh_logs")
def test_a_crash_is_logged_with_its_place() -> None:
    stream = io.StringIO()
    configure_logs(stream, level="info", as_json=True, node="node-a")
    structlog.stdlib.get_logger("x").error("crashed", exc_info=ValueError("no such shard"))
    assert "no such shard" in stream.getvalue()


@pytest.mark.parametrize(
    ("level", "lines", "has_trace"), [("info", ["down"], False), ("debug", ["up", "down"], True)]
)
def test_drivers_are_heard_without_their_traces(
    fresh_logs: None, level: str, lines: list[str], has_trace: bool
) -> None:
    del fresh_logs
    stream = io.StringIO()
    configure_logs(stream, level=level, as_json=True, node="node-a")
    hear_vendors(logging.WARNING)
    driver = logging.getLogger("cassandra.cluster")
    driver.info("up")
    try:
        raise OSError("refused")
    except OSError:
        driver.warning("down", exc_info=True)
    written = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in written] == lines
    assert ("exception" in written[-1]) == has_trace
