"""`timeball schedule` as a user types it, against a running `timeball dev`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.dev_server import ROOT, DevServer, environment, timeball_command
from tests.support.polls import until
from tests.support.typed_commands import Said, typed

LIMIT_S = 30
ECHO = ("it.echo", '{"value": "x"}')
WEEKDAYS = ("--cron", "0 9 * * mon-fri", "--tz", "Europe/Berlin")


class Verbs:
    """Runs `timeball schedule ...`."""

    def __init__(self, address: str) -> None:
        self._address = address

    def run(self, *words: str) -> Said:
        return typed("schedule", *words, TIMEBALL_ADDRESS=self._address)

    def told(self, *words: str) -> str:
        """What a command prints that succeeds."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.told(*words, "-o", "json"))


class Processes(Verbs):
    """Runs each in a process of its own: code of an app is loaded once in a process."""

    def run(self, *words: str) -> Said:
        done = subprocess.run(
            timeball_command("schedule", *words),
            cwd=ROOT,
            env=environment(TIMEBALL_ADDRESS=self._address),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def verbs(dev: DevServer) -> Verbs:
    return Verbs(dev.address)


@pytest.fixture(scope="module")
def processes(dev: DevServer) -> Processes:
    return Processes(dev.address)


def test_a_schedule_from_creation_to_its_end(verbs: Verbs) -> None:
    made = verbs.json("create", "nightly", *ECHO, *WEEKDAYS, "--priority", "7", "--label", "a=b")
    assert made["name"] == "namespaces/default/schedules/nightly"
    assert made["task"]["labels"] == {"schedule": "nightly"}
    again = verbs.run("create", "nightly", *ECHO, *WEEKDAYS)
    assert again.returncode == 5
    assert "nightly" in verbs.told("list", "--label", "a=b")

    changed = verbs.json("update", "nightly", "--jitter", "5s", "--overlap", "allow(3)")
    assert (changed["jitter"], changed["overlap"]["limit"]) == ("5s", 3)
    assert changed["calendar"] == made["calendar"]
    changed = verbs.json("update", "nightly", "--every", "1h", "--arguments", '{"value": "y"}')
    assert changed["interval"]["every"] == "3600s"
    assert (changed["task"]["priority"], changed["version"]) == (7, "3")
    assert verbs.run("update", "nightly", "--etag", "1", "--jitter", "1s").returncode == 5

    assert "PAUSED" in verbs.told("pause", "nightly", "--reason", "closed for repairs")
    assert "closed for repairs" in verbs.told("get", "nightly")
    run_id = verbs.told("trigger", "nightly").strip()
    assert len(run_id) == 40
    assert "ACTIVE" in verbs.told("resume", "nightly")
    assert verbs.json("get", "nightly")["recentTasks"] == [f"namespaces/default/tasks/{run_id}"]

    assert verbs.run("delete", "nightly").returncode == 0
    gone = verbs.json("get", "nightly")
    assert (gone["state"], gone["endedCause"]) == ("SCHEDULE_STATE_ENDED", "deleted by dev")
    assert gone["endedTime"] >= gone["createTime"]
    assert gone["endedTime"].rstrip("Z") in verbs.told("get", "nightly")
    assert verbs.json("list", "--label", "a=b") == {"schedules": []}


def test_a_preview_marks_what_clocks_did_and_what_was_dropped(verbs: Verbs) -> None:
    night = ("--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--after", "2026-03-28T12:00Z")
    moved = verbs.told("preview", *night, "--count", "2").splitlines()
    assert moved[1].split() == [
        "2026-03-29T01:00:00.000Z",
        "2026-03-29T03:00:00+02:00",
        "-",
        "MOVED",
    ]
    assert moved[2].split()[3:] == ["-"]
    dropped = verbs.told("preview", *night, "--count", "2", "--gap", "skip")
    assert "2026-03-29T02:30:00" in dropped.split("DOES NOT FIRE")[1]
    autumn = ("--after", "2026-10-24T12:00Z", "--count", "2", "--fold", "both")
    passes = verbs.told("preview", *night[:4], *autumn)
    assert "FIRST_PASS" in passes
    assert "SECOND_PASS" in passes


def test_a_preview_says_why_it_ends(verbs: Verbs) -> None:
    rule = ("--cron", "0 9 * * *", "--max-runs", "2")
    assert verbs.json("preview", *rule)["endCause"] == "all 2 runs are launched"
    seen = verbs.run("preview", *rule)
    assert "no more: all 2 runs are launched" in seen.stderr
    assert "endCause" not in verbs.json("preview", *rule, "--count", "2")


def test_a_preview_tells_what_catch_up_would_do(verbs: Verbs) -> None:
    span = ("--missed-since", "2026-01-01T00:00Z", "--after", "2026-01-01T04:07:30Z")
    said = verbs.told("preview", "--every", "1m", *span).strip()
    assert said.startswith("247 missed, policy ONE runs 1")


def test_a_backfill_and_the_ledger(verbs: Verbs) -> None:
    verbs.told("create", "hourly", *ECHO, "--every", "1h")
    span = ("--from", "2026-01-01T00:00Z", "--to", "2026-01-01T02:00Z")
    made = verbs.json("backfill", "hourly", *span, "--id", "again")
    assert made["name"].endswith("/schedules/hourly/backfills/again")
    assert verbs.json("backfill", "hourly", "--show", "again")["startTime"].startswith("2026")
    stopped = verbs.json("backfill", "hourly", "--stop", "again")
    assert stopped["state"] in {"BACKFILL_STATE_STOPPED", "BACKFILL_STATE_DONE"}

    verbs.told("create", "once", *ECHO, "--every", "100ms", "--max-runs", "1")
    until(lambda: "once" in verbs.told("list", "--state", "ENDED"), "its run was launched")
    header, row = verbs.told("occurrences", "once").splitlines()
    assert header.split()[:4] == ["NOMINAL", "LAST", "TIMES", "VERDICT"]
    assert row.split()[1:4] == ["-", "1", "LAUNCHED"]
    assert verbs.json("occurrences", "once", "--verdict", "PAUSED") == {"occurrences": []}


def test_what_is_wrong_names_its_field_and_where(verbs: Verbs) -> None:
    for code, said, words in (
        (2, "at character 13", ("create", "x", *ECHO, "--cron", "0 9 * * mon-fro")),
        (2, "say when", ("create", "x", *ECHO)),
        (2, "overlap", ("create", "x", *ECHO, "--every", "1h", "--overlap", "often")),
        (2, "say cron, every", ("update", "x", "--gap", "skip")),
        (2, "say what to change", ("update", "x")),
        (2, "united", ("preview", "--every", "1h", "--after-completion", "1h")),
        (2, "--from and --to", ("backfill", "x")),
        (2, "DREAMT", ("occurrences", "x", "--verdict", "DREAMT")),
        (2, "No such file", ("apply", "absent.toml")),
        (3, "hint:", ("get", "absent")),
    ):
        done = verbs.run(*words)
        assert (done.returncode, done.stdout) == (code, ""), (words, done)
        assert said in done.stderr, (words, done)


def test_an_audit_accounts_for_every_nominal_time(verbs: Verbs) -> None:
    verbs.told("create", "audited", *ECHO, "--every", "100ms")
    until(lambda: len(verbs.json("occurrences", "audited")["occurrences"]) > 3, "some verdicts")
    verbs.told("update", "audited", "--every", "150ms", "--exclude-cron", "* * 1 1 *")
    verbs.told("pause", "audited")
    verbs.told("resume", "audited")
    living = verbs.json("audit", "audited")
    assert living["nominalTimes"] > 3
    assert living["unexplained"] == 0
    verbs.told("delete", "audited")
    assert verbs.told("audit", "audited").endswith(" nominal times, 0 unexplained\n")


FILE = """
group = "shop"
[schedules.reports]
handler = "it.echo"
arguments = { value = "x" }
cron = ["0 9 * * mon-fri", "0 12 * * sat"]
tz = "Europe/Berlin"
exclude_dates = [2026-12-25, "2026-12-26"]
overlap = "buffer(2)"
priority = 2
attempt_timeout = "30s"

[schedules.sweep]
handler = "it.echo"
arguments = { value = "y" }
after_completion = "10m"
start = 2030-01-01T00:00:00Z
max_attempts = 3

[schedules.pulse]
handler = "it.echo"
every = "1h"
"""


def actions(answer: Any) -> dict[str, str]:
    return {step["name"]: step["action"] for step in answer["plan"]}


def test_a_file_is_applied_once_and_again_changes_nothing(verbs: Verbs, tmp_path: Path) -> None:
    path = tmp_path / "schedules.toml"
    path.write_text(FILE)
    verbs.told("create", "by-hand", *ECHO, "--every", "1h")
    planned = verbs.json("apply", str(path), "--plan")
    assert actions(planned) == {"reports": "create", "sweep": "create", "pulse": "create"}
    assert verbs.run("get", "reports").returncode == 3
    assert verbs.run("apply", str(path)).returncode == 2  # nobody said yes
    assert verbs.json("apply", str(path), "--yes")["applied"]
    before = verbs.json("get", "reports")
    again = verbs.json("apply", str(path), "--yes", "--prune")
    assert set(actions(again).values()) == {"unchanged"}, again
    assert verbs.json("get", "reports")["etag"] == before["etag"]

    verbs.told("pause", "reports")
    path.write_text(FILE.replace("priority = 2\n", "").replace("buffer(2)", "skip"))
    changed = verbs.json("apply", str(path), "--yes")
    (step,) = [each for each in changed["plan"] if each["action"] != "unchanged"]
    assert [each["field"] for each in step["changes"]] == ["overlap", "task.priority"]
    after = verbs.json("get", "reports")
    assert (after["version"], after["task"]["priority"]) == ("2", 4)
    assert after["state"] == "SCHEDULE_STATE_PAUSED"

    path.write_text(FILE.partition("[schedules.pulse]")[0])
    assert "delete" not in verbs.told("apply", str(path), "--plan")
    assert "delete" in verbs.told("apply", str(path), "--plan", "--prune")
    pruned = verbs.json("apply", str(path), "--yes", "--prune")
    assert actions(pruned)["pulse"] == "delete"
    assert verbs.json("get", "pulse")["ended"]
    assert verbs.json("get", "by-hand")["state"] == "SCHEDULE_STATE_ACTIVE"


APP = """
import timeball
from timeball import cron, every

@timeball.task("it.echo")
def echo(value: str) -> str:
    return value

@timeball.task("it.other")
def other() -> None: ...

echo.declare_schedule("in-code", cron("0 9 * * *", tz="Europe/Berlin"), value="x")
other.declare_schedule("in-code-too", every("1h"))
"""


def test_an_app_s_code_is_applied_once_and_again_changes_nothing(
    processes: Processes, verbs: Verbs, tmp_path: Path
) -> None:
    path = tmp_path / "echoes.py"
    path.write_text(APP)
    app = ("apply", "--app", str(path))
    planned = processes.json(*app, "--plan")
    assert actions(planned) == {"in-code": "create", "in-code-too": "create"}
    assert verbs.run("get", "in-code").returncode == 3
    assert processes.json(*app, "--yes")["applied"]
    before = verbs.json("get", "in-code")
    assert before["labels"] == {"applied": "echoes"}
    assert set(actions(processes.json(*app, "--yes", "--prune")).values()) == {"unchanged"}
    assert verbs.json("get", "in-code")["etag"] == before["etag"]

    only = processes.json("apply", "--app", f"{path}:echo", "--plan")
    assert set(actions(only)) == {"in-code"}
    path.write_text(APP.replace("0 9 *", "0 8 *").partition("other.declare")[0])
    changed = processes.json(*app, "--yes", "--prune")
    assert actions(changed) == {"in-code": "update", "in-code-too": "delete"}
    assert verbs.json("get", "in-code")["version"] == "2"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("FILE, or --app", ()),
        ("FILE, or --app", ("a.toml", "--app", "a.py")),
        ("--group goes with --app", ("a.toml", "--group", "g")),
        ("there is no file", ("--app", "absent.py")),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(
    verbs: Verbs, said: str, words: tuple[str, ...]
) -> None:
    done = verbs.run("apply", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[schedules.a", "TOML"),
        ("[tasks.a]", "tasks"),
        ("[schedules.a]\nevery = '1h'", "schedules.a.handler"),
        ("[schedules.a]\nhandler = 'h'", "schedules.a.cron"),
        ("[schedules.a]\nhandler = 'h'\nevery = '1h'\ncolour = 'red'", "schedules.a.colour"),
        ("[schedules.a]\nhandler = 'h'\nevery = 60", "schedules.a.every"),
        ("[schedules.a]\nhandler = 'h'\nevery = '1h'\noverlap = 'x'", "schedules.a.overlap"),
        ("[schedules.a]\nhandler = 'h'\nevery = '1h'\npriority = 'x'", "schedules.a"),
    ],
)
def test_a_file_that_cannot_be_meant_says_where(
    verbs: Verbs, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "schedules.toml"
    path.write_text(text)
    done = verbs.run("apply", str(path), "--yes")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
