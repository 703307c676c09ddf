"""Every verb of ScheduleService over gRPC, against a real `timeball dev`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from timeball.errors import AlreadyExists, InvalidRequest, StaleEtag, TaskNotFound, TimeballError
from timeball.v1 import schedule_service_pb2 as pb
from timeball.v1 import schedule_service_pb2_grpc as stubs
from timeball.v1 import task_pb2

from tests.support.dev_server import DevServer
from tests.support.polls import until
from timeball_server.rpc.status import error_from_rpc
from timeball_server.runtime.clock import SystemClock

DEADLINE_S = 20.0
PARENT = "namespaces/-"
HOUR = Duration(seconds=3_600)
TASK = task_pb2.Task(handler="it.echo", payload=task_pb2.Payload(data=b'{"value":"tick"}'))


@pytest.fixture(scope="module")
def schedules(dev: DevServer) -> Iterator[Any]:
    with grpc.insecure_channel(dev.address) as channel:
        yield stubs.ScheduleServiceStub(channel)


def now_ms() -> int:
    return SystemClock().now().wall_ms


def name_of(part: str) -> str:
    return f"{PARENT}/schedules/{part}"


def every(seconds: float, **fields: Any) -> pb.Schedule:
    interval = pb.Interval(every=Duration(nanos=int(seconds * 10**9) % 10**9, seconds=int(seconds)))
    return pb.Schedule(task=TASK, interval=interval, **fields)


def cron(text: str, zone: str = "", **fields: Any) -> pb.Schedule:
    rules = pb.Calendar(crons=[pb.Cron(expression=text, time_zone=zone)])
    return pb.Schedule(task=TASK, calendar=rules, **fields)


def create(schedules: Any, part: str, schedule: pb.Schedule) -> pb.Schedule:
    request = pb.CreateScheduleRequest(
        parent=PARENT, schedule=schedule, schedule_id=part, request_id=str(uuid.uuid4())
    )
    made: pb.Schedule = schedules.CreateSchedule(request, timeout=DEADLINE_S).schedule
    return made


def refused(call: Callable[[], object]) -> TimeballError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value  # the synchronous twin of what the function is typed for
    return error_from_rpc(error)


def ledger(schedules: Any, part: str, **more: Any) -> list[pb.Occurrence]:
    found: list[pb.Occurrence] = []
    token = ""
    while True:
        request = pb.ListOccurrencesRequest(parent=name_of(part), page_token=token, **more)
        answer = schedules.ListOccurrences(request, timeout=DEADLINE_S)
        found += answer.occurrences
        token = answer.next_page_token
        if not token:
            return found


def test_a_named_schedule_is_created_once_and_found_by_name_and_id(schedules: Any) -> None:
    made = create(schedules, "nightly", cron("0 3 * * *", "Europe/Berlin"))
    assert made.name == "namespaces/default/schedules/nightly"
    assert (made.state, made.version, made.overlap.policy) == (
        pb.SCHEDULE_STATE_ACTIVE,
        1,
        pb.OVERLAP_POLICY_SKIP,
    )
    for part in ("nightly", made.uid):
        found = schedules.GetSchedule(pb.GetScheduleRequest(name=name_of(part)))
        assert found.schedule == made
    twice = refused(lambda: create(schedules, "nightly", cron("0 4 * * *")))
    assert isinstance(twice, AlreadyExists)


def test_the_same_request_creates_once_and_answers_alike(schedules: Any) -> None:
    request = pb.CreateScheduleRequest(
        parent=PARENT,
        schedule=every(3_600),
        schedule_id="repeated",
        request_id=str(uuid.uuid4()),
    )
    first = schedules.CreateSchedule(request).schedule
    assert schedules.CreateSchedule(request).schedule == first


def test_an_update_makes_a_version_and_one_without_a_change_makes_none(schedules: Any) -> None:
    made = create(schedules, "edited", every(3_600))
    wish = every(1_800, max_runs=7)
    request = pb.UpdateScheduleRequest(name=name_of("edited"), schedule=wish, etag=made.etag)
    changed = schedules.UpdateSchedule(request).schedule
    assert (changed.version, changed.max_runs, changed.interval.every.seconds) == (2, 7, 1_800)
    assert changed.etag != made.etag
    assert isinstance(refused(lambda: schedules.UpdateSchedule(request)), StaleEtag)
    request.etag = changed.etag
    assert schedules.UpdateSchedule(request).schedule == changed
    masked = pb.UpdateScheduleRequest(
        name=name_of("edited"),
        schedule=pb.Schedule(labels={"team": "billing"}),
        update_mask=FieldMask(paths=["labels"]),
    )
    labelled = schedules.UpdateSchedule(masked).schedule
    assert (labelled.labels["team"], labelled.max_runs) == ("billing", 7)
    answer = schedules.ListScheduleVersions(
        pb.ListScheduleVersionsRequest(parent=name_of("edited"), page_size=2)
    )
    rest = schedules.ListScheduleVersions(
        pb.ListScheduleVersionsRequest(
            parent=name_of("edited"), page_size=2, page_token=answer.next_page_token
        )
    )
    versions = [*answer.versions, *rest.versions]
    assert [(each.version, each.schedule.max_runs) for each in versions] == [(1, 0), (2, 7), (3, 7)]
    assert versions[0].HasField("until_time")


def test_an_update_of_what_is_missing_creates_it_if_it_may(schedules: Any) -> None:
    request = pb.UpdateScheduleRequest(name=name_of("applied"), schedule=every(3_600))
    assert isinstance(refused(lambda: schedules.UpdateSchedule(request)), TaskNotFound)
    request.allow_missing = True
    made = schedules.UpdateSchedule(request).schedule
    assert made.version == 1
    assert schedules.UpdateSchedule(request).schedule == made


def test_a_deleted_name_is_free_again(schedules: Any) -> None:
    create(schedules, "reborn", every(3_600))
    schedules.DeleteSchedule(pb.DeleteScheduleRequest(name=name_of("reborn")))
    gone = schedules.GetSchedule(pb.GetScheduleRequest(name=name_of("reborn"))).schedule
    assert gone.state == pb.SCHEDULE_STATE_ENDED
    again = create(schedules, "reborn", every(1_800))
    assert (again.state, again.version) == (pb.SCHEDULE_STATE_ACTIVE, 2)


def test_a_pause_says_who_and_why_and_nothing_runs_until_it_is_resumed(schedules: Any) -> None:
    create(schedules, "paused", every(0.2))
    until(lambda: bool(ledger(schedules, "paused")), "a first verdict")
    request = pb.PauseScheduleRequest(name=name_of("paused"), reason="the bank is closed")
    paused = schedules.PauseSchedule(request).schedule
    assert paused.state == pb.SCHEDULE_STATE_PAUSED
    assert (paused.pause.reason, bool(paused.pause.actor)) == ("the bank is closed", True)
    runs = schedules.GetSchedule(pb.GetScheduleRequest(name=name_of("paused"))).schedule.runs
    paused_at_ms = paused.pause.time.ToMilliseconds()
    until(lambda: now_ms() > paused_at_ms + 700, "some nominal times in the pause")
    resumed = schedules.ResumeSchedule(pb.ResumeScheduleRequest(name=name_of("paused"))).schedule
    assert (resumed.state, resumed.runs) == (pb.SCHEDULE_STATE_ACTIVE, runs)
    spans = ledger(schedules, "paused", verdicts=[pb.VERDICT_PAUSED])
    assert sum(each.times for each in spans) >= 3
    schedules.DeleteSchedule(pb.DeleteScheduleRequest(name=name_of("paused")))


def test_a_trigger_runs_now_and_once_for_one_request(dev: DevServer, schedules: Any) -> None:
    create(schedules, "by-hand", every(3_600))
    request = pb.TriggerScheduleRequest(name=name_of("by-hand"), request_id=str(uuid.uuid4()))
    first = schedules.TriggerSchedule(request)
    second = schedules.TriggerSchedule(request)
    assert second.task == first.task
    task_id = first.task.rpartition("/")[2]
    until(lambda: task_id in {start.task_id for start in dev.starts()}, "the run's start")
    assert first.task in first.schedule.recent_tasks
    assert first.schedule.runs == 0


def test_the_ledger_has_every_nominal_time_once(dev: DevServer, schedules: Any) -> None:
    create(schedules, "ledger", every(0.25))
    until(lambda: len(ledger(schedules, "ledger")) >= 5, "five verdicts")
    schedules.DeleteSchedule(pb.DeleteScheduleRequest(name=name_of("ledger")))
    rows = ledger(schedules, "ledger", page_size=2)
    times = [row.nominal_time.ToMilliseconds() for row in rows]
    assert times == list(range(times[0], times[-1] + 1, 250))
    launched = [row for row in rows if row.verdict == pb.VERDICT_LAUNCHED]
    assert all(row.task and row.version == 1 for row in launched)
    named = {row.task.rpartition("/")[2] for row in launched}
    until(lambda: named <= {start.task_id for start in dev.starts()}, "a start of each")


def test_a_backfill_launches_its_range_once_more(dev: DevServer, schedules: Any) -> None:
    create(schedules, "filled", every(60))
    now_s = now_ms() // 1_000
    request = pb.CreateBackfillRequest(
        parent=name_of("filled"),
        backfill_id="october",
        backfill=pb.Backfill(
            start_time=Timestamp(seconds=now_s - 600), end_time=Timestamp(seconds=now_s - 300)
        ),
    )
    made = schedules.CreateBackfill(request).backfill
    assert schedules.CreateBackfill(request).backfill.name == made.name
    ask = pb.GetBackfillRequest(name=made.name)

    def done() -> bool:
        found = schedules.GetBackfill(ask).backfill
        return bool(found.state == pb.BACKFILL_STATE_DONE and found.launched in (5, 6))

    until(done, "the whole range")
    stopped = schedules.StopBackfill(pb.StopBackfillRequest(name=made.name)).backfill
    assert stopped.state == pb.BACKFILL_STATE_DONE


def test_schedules_are_listed_by_state_handler_and_label(schedules: Any) -> None:
    for part in ("list-a", "list-b", "list-c"):
        create(schedules, part, every(3_600, labels={"list": "yes", "part": part}))
    schedules.DeleteSchedule(pb.DeleteScheduleRequest(name=name_of("list-c")))

    def listed(**fields: Any) -> set[str]:
        found: set[str] = set()
        token = ""
        while True:
            request = pb.ListSchedulesRequest(parent=PARENT, page_token=token, **fields)
            answer = schedules.ListSchedules(request)
            found |= {each.name.rpartition("/")[2] for each in answer.schedules}
            token = answer.next_page_token
            if not token:
                return found

    assert listed(label="list=yes", page_size=1) == {"list-a", "list-b"}
    assert listed(label="list=yes", states=[pb.SCHEDULE_STATE_ENDED]) == {"list-c"}
    assert listed(label="part=list-a", handler="it.echo") == {"list-a"}
    assert listed(label="list=yes", handler="it.count") == set()


def test_a_preview_names_times_to_come_and_what_catch_up_would_do(schedules: Any) -> None:
    after = Timestamp(seconds=1_774_656_000)  # 2026-03-28T00:00Z, the day before the clocks change
    request = pb.PreviewScheduleRequest(
        parent=PARENT,
        schedule=cron("30 2 * * *", "Europe/Berlin"),
        count=3,
        after=after,
    )
    answer = schedules.PreviewSchedule(request)
    seconds = [each.nominal_time.seconds - after.seconds for each in answer.times]
    assert seconds == [5_400, 90_000, 174_600]
    assert [list(each.marks) for each in answer.times] == [[], ["MOVED"], []]
    missed = pb.PreviewScheduleRequest(
        parent=PARENT,
        schedule=every(60),
        missed_since=after,
        after=Timestamp(seconds=after.seconds + 247 * 60 + 1),
    )
    assert schedules.PreviewSchedule(missed).catch_up == "247 missed, policy ONE runs 1"


def test_a_nominal_time_is_skipped_while_a_run_has_not_ended(
    dev: DevServer, schedules: Any
) -> None:
    schedule = every(0.2)
    held = task_pb2.Payload(data=b'{"name":"overlap"}')
    schedule.task.CopyFrom(task_pb2.Task(handler="it.hold", payload=held))
    create(schedules, "overlap", schedule)
    until(lambda: len(ledger(schedules, "overlap")) >= 4, "four verdicts")
    first, *rest = ledger(schedules, "overlap")
    assert first.verdict == pb.VERDICT_LAUNCHED
    assert {row.verdict for row in rest} == {pb.VERDICT_SKIPPED_OVERLAP}
    (dev.work / "overlap").touch()
    until(lambda: ledger(schedules, "overlap")[-1].verdict == pb.VERDICT_LAUNCHED, "another launch")
    schedules.DeleteSchedule(pb.DeleteScheduleRequest(name=name_of("overlap")))


def test_a_fixed_delay_counts_from_the_end_of_the_run_before(schedules: Any) -> None:
    delayed = pb.Schedule(task=TASK, delay_after_completion=Duration(seconds=1))
    create(schedules, "delayed", delayed)
    until(lambda: len(ledger(schedules, "delayed")) >= 2, "two runs")
    first, second = ledger(schedules, "delayed")[:2]
    gap_ms = second.nominal_time.ToMilliseconds() - first.nominal_time.ToMilliseconds()
    assert gap_ms >= 1_000
    schedules.DeleteSchedule(pb.DeleteScheduleRequest(name=name_of("delayed")))


# Path of the field, a schedule that must be refused there, words of the sentence.
BAD: list[tuple[str, pb.Schedule, str]] = [
    ("schedule.task", pb.Schedule(interval=pb.Interval(every=HOUR)), "must be set"),
    ("schedule", pb.Schedule(task=TASK), "exactly one of"),
    (
        "schedule.calendar",
        every(60, calendar=pb.Calendar(crons=[pb.Cron(expression="* * * * *")])),
        "exactly one of",
    ),
    ("schedule.calendar", pb.Schedule(task=TASK, calendar=pb.Calendar()), "names no instant"),
    ("schedule.calendar.crons[0].expression", cron("60 * * * *"), "at character 1"),
    ("schedule.calendar.crons[0].expression", cron("0 0 31 2 *"), "fire"),
    ("schedule.calendar.crons[0].expression", cron("* * * *"), "fields"),
    ("schedule.calendar.crons[0].expression", cron("x" * 257), "at most 256"),
    ("schedule.calendar.crons[0].time_zone", cron("* * * * *", "Mars/Olympus"), "Mars/Olympus"),
    (
        "schedule.calendar.exclusions[1].dates.dates[0]",
        pb.Schedule(
            task=TASK,
            calendar=pb.Calendar(
                crons=[pb.Cron(expression="* * * * *")],
                exclusions=[
                    pb.Exclusion(cron=pb.Cron(expression="* * 1 1 *")),
                    pb.Exclusion(dates=pb.Dates(dates=["2026-02-30"])),
                ],
            ),
        ),
        "2026-02-30",
    ),
    ("schedule.interval.every", every(0), "between"),
    (
        "schedule.interval.phase",
        pb.Schedule(task=TASK, interval=pb.Interval(every=HOUR, phase=HOUR)),
        "less than every",
    ),
    ("schedule.overlap.limit", every(60, overlap=pb.Overlap(limit=3)), "absent but for"),
    (
        "schedule.overlap.limit",
        every(60, overlap=pb.Overlap(policy=pb.OVERLAP_POLICY_BUFFER)),
        "1 to 100",
    ),
    ("schedule.jitter", every(60, jitter=Duration(seconds=86_401)), "86400s"),
    ("schedule.max_lateness", every(60, max_lateness=Duration()), "between"),
    (
        "schedule.delay_after_completion",
        pb.Schedule(task=TASK, delay_after_completion=Duration(nanos=1)),
        "between",
    ),
    (
        "schedule.end_time",
        every(
            60,
            start_time=Timestamp(seconds=2_000_000_000),
            end_time=Timestamp(seconds=1_900_000_000),
        ),
        "start_time",
    ),
    ("schedule.interval", every(60, end_time=Timestamp(seconds=1)), "would not fire"),
]


@pytest.mark.parametrize(("field", "schedule", "words"), BAD, ids=range(len(BAD)))
def test_bad_schedules_are_refused_with_their_field(
    schedules: Any, field: str, schedule: pb.Schedule, words: str
) -> None:
    error = refused(lambda: create(schedules, "bad", schedule))
    assert isinstance(error, InvalidRequest)
    assert field in [violation.field for violation in error.violations], error.violations
    assert any(words in violation.description for violation in error.violations), error.violations
