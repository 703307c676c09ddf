"""What people meet who live with the command line: help, hints, terminals, pipes, odd texts."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import grpc
import pytest
from click.testing import CliRunner
from timeball.apps import UnusableApp, load_handlers
from timeball.cli.failures import HINTS
from timeball.cli.lazy import LazyGroup
from timeball.cli.output import counted, draw, plain, print_table
from timeball.cli.root import root
from timeball.cli.schedule_tables import when
from timeball.v1 import schedule_service_pb2, task_pb2, task_service_pb2

from tests.unit.sdk.test_command_line import run

if TYPE_CHECKING:
    from tests.unit.sdk.conftest import Door

ID = "9" * 40
TASK_TABLE = ("id", "handler", "state", "due", "attempt", "priority")
TASK_ROW = (ID, "billing.charge", "FAILED", "2030-01-01T00:00:00.000Z", "1", "4")


def commands(
    group: click.Group = root, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command of the program with its path."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*path, name), found
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))


def said_commands(text: str) -> list[list[str]]:
    """The command lines in back ticks, as words."""
    lines = re.findall(r"`timeball ([^`]+)`", " ".join(text.split()))
    return [shlex.split(line) for line in lines if "|" not in line]


def unknown(words: list[str]) -> str:
    """The first word of a command line that the program does not have; empty if it has all.

    What another package brings is not looked at where that is not installed.
    """
    command: click.Command = root
    for word in words:
        if isinstance(command, LazyGroup) and word in command.elsewhere.keys() - set(
            command.list_commands(click.Context(command))
        ):
            return ""
        if word.startswith("-"):
            known = {option for each in command.params for option in each.opts}
            if word not in known:
                return word
        elif isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            if found is None:
                return word
            command = found
    return ""


def test_every_command_line_that_help_and_hints_name_exists() -> None:
    texts = [*HINTS.values(), *((each.help or "") for _, each in commands())]
    said = [words for text in texts for words in said_commands(text)]
    assert len(said) > 10
    assert [(words, unknown(words)) for words in said if unknown(words)] == []


def test_a_command_line_that_does_not_exist_is_found() -> None:
    assert unknown(["key", "create", "x", "--namespace", "n"]) == "--namespace"
    assert unknown(["task", "lst"]) == "lst"


def test_help_says_what_every_command_does_in_whole_sentences() -> None:
    for path, command in commands():
        if isinstance(command, LazyGroup):
            assert all(line.endswith(".") for _, line in command.lines()), path


def test_a_command_of_the_server_that_is_not_installed_says_how_to_get_it() -> None:
    class Alone(LazyGroup):
        joining = "no.such.entry.points"
        elsewhere = {"dev": ("timeball-server", "Everything.")}  # noqa: RUF012

    outcome = CliRunner().invoke(Alone("timeball"), ["dev"])
    assert outcome.exit_code == 2
    assert "pip install 'timeball-server'" in outcome.stderr
    assert CliRunner().invoke(Alone("timeball"), ["nonsense"]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("task", "list", "--from", "soon"), "--from"),
        (("task", "list", "--to", "2030-01-01"), "--to"),
        (("task", "create", "a", "--in", "5"), "--in"),
        (("task", "create", "a", "--attempt-timeout", "5"), "--attempt-timeout"),
        (("task", "reschedule", ID, "--in", "5"), "--in"),
        (("task", "reschedule", ID, "--at", "2030-01-01"), "--at"),
        (("task", "update", ID, "--attempt-timeout", "x"), "--attempt-timeout"),
        (("task", "wait", ID, "--timeout", "x"), "--timeout"),
    ],
)
def test_what_is_wrong_is_named_as_it_was_written(
    door: Door, arguments: tuple[str, ...], option: str
) -> None:
    outcome = door.finish(run(door, *arguments))
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith(f"error: {option}: ")
    assert "timedelta" not in outcome.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "no tasks of yours in the last 7 days; see --from and --owner"),
        (("--owner", "me"), "no tasks in the last 7 days; see --from"),
        (("--from", "2030-01-01T00:00Z"), "no tasks of yours; see --owner"),
        (("--from", "2030-01-01T00:00Z", "--everybody", "--state", "FAILED"), "no tasks"),
    ],
)
def test_an_empty_list_says_so_where_words_go(
    door: Door, options: tuple[str, ...], said: str
) -> None:
    listing = run(door, "task", "list", *options)
    door.take().answer(task_service_pb2.ListTasksResponse())
    outcome = door.finish(listing)
    assert outcome.stdout.split() == [name.upper() for name in TASK_TABLE]
    assert outcome.stderr == f"{said}\n"


def test_whoever_waits_knows_for_what_and_hears_how_it_ended(door: Door) -> None:
    waiting = run(door, "task", "create", "a", "--wait")
    door.take().answer(door.created())
    failure = task_pb2.Failure(kind="CARD_DECLINED", message="no money")
    cause = task_pb2.FAILURE_CAUSE_NON_RETRIABLE
    task = door.task("FAILED", cause=cause, failure=failure)
    door.take().answer(task_service_pb2.WaitTaskResponse(task=task, done=True))
    outcome = door.finish(waiting)
    assert outcome.stderr.splitlines() == [
        f"waiting for {door.task_id}",
        "NON_RETRIABLE: CARD_DECLINED: no money",
    ]


def test_whoever_waits_sees_the_result(door: Door) -> None:
    waiting = run(door, "task", "wait", door.task_id)
    task = door.task("SUCCEEDED", result=task_pb2.Payload(data=b'"paid"'))
    door.take().answer(task_service_pb2.WaitTaskResponse(task=task, done=True))
    assert door.finish(waiting).stderr == 'result: "paid"\n'


def test_ids_are_whole_on_a_terminal_that_is_too_narrow(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A folded id cannot be copied; the terminal itself breaks long plain lines."""
    assert not draw(TASK_TABLE, [TASK_ROW], 100)
    assert capsys.readouterr().out == ""
    assert draw(TASK_TABLE, [TASK_ROW], 120)
    assert ID in capsys.readouterr().out


def test_only_a_last_cell_is_folded(capsys: pytest.CaptureFixture[str]) -> None:
    assert draw(("id", "why"), [(ID, "9" * 60)], 80)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert sum(line.count("9") for line in lines) == 100
    assert lines[1].startswith(f"{ID}  9")


def test_nobody_else_s_texts_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id", "message"), [("1", "\x1b[2Jgone\u202e é 漢")])
    assert capsys.readouterr().out.splitlines()[1] == r"1   \x1b[2Jgone\u202e é 漢"


def test_columns_line_up_for_wide_characters() -> None:
    header, wide, accents = plain(("name", "state"), [("漢字", "a"), ("e\u0301e\u0301", "b")])
    assert header == "NAME  STATE"
    assert wide == "漢字  a"
    assert accents == "e\u0301e\u0301    b"


def program(code: str, stdout: int | None) -> subprocess.CompletedProcess[str]:
    """The program, or a piece of it, writing to somewhere else."""
    return subprocess.run(
        [sys.executable, "-c", code],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def test_a_full_disk_is_a_sentence() -> None:
    arguments = ["timeball", "key", "first", "boss", "--role", "admin"]
    code = (
        f"import os, sys; sys.argv = {arguments!r}; os.environ['TIMEBALL_ACCESS_PEPPER'] = 'p' * 16"
        "\nfrom timeball.cli.main import main; main()"
    )
    with Path("/dev/full").open("w") as full:
        outcome = program(code, full.fileno())
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: ")
    assert "Traceback" not in outcome.stderr


def test_a_table_for_nobody_is_no_error() -> None:
    code = "import sys; sys.stdout = None\nfrom timeball.cli.output import print_table as p\n"
    outcome = program(f"{code}p(('id',), [('1',)])", None)
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_without_a_terminal_nobody_is_asked(door: Door, tmp_path: Path) -> None:
    declared = tmp_path / "shop.toml"
    declared.write_text('group = "shop"\n[schedules.a]\nhandler = "x.y"\nevery = "1h"\n')
    applying = run(door, "schedule", "apply", str(declared))
    door.take().fail(grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
    outcome = door.finish(applying)
    assert outcome.exit_code == 2
    assert "without a terminal say --plan or --yes" in outcome.stderr


def test_one_is_no_plural() -> None:
    schedule = schedule_service_pb2.Schedule()
    schedule.calendar.exclusions.add().dates.dates.append("2026-12-25")
    assert when(schedule) == "without 1 exclusion"
    assert [counted(count, "task") for count in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]


def test_an_app_without_such_a_task_is_called_as_it_was_written(tmp_path: Path) -> None:
    app = tmp_path / "tasks.py"
    app.write_text("x = 1\n")
    for attribute in ("nope", "x"):
        with pytest.raises(UnusableApp) as caught:
            load_handlers(f"{app}:{attribute}")
        assert str(caught.value).startswith(str(app))
