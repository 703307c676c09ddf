"""`timeball schedule apply`: schedules declared in a file or in code, with a plan shown first."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from timeball.cli.output import counted, output_option, print_json, print_table, short
from timeball.cli.schedule_plan import Step, changes, read_code, read_file
from timeball.cli.session import Session
from timeball.errors import TaskNotFound

if TYPE_CHECKING:
    from timeball.schedules import Schedules
    from timeball.v1 import schedule_service_pb2 as pb

HEADER = ("plan", "schedule", "changes")
LIST_MOST = 100_000


@click.command()
@click.argument("file", required=False)
@click.option("--app", help="Instead: module[:object] or file.py whose code declares them.")
@click.option("--group", help="With --app: the group that they carry; default: the app's name.")
@click.option("--plan", "only_plan", is_flag=True, help="Show what would change, change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--prune", is_flag=True, help="Delete what this group had and has no more.")
@output_option
@click.pass_obj
def apply(
    session: Session, /, only_plan: bool, yes: bool, prune: bool, output: str, **source: str | None
) -> None:
    """Make schedules what the TOML FILE declares ("-" reads it); doing it twice changes nothing.

    With --app they are those that code declares: `report.declare_schedule("nightly", cron(...))`.

    \b
    group = "shop"                    # --prune looks at this group alone
    [schedules.nightly]
    handler = "billing.charge"
    arguments = { user = "u1" }
    cron = "0 9 * * mon-fri"
    tz = "Europe/Berlin"
    overlap = "buffer_one"

    The words are those of the options of `timeball schedule create`, with _ for - and lists and
    tables where they repeat: exclude_dates = ["2026-12-25"], labels = { team = "billing" }. A
    schedule that is paused stays paused.
    """  # noqa: D301 - click wants the character itself
    group, wished = _declared(**source)
    schedules = session.client.schedules
    steps = [_step(schedules, name, each) for name, each in wished.items()]
    if prune:
        steps += _pruned(schedules, group, wished)
    todo = [step for step in steps if step.action != "unchanged"]
    if output == "json" and todo and not (only_plan or yes):
        raise click.UsageError("with -o json say --plan or --yes")
    if output == "table":
        print_table(HEADER, [step.row() for step in steps])
        if todo and not only_plan and not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("without a terminal say --plan or --yes")
            click.confirm(f"Apply {counted(len(todo), 'change')}?", abort=True, err=True)
    if not only_plan:
        for step in todo:
            _do(schedules, step)
    if output == "json":
        print_json({"plan": [step.told() for step in steps], "applied": not only_plan})
    else:
        _tell(todo, only_plan)


def _declared(
    file: str | None, app: str | None, group: str | None
) -> tuple[str, dict[str, pb.Schedule]]:
    if (file is None) == (app is None):
        raise click.UsageError("say a FILE, or --app")
    if app is not None:
        return _of_app(app, group)
    if group is not None:
        raise click.UsageError('--group goes with --app; a FILE says: group = "shop"')
    return read_file(_bytes(file or ""))


def _of_app(app: str, group: str | None) -> tuple[str, dict[str, pb.Schedule]]:
    """The group and the schedules of an app's tasks; a file is called by its stem."""
    from timeball.apps import load_handlers
    from timeball.declared import declared

    handlers = load_handlers(app)
    place, _, attribute = app.partition(":")
    stem = Path(place).stem if place.endswith(".py") else place
    chosen = group or ".".join(filter(None, (stem, attribute)))
    mine = [each for each in declared.values() if each.submission.handler in handlers]
    return chosen, read_code(chosen, mine)


def _bytes(file: str) -> bytes:
    try:
        with click.open_file(file, "rb") as opened:
            content: bytes = opened.read()
            return content
    except OSError as error:
        raise click.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from error


def _step(schedules: Schedules, name: str, wished: pb.Schedule) -> Step:
    try:
        known = schedules.get(name)
    except TaskNotFound:
        return Step(action="create", name=name, wished=wished)
    if known.ended:
        return Step(action="create", name=name, wished=wished)
    found = changes(known, wished)
    action = "update" if found else "unchanged"
    return Step(action=action, name=name, wished=wished, etag=known.etag, changes=found)


def _pruned(schedules: Schedules, group: str, wished: dict[str, pb.Schedule]) -> Iterator[Step]:
    for known in schedules.list(label=f"applied={group}", limit=LIST_MOST):
        name = short(known.name)
        if name not in wished:
            yield Step(action="delete", name=name, wished=known)


def _do(schedules: Schedules, step: Step) -> None:
    if step.action == "delete":
        schedules.delete(step.name)
    elif step.action == "create":
        schedules.patch(step.name, step.wished, allow_missing=True)
    else:
        # What was planned is what is done: somebody else's change in between is refused.
        schedules.patch(step.name, step.wished, etag=step.etag)


def _tell(todo: Sequence[Step], only_plan: bool) -> None:
    if not todo:
        click.echo("nothing to do", err=True)
    elif only_plan:
        click.echo(f"{counted(len(todo), 'change')}; nothing was done", err=True)
    else:
        counts: dict[str, Any] = {}
        for step in todo:
            counts[step.action] = counts.get(step.action, 0) + 1
        done = ", ".join(f"{action}d {count}" for action, count in counts.items())
        click.echo(f"applied: {done}", err=True)
