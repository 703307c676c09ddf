"""The schedule service's messages, to and from the core's types. Names are taken apart here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from timeball.errors import refused
from timeball.v1 import schedule_service_pb2 as pb

from timeball_server.core.model import (
    Backfill,
    BackfillState,
    CatchUp,
    CatchUpPolicy,
    Overlap,
    OverlapPolicy,
    PublicScheduleState,
    ScheduleSpec,
    ScheduleView,
)
from timeball_server.core.schedules.spec import (
    Calendar,
    Cron,
    ExcludedCron,
    ExcludedDates,
    ExcludedSpan,
    Exclusions,
    FoldRule,
    GapRule,
    Interval,
)
from timeball_server.rpc.convert import (
    ms_from_duration,
    ms_from_timestamp,
    schedule_name,
    set_duration,
    set_timestamp,
    spec_from_task,
    task_from_spec,
    task_name,
)

_DEFAULT_ZONE: Final = "UTC"
_POLICIES: Final = {p: pb.OverlapPolicy.Value(f"OVERLAP_POLICY_{p}") for p in OverlapPolicy}
_CATCH_UPS: Final = {p: pb.CatchUpPolicy.Value(f"CATCH_UP_POLICY_{p}") for p in CatchUpPolicy}
_GAPS: Final = {rule: pb.GapRule.Value(f"GAP_RULE_{rule}") for rule in GapRule}
_FOLDS: Final = {rule: pb.FoldRule.Value(f"FOLD_RULE_{rule}") for rule in FoldRule}
_BACKFILLS: Final = {s: pb.BackfillState.Value(f"BACKFILL_STATE_{s}") for s in BackfillState}
_STATES: Final = {s: pb.ScheduleState.Value(f"SCHEDULE_STATE_{s}") for s in PublicScheduleState}
_POLICIES_OF: Final = {number: policy for policy, number in _POLICIES.items()}
_CATCH_UPS_OF: Final = {number: policy for policy, number in _CATCH_UPS.items()}
_GAPS_OF: Final = {number: rule for rule, number in _GAPS.items()}
_FOLDS_OF: Final = {number: rule for rule, number in _FOLDS.items()}
STATES_OF: Final[Mapping[int, PublicScheduleState]] = MappingProxyType(
    {number: state for state, number in _STATES.items()}
)
"""The states of schedules by their numbers on the wire."""
_LIMITED: Final = (OverlapPolicy.BUFFER, OverlapPolicy.ALLOW)
RULES: Final = ("interval", "calendar", "delay_after_completion")
FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "task": "task",
        "interval": "calendar",
        "calendar": "calendar",
        "delay_after_completion": "delay_ms",
        "start_time": "calendar",
        "end_time": "calendar",
        "jitter": "calendar",
        "flexible_window": "calendar",
        "max_runs": "max_runs",
        "overlap": "overlap",
        "catch_up": "catch_up",
        "max_lateness": "catch_up",
        "labels": "labels",
    }
)
"""What an update mask may name, and the field of a specification that it changes."""


def last_part(name: str) -> str:
    """What stands after schedules/ in a schedule's name.

    Raises:
        InvalidRequest: it is not the name of a schedule.
    """
    match name.split("/"):
        case ["namespaces", _, "schedules", part]:
            return part
        case _:
            raise refused("name", "must be namespaces/{namespace}/schedules/{schedule}")


def backfill_parts(name: str) -> tuple[str, str]:
    """The schedule's part and the backfill's id in a backfill's name.

    Raises:
        InvalidRequest: it is not the name of a backfill.
    """
    match name.split("/"):
        case ["namespaces", _, "schedules", part, "backfills", backfill_id]:
            return part, backfill_id
        case _:
            sentence = "must be namespaces/{namespace}/schedules/{schedule}/backfills/{backfill}"
            raise refused("name", sentence)


def spec_from(
    message: pb.Schedule, *, namespace: str, subject: str, name: str, needs_task: bool = True
) -> ScheduleSpec:
    """The specification in a message; when it fires is checked by whoever knows the time.

    Args:
        name: what its creator chose, empty = it is called by its id.

    Raises:
        InvalidRequest: fields contradict each other, or one is missing.
    """
    if needs_task and not message.HasField("task"):
        raise refused("schedule.task", "must be set")
    delay_ms = _delay_ms(message)
    return ScheduleSpec(
        task=spec_from_task(message.task, namespace=namespace, subject=subject),
        calendar=calendar_from(message, seed=f"{namespace}/{name or message.task.handler}"),
        delay_ms=delay_ms,
        max_runs=message.max_runs,
        overlap=_overlap_from(message, delay_ms),
        catch_up=_catch_up_from(message),
        labels=tuple(sorted(message.labels.items())),
        name=name,
    )


def _delay_ms(message: pb.Schedule) -> int | None:
    given = [name for name in RULES if message.HasField(name)]
    if len(given) != 1:
        sentence = "must say when: set exactly one of interval, calendar, delay_after_completion"
        raise refused("schedule" if not given else f"schedule.{given[1]}", sentence)
    if given[0] != RULES[2]:
        return None
    return ms_from_duration(message.delay_after_completion)


def calendar_from(message: pb.Schedule, *, seed: str) -> Calendar:
    """When a schedule fires; for a delay after completion only its bounds and its spread."""
    has, wished = message.HasField, message.calendar
    intervals = [*wished.intervals] or ([message.interval] if has("interval") else [])
    gap = _GAPS_OF.get(wished.gap, GapRule.RUN_AT_END)
    fold = _FOLDS_OF.get(wished.fold, FoldRule.FIRST)
    return Calendar(
        crons=tuple(
            Cron(
                expression=cron.expression,
                zone=cron.time_zone or _DEFAULT_ZONE,
                gap=gap,
                fold=fold,
            )
            for cron in wished.crons
        ),
        intervals=tuple(
            Interval(every_ms=ms_from_duration(each.every), phase_ms=ms_from_duration(each.phase))
            for each in intervals
        ),
        excluded=_excluded_from(wished.exclusions),
        start_ms=ms_from_timestamp(message.start_time) if has("start_time") else None,
        end_ms=ms_from_timestamp(message.end_time) if has("end_time") else None,
        jitter_ms=ms_from_duration(message.jitter),
        window_ms=ms_from_duration(message.flexible_window),
        seed=seed,
    )


def _excluded_from(messages: Sequence[pb.Exclusion]) -> Exclusions:
    kinds: dict[str | None, list[Any]] = {"dates": [], "span": [], "cron": []}
    for position, message in enumerate(messages):
        kind = message.WhichOneof("kind")
        if kind is None:
            field = f"schedule.calendar.exclusions[{position}]"
            raise refused(field, "must be one of dates, span and cron")
        kinds[kind].append(getattr(message, kind))
    return Exclusions(
        dates=tuple(
            ExcludedDates(dates=tuple(each.dates), zone=each.time_zone or _DEFAULT_ZONE)
            for each in kinds["dates"]
        ),
        spans=tuple(
            ExcludedSpan(
                from_ms=ms_from_timestamp(each.start_time), to_ms=ms_from_timestamp(each.end_time)
            )
            for each in kinds["span"]
        ),
        crons=tuple(
            ExcludedCron(expression=each.expression, zone=each.time_zone or _DEFAULT_ZONE)
            for each in kinds["cron"]
        ),
    )


def _overlap_from(message: pb.Schedule, delay_ms: int | None) -> Overlap:
    if delay_ms is not None:
        if message.HasField("overlap"):
            sentence = "must be absent with delay_after_completion: one run is in hand at most"
            raise refused("schedule.overlap", sentence)
        return Overlap(policy=OverlapPolicy.SKIP)
    policy = _POLICIES_OF.get(message.overlap.policy, OverlapPolicy.SKIP)
    limit = message.overlap.limit
    if policy in _LIMITED and not limit:
        raise refused("schedule.overlap.limit", "must be 1 to 100 for BUFFER and ALLOW")
    if policy not in _LIMITED and limit:
        raise refused("schedule.overlap.limit", "must be absent but for BUFFER and ALLOW")
    return Overlap(policy=policy, limit=limit)


def _catch_up_from(message: pb.Schedule) -> CatchUp:
    wished, default = message.catch_up, CatchUp()
    late = message.HasField("max_lateness")
    return CatchUp(
        policy=_CATCH_UPS_OF.get(wished.policy, default.policy),
        window_ms=(
            ms_from_duration(wished.window) if wished.HasField("window") else default.window_ms
        ),
        max_lateness_ms=ms_from_duration(message.max_lateness) if late else None,
    )


def masked_fields(paths: Sequence[str]) -> tuple[str, ...] | None:
    """The fields of a specification that an update mask names; None = all of them.

    Raises:
        InvalidRequest: it names something that is not changed by itself.
    """
    if not paths or list(paths) == ["*"]:
        return None
    for path in paths:
        if path not in FIELDS:
            sentence = f"{path} cannot be changed by itself; name some of {', '.join(FIELDS)}"
            raise refused("update_mask", sentence)
    return tuple(sorted({FIELDS[path] for path in paths}))


def name_of(view: ScheduleView) -> str:
    """A schedule's name: what its creator chose, or its id."""
    return schedule_name(view.spec.task.namespace, view.spec.name or view.schedule_id)


def schedule_message(view: ScheduleView) -> pb.Schedule:
    """A schedule as callers see it."""
    namespace = view.spec.task.namespace
    message = spec_message(view.spec)
    message.name = name_of(view)
    message.uid = view.schedule_id
    message.runs = view.runs
    message.ended = view.ended
    message.ended_cause = view.ended_cause
    message.recent_tasks.extend(task_name(namespace, task_id) for task_id in view.recent)
    message.open_tasks.extend(task_name(namespace, task_id) for task_id in view.open)
    message.etag = str(view.revision)
    message.version = view.version
    message.state = _STATES[view.state]
    set_timestamp(message.create_time, view.created_ms)
    set_timestamp(message.update_time, view.updated_ms or view.created_ms)
    if view.next_ms is not None:
        set_timestamp(message.next_time, view.next_ms)
    if view.ended_ms is not None:
        set_timestamp(message.ended_time, view.ended_ms)
    if view.paused is not None:
        message.pause.reason, message.pause.actor = view.paused.reason, view.paused.actor
        set_timestamp(message.pause.time, view.paused.at_ms)
    for waiting_ms in view.buffered:
        set_timestamp(message.buffered_times.add(), waiting_ms)
    return message


def spec_message(spec: ScheduleSpec) -> pb.Schedule:
    """What a schedule was asked to be."""
    message = pb.Schedule(
        task=task_from_spec(spec.task, full=True),
        max_runs=spec.max_runs,
        labels=dict(spec.labels),
        overlap=pb.Overlap(limit=spec.overlap.limit),
        catch_up=pb.CatchUp(),
    )
    if spec.delay_ms is None:
        message.overlap.policy = _POLICIES[spec.overlap.policy]
    else:
        message.ClearField("overlap")
        set_duration(message.delay_after_completion, spec.delay_ms)
    rule = spec.catch_up
    message.catch_up.policy = _CATCH_UPS[rule.policy]
    set_duration(message.catch_up.window, rule.window_ms)
    if rule.max_lateness_ms is not None:
        set_duration(message.max_lateness, rule.max_lateness_ms)
    if spec.delay_ms is None:
        _write_rules(message, spec.when)
    _write_bounds(message, spec.when)
    return message


def _write_rules(message: pb.Schedule, calendar: Calendar) -> None:
    if not calendar.crons and len(calendar.intervals) == 1 and calendar.excluded == Exclusions():
        _write_interval(message.interval, calendar.intervals[0])
        return
    target = message.calendar
    for cron in calendar.crons:
        target.crons.add(expression=cron.expression, time_zone=cron.zone)
        target.gap = _GAPS[cron.gap]
        target.fold = _FOLDS[cron.fold]
    for interval in calendar.intervals:
        _write_interval(target.intervals.add(), interval)
    excluded = calendar.excluded
    for dates in excluded.dates:
        target.exclusions.add(dates=pb.Dates(dates=dates.dates, time_zone=dates.zone))
    for span in excluded.spans:
        made = target.exclusions.add().span
        set_timestamp(made.start_time, span.from_ms)
        set_timestamp(made.end_time, span.to_ms)
    for left_out in excluded.crons:
        cron_message = pb.Cron(expression=left_out.expression, time_zone=left_out.zone)
        target.exclusions.add(cron=cron_message)


def _write_interval(target: pb.Interval, interval: Interval) -> None:
    set_duration(target.every, interval.every_ms)
    set_duration(target.phase, interval.phase_ms)


def _write_bounds(message: pb.Schedule, calendar: Calendar) -> None:
    if calendar.start_ms is not None:
        set_timestamp(message.start_time, calendar.start_ms)
    if calendar.end_ms is not None:
        set_timestamp(message.end_time, calendar.end_ms)
    if calendar.jitter_ms:
        set_duration(message.jitter, calendar.jitter_ms)
    if calendar.window_ms:
        set_duration(message.flexible_window, calendar.window_ms)


def backfill_message(view: ScheduleView, backfill: Backfill) -> pb.Backfill:
    """A backfill as callers see it."""
    message = pb.Backfill(
        name=f"{name_of(view)}/backfills/{backfill.backfill_id}",
        state=_BACKFILLS[backfill.state],
        launched=backfill.launched,
        actor=backfill.actor,
    )
    set_timestamp(message.start_time, backfill.from_ms)
    set_timestamp(message.end_time, backfill.to_ms)
    set_timestamp(message.create_time, backfill.created_ms)
    if backfill.next_ms is not None:
        set_timestamp(message.next_time, backfill.next_ms)
    return message
