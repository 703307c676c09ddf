"""The ledger after kill -9, a freeze and edits while firing: every nominal time has one verdict.

The nominal times are computed here from the versions, without the evaluator.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from timeball.v1 import schedule_service_pb2 as pb
from timeball.v1 import schedule_service_pb2_grpc as stubs
from timeball.v1 import task_pb2

from tests.support.dev_server import DevServer, dev_server
from tests.support.polls import until
from timeball_server.runtime.clock import SystemClock

NAME = "namespaces/-/schedules/busy"
TASK = task_pb2.Task(handler="it.echo", payload=task_pb2.Payload(data=b'{"value":"tick"}'))


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[DevServer]:
    with dev_server(tmp_path) as server:
        yield server


def now_ms() -> int:
    return SystemClock().now().wall_ms


def every(ms: int) -> pb.Schedule:
    interval = pb.Interval(every=Duration(nanos=ms * 10**6))
    allow = pb.Overlap(policy=pb.OVERLAP_POLICY_ALLOW, limit=100)
    return pb.Schedule(task=TASK, interval=interval, overlap=allow)


def passes(ms: int) -> None:
    """Time, with nobody there."""
    end_ms = now_ms() + ms
    until(lambda: now_ms() > end_ms, "some time")


def more_starts(dev: DevServer, count: int) -> None:
    """So many more runs have started."""
    before = len(dev.starts())
    until(lambda: len(dev.starts()) >= before + count, f"{count} more runs")


def put(dev: DevServer, ms: int) -> None:
    with grpc.insecure_channel(dev.address) as channel:
        request = pb.UpdateScheduleRequest(name=NAME, schedule=every(ms), allow_missing=True)
        stubs.ScheduleServiceStub(channel).UpdateSchedule(request, wait_for_ready=True, timeout=20)


def read(dev: DevServer) -> tuple[list[pb.Occurrence], list[pb.ScheduleVersion], int]:
    """The whole ledger, all versions, and how far the ledger goes."""
    rows: list[pb.Occurrence] = []
    with grpc.insecure_channel(dev.address) as channel:
        schedules: Any = stubs.ScheduleServiceStub(channel)
        asked = pb.ListScheduleVersionsRequest(parent=NAME)
        versions = list(schedules.ListScheduleVersions(asked, wait_for_ready=True).versions)
        token, until_ms = "", 0
        while True:
            request = pb.ListOccurrencesRequest(parent=NAME, page_size=50, page_token=token)
            answer = schedules.ListOccurrences(request, timeout=20)
            rows += answer.occurrences
            until_ms = until_ms or answer.decided_until.ToMilliseconds()
            token = answer.next_page_token
            if not token:
                return rows, versions, until_ms


def expected(versions: list[pb.ScheduleVersion], until_ms: int) -> list[int]:
    found: list[int] = []
    for version in versions:
        every_ms = version.schedule.interval.every.ToMilliseconds()
        last_ms = until_ms - 1
        if version.HasField("until_time"):
            last_ms = min(last_ms, version.until_time.ToMilliseconds())
        after_ms = version.after_time.ToMilliseconds()
        first, last = after_ms // every_ms + 1, last_ms // every_ms
        found += [number * every_ms for number in range(first, last + 1)]
    return found


def accounted(
    rows: list[pb.Occurrence], nominal: list[int], until_ms: int
) -> tuple[list[int], list[int]]:
    """Nominal times without a verdict, and with more than one."""
    verdicts = dict.fromkeys(nominal, 0)
    for row in rows:
        first_ms = row.nominal_time.ToMilliseconds()
        spans = row.HasField("last_nominal_time")
        last_ms = row.last_nominal_time.ToMilliseconds() if spans else first_ms
        covered = [at_ms for at_ms in nominal if first_ms <= at_ms <= last_ms]
        assert len(covered) == row.times or last_ms >= until_ms, row
        for at_ms in covered:
            verdicts[at_ms] += 1
    missing = [at_ms for at_ms, count in verdicts.items() if not count]
    return missing, [at_ms for at_ms, count in verdicts.items() if count > 1]


def test_every_nominal_time_has_one_verdict_after_crashes_freezes_and_edits(
    dev: DevServer,
) -> None:
    put(dev, 100)
    for ms in (150, 200, 100):
        more_starts(dev, 3)
        put(dev, ms)
        dev.kill()
        passes(1_200)
        dev.start()
    until(lambda: bool(read(dev)[0]), "a ledger")
    dev.send(signal.SIGSTOP)
    passes(1_500)
    dev.send(signal.SIGCONT)
    more_starts(dev, 3)
    rows, versions, until_ms = read(dev)
    assert [each.version for each in versions] == [1, 2, 3, 4]
    nominal = expected(versions, until_ms)
    assert accounted(rows, nominal, until_ms) == ([], [])
    assert pb.VERDICT_COALESCED in {row.verdict for row in rows}
    launched = {row.task.rpartition("/")[2] for row in rows if row.task}
    until(lambda: launched <= {start.task_id for start in dev.starts()}, "a start of each launch")
