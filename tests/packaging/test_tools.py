"""The tools that judge everything else can themselves say no."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.polls import until
from tools import environments, jars, prerequisites, run_tests, tiers
from tools.run_tests import Outcome
from tools.tiers import Step, Tier

REPORT = '<testsuites><testsuite tests="{}" failures="{}" errors="{}" skipped="{}"/></testsuites>'
PYTEST_STEP = Step(name="some", command=("pytest",))


def judged(folder: Path, code: int | None, *counts: int) -> Outcome:
    report = folder / "report.xml"
    if counts:
        report.write_text(REPORT.format(*counts))
    return run_tests.judge(PYTEST_STEP, report, code, 1.0)


def test_a_good_report_counts_every_test(tmp_path: Path) -> None:
    assert judged(tmp_path, 0, 7, 0, 0, 0) == Outcome(passed=7, failed=0, seconds=1.0)


@pytest.mark.parametrize(
    ("code", "counts", "passed", "failed"),
    [
        (1, (7, 2, 1, 0), 4, 3),  # failures and errors both count
        (0, (7, 0, 0, 2), 5, 2),  # a skipped test is a failed one
        (5, (0, 0, 0, 0), 0, 1),  # no test at all
        (0, (0, 0, 0, 0), 0, 1),
        (None, (), 0, 1),  # out of time
        (2, (), 0, 1),  # the suite never started
        (3, (7, 0, 0, 0), 7, 1),  # all passed, and then the run itself broke
    ],
)
def test_everything_else_is_a_failure(
    tmp_path: Path, code: int | None, counts: tuple[int, ...], passed: int, failed: int
) -> None:
    outcome = judged(tmp_path, code, *counts)
    assert (outcome.passed, outcome.failed) == (passed, failed)
    assert outcome.problem


SERVICE = """
import pathlib, subprocess, sys
service = [sys.executable, "-c", "import threading; threading.Event().wait()"]
child = subprocess.Popen(service, start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
child.wait()
"""


def test_a_step_that_outlives_its_cap_is_ended_with_all_it_started(tmp_path: Path) -> None:
    started = tmp_path / "started"
    endless = [sys.executable, "-c", SERVICE, str(started)]
    with (tmp_path / "log").open("w") as sink:
        assert run_tests.supervise(endless, sink.fileno(), 4.0, {}) is None
    service = int(started.read_text())
    until(lambda: not psutil.pid_exists(service) or is_zombie(service), "the service ended")


def is_zombie(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return True


def tier(*steps: Step) -> Tier:
    return Tier(name="probe", cap_seconds=30, long_cap_seconds=30, steps=lambda: list(steps))


def test_a_tier_without_steps_fails() -> None:
    assert run_tests.run_tier(tier(), is_long=False).failed == 1


def test_a_tier_that_cannot_be_prepared_fails() -> None:
    def prepare() -> None:
        raise OSError("no network")

    broken = Tier(name="probe", cap_seconds=1, long_cap_seconds=1, steps=list, prepare=prepare)
    outcome = run_tests.run_tier(broken, is_long=False)
    assert (outcome.failed, "no network" in outcome.problem) == (1, True)


@pytest.mark.parametrize("is_long", [False, True])
def test_a_tier_that_the_machine_lacks_something_for_is_said_aloud(is_long: bool) -> None:
    """Not run on a machine of one's own; a failure where nothing may be lacking."""
    lacking = Tier(
        name="probe",
        cap_seconds=1,
        long_cap_seconds=1,
        steps=lambda: [Step(name="never", command=("/nowhere",), is_pytest=False)],
        gap=lambda: "There is no anvil: run `forge`.",
    )
    outcome = run_tests.run_tier(lacking, is_long=is_long)
    assert (outcome.failed, outcome.is_run) == (int(is_long), is_long)
    assert "run `forge`" in outcome.problem
    ending = run_tests.summary({"unit": Outcome(passed=3), "probe": outcome}).splitlines()[-1]
    assert ending == ("3 passed, 1 failed" if is_long else "3 passed, 0 failed; not run: probe")


def test_the_servers_lack_nothing_once_java_and_their_jars_are_there() -> None:
    """And a machine without them hears in one sentence how to get them."""
    assert jars.gap() == ""
    program = "import pathlib, tools.jars as j; print(j.gap(pathlib.Path('nowhere')))"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=environments.ROOT,
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "run `apt-get install -y " in answer.stdout
    assert len(answer.stdout.splitlines()) == 1


def test_the_last_line_sums_up_every_tier() -> None:
    outcomes = {"unit": Outcome(passed=400, seconds=2.0), "simulation": Outcome(passed=12)}
    assert run_tests.summary(outcomes).splitlines()[-1] == "412 passed, 0 failed"
    outcomes["packaging"] = Outcome(passed=1, failed=2)
    assert run_tests.summary(outcomes).splitlines()[-1] == "413 passed, 2 failed"


def test_the_caps_keep_the_promised_time() -> None:
    assert sum(tier.cap_seconds for tier in tiers.TIERS) <= tiers.CAP_SECONDS
    assert sum(tier.long_cap_seconds for tier in tiers.TIERS) <= tiers.LONG_CAP_SECONDS == 50 * 60


def test_every_tier_has_a_name_of_its_own_and_both_caps() -> None:
    names = [tier.name for tier in tiers.TIERS]
    assert len(set(names)) == len(names)
    assert all(0 < tier.cap_seconds <= tier.long_cap_seconds for tier in tiers.TIERS)


def test_prerequisites_tell_gaps_from_absences() -> None:
    gap = prerequisites.Need("make", "", "every command", "make")
    absent = prerequisites.Need("Python 3.13", "", "SDK tests", "python3.13", required=False)
    found = prerequisites.Need("git", "somewhere", "the checkout", "git")
    assert [row.is_gap for row in (gap, absent, found)] == [True, False, False]
    heading, *lines = prerequisites.table([gap, absent, found])
    assert heading.split() == ["need", "found", "for", "command"]
    assert "MISSING" in lines[0]
    assert lines[0].endswith("apt-get install -y make")
    assert "absent" in lines[1]


def test_an_environment_is_current_only_for_what_it_was_built_from(tmp_path: Path) -> None:
    stamp = tmp_path / environments.STAMP
    assert not environments.is_current(tmp_path, {"run": "a"})
    stamp.write_text("dev b\n")
    assert environments.is_current(tmp_path, {"run": "a", "dev": "b"})
    assert not environments.is_current(tmp_path, {"run": "a", "dev": "c"})
    assert not environments.is_current(tmp_path, {"run": "b"})
