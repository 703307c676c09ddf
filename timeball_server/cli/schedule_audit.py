"""`timeball schedule audit`: does the ledger account for every nominal time?

Reads versions and ledger through the public API and lets the oracle count again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from timeball.cli.output import counted, output_option, print_json, print_table
from timeball.cli.session import Session

from timeball_server.cli.schedule_judge import Audit, Row, Version, judge
from timeball_server.core.journal_text import instant_text

if TYPE_CHECKING:
    from timeball.v1 import schedule_service_pb2 as pb

ROWS_MOST = 10_000_000
SHOWN_MOST = 100
_UTC_ZONE = "UTC"


@click.command("audit")
@click.argument("name")
@output_option
@click.pass_obj
def command(session: Session, name: str, output: str) -> None:
    """Count every nominal time of NAME again, and account for each by the ledger.

    The count is made by a second implementation of the rules. Exit code 1 if anything is
    unexplained. A schedule that has ended is judged up to its last verdict; if a name was deleted
    and made anew, the time between shows as unexplained.
    """
    schedules = session.client.schedules
    # In this order: what is decided by the first answer is in the rows of a later one.
    schedule = schedules.get(name)
    decided_until_ms = _ms(schedules.decided_until(name))
    versions = [version_of(each) for each in schedules.versions(name, limit=ROWS_MOST)]
    rows = [row_of(each) for each in schedules.occurrences(name, limit=ROWS_MOST)]
    if schedule.ended:
        decided_until_ms = max([0, *(row.last_ms + 1 for row in rows)])
    audit = judge(versions, rows, decided_until_ms)
    delays = sum(version.rules is None for version in versions)
    _print(audit, len(rows), decided_until_ms, delays, output)
    if audit.unexplained:
        click.get_current_context().exit(1)


def _print(audit: Audit, rows: int, decided_until_ms: int, delays: int, output: str) -> None:
    shown = audit.unexplained[:SHOWN_MOST]
    if output == "json":
        told = [{"time": instant_text(x.at_ms), "version": x.version, "why": x.why} for x in shown]
        print_json(
            {
                "nominalTimes": audit.nominal_times,
                "rows": rows,
                "decidedUntil": instant_text(decided_until_ms),
                "unexplained": len(audit.unexplained),
                "first": told,
            }
        )
        return
    click.echo(f"{audit.nominal_times} nominal times, {len(audit.unexplained)} unexplained")
    if delays:
        click.echo(
            f"{counted(delays, 'version')} with a delay after completion: nothing to count",
            err=True,
        )
    if shown:
        cells = [(instant_text(x.at_ms), str(x.version), x.why) for x in shown]
        print_table(("time", "version", "unexplained"), cells)


def version_of(version: pb.ScheduleVersion) -> Version:
    """A version as the judge reads it."""
    schedule = version.schedule
    is_delay = schedule.HasField("delay_after_completion")
    return Version(
        number=version.version,
        rules=None if is_delay else rules_of(schedule),
        after_ms=_ms(version.after_time),
        until_ms=_ms(version.until_time) if version.HasField("until_time") else None,
    )


def row_of(row: pb.Occurrence) -> Row:
    """A row of the ledger as the judge reads it."""
    from timeball.v1 import schedule_service_pb2 as pb

    first_ms = _ms(row.nominal_time)
    return Row(
        first_ms=first_ms,
        last_ms=_ms(row.last_nominal_time) if row.HasField("last_nominal_time") else first_ms,
        times=row.times,
        verdict=pb.Verdict.Name(row.verdict).removeprefix("VERDICT_"),
        version=row.version,
    )


def rules_of(schedule: pb.Schedule) -> dict[str, Any]:
    """A schedule's calendar as the oracle reads it."""
    from timeball.v1 import schedule_service_pb2 as pb

    calendar = schedule.calendar
    intervals = [*calendar.intervals]
    if schedule.HasField("interval"):
        intervals.append(schedule.interval)
    gap = _word(pb.GapRule.Name(calendar.gap))
    fold = _word(pb.FoldRule.Name(calendar.fold))
    rules: dict[str, Any] = {
        "crons": [{**_cron(each), "gap": gap, "fold": fold} for each in calendar.crons],
        "intervals": [
            {"every_ms": each.every.ToMilliseconds(), "phase_ms": each.phase.ToMilliseconds()}
            for each in intervals
        ],
        "excluded": _excluded(calendar),
        "seed": _seed(schedule),
    }
    for end in ("start", "end"):
        if schedule.HasField(f"{end}_time"):  # type: ignore[arg-type] # one of two literal names
            rules[f"{end}_ms"] = _ms(getattr(schedule, f"{end}_time"))
    return rules


def _excluded(calendar: pb.Calendar) -> dict[str, Any]:
    found: dict[str, list[Any]] = {"dates": [], "spans": [], "crons": []}
    for each in calendar.exclusions:
        if each.HasField("dates"):
            zone = each.dates.time_zone or _UTC_ZONE
            found["dates"].append({"dates": [*each.dates.dates], "zone": zone})
        elif each.HasField("span"):
            span = each.span
            found["spans"].append({"from_ms": _ms(span.start_time), "to_ms": _ms(span.end_time)})
        else:
            found["crons"].append(_cron(each.cron))
    return found


def _cron(cron: pb.Cron) -> dict[str, Any]:
    return {"expression": cron.expression, "zone": cron.time_zone or _UTC_ZONE}


def _seed(schedule: pb.Schedule) -> str:
    """What H is hashed from: the chosen name, or the handler's where there is only an id."""
    _, namespace, _, part = schedule.name.split("/")
    return f"{namespace}/{part if part[:1].isalpha() else schedule.task.handler}"


def _word(name: str) -> str:
    return name.partition("_RULE_")[2]


def _ms(stamp: Any) -> int:
    return int(stamp.ToMilliseconds())
