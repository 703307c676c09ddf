"""Runs every test, tier by tier, each within its cap, and ends with one line that sums them all up.

A tier fails when a test fails or is skipped, when it runs no test, or when it outlives its cap. One
that this machine lacks something for is not run, and the last line says so. `CI=true` chooses the
long settings: more of the same tests, and nothing may be lacking. What there is: tools/tiers.py.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import psutil

from tools.jars import JarsError
from tools.tiers import ROOT, TIERS, Step, Tier

REPORTS = ROOT / ".cache" / "tests"
LOG_LINES_SHOWN = 200

# What the long setting hands to the tests, on top of each tier's longer cap.
LONG_SETTINGS = {
    "TIMEBALL_LONG": "1",
    "TIMEBALL_SIM_SEEDS": "1000",
    "TIMEBALL_HYPOTHESIS_EXAMPLES": "150",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a step or a tier came to. `problem` says in words what the counts cannot.

    `is_run` is false for a tier that this machine cannot run.
    """

    passed: int = 0
    failed: int = 0
    seconds: float = 0.0
    problem: str = ""
    is_run: bool = True

    def plus(self, other: Outcome) -> Outcome:
        """Both together, in order."""
        return Outcome(
            passed=self.passed + other.passed,
            failed=self.failed + other.failed,
            seconds=self.seconds + other.seconds,
            problem="; ".join(filter(None, (self.problem, other.problem))),
        )


def run_step(tier: str, step: Step, left_seconds: float, settings: dict[str, str]) -> Outcome:
    """Runs one step within what is left of the tier's cap; prints its log when it went wrong."""
    report, log = REPORTS / f"{tier}-{step.name}.xml", REPORTS / f"{tier}-{step.name}.log"
    report.unlink(missing_ok=True)
    command = [*step.command, *([f"--junitxml={report}"] if step.is_pytest else [])]
    started = time.monotonic()
    with log.open("w") as sink:
        code = supervise(command, sink.fileno(), left_seconds, settings | dict(step.environment))
    seconds = time.monotonic() - started
    outcome = judge(step, report, code, seconds)
    if outcome.failed:
        print(f"--- {tier} {step.name}: {outcome.problem or 'failed'}; the end of {log.name}:")
        print("\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]))
    return outcome


def supervise(
    command: list[str], sink: int, left_seconds: float, settings: dict[str, str]
) -> int | None:
    """The exit code; None when the cap ran out, and the step was ended with all it had started."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | settings,
        stdin=subprocess.DEVNULL,
        stdout=sink,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return process.wait(timeout=max(left_seconds, 0.0))
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as interruption:
        kill_all(process.pid)
        process.wait()
        if isinstance(interruption, KeyboardInterrupt):
            raise
        return None


def kill_all(pid: int) -> None:
    """Kill a process and its descendants: services have sessions of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def judge(step: Step, report: Path, code: int | None, seconds: float) -> Outcome:
    """Turns an exit code and a report into counts; anything unexplained counts as one failure."""
    if not step.is_pytest:
        good = int(code == 0)
        problem = "" if good else f"{step.name} {said(code)}"
        return Outcome(passed=good, failed=1 - good, seconds=seconds, problem=problem)
    passed, failed, skipped = counts(report)
    if code != 0 or skipped or not passed:
        why = f"{skipped} skipped" if skipped and code == 0 else said(code)
        unexplained = 0 if failed else 1
        return Outcome(
            passed=passed,
            failed=failed + skipped or unexplained,
            seconds=seconds,
            problem=f"{step.name} {why}",
        )
    return Outcome(passed=passed, failed=failed, seconds=seconds)


def said(code: int | None) -> str:
    """An exit code in words."""
    words = {None: "ran out of time", 0: "ran no test", 1: "failed", 5: "ran no test"}
    return words.get(code, f"ended with exit code {code}")


def counts(report: Path) -> tuple[int, int, int]:
    """Passed, failed and skipped tests of a junit report; all zero when it was never written."""
    try:
        suites = list(ET.parse(report).getroot().iter("testsuite"))
    except (OSError, ET.ParseError):
        return 0, 0, 0
    total, failures, errors, skipped = (
        sum(int(suite.get(key, "0")) for suite in suites)
        for key in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    return max(total - failed - skipped, 0), failed, skipped


def run_tier(tier: Tier, *, is_long: bool) -> Outcome:
    """Runs a tier's steps one after the other under one cap."""
    cap_seconds = tier.long_cap_seconds if is_long else tier.cap_seconds
    settings = LONG_SETTINGS if is_long else {}
    if gap := tier.gap():
        return lacking(tier, gap, is_long=is_long)
    try:
        tier.prepare()
    except (OSError, SystemExit, subprocess.CalledProcessError, JarsError) as error:
        return Outcome(failed=1, problem=f"could not be prepared: {error}")
    print(f"{tier.name}: started (cap {cap_seconds} s)", flush=True)
    started, total = time.monotonic(), Outcome()
    steps = tier.steps()
    for step in steps:
        left_seconds = cap_seconds - (time.monotonic() - started)
        total = total.plus(run_step(tier.name, step, left_seconds, settings))
    if not steps:
        total = Outcome(failed=1, problem="nothing to run")
    verdict = "FAILED" if total.failed else "passed"
    seconds = time.monotonic() - started
    print(
        f"{tier.name}: {verdict}, {total.passed + total.failed} tests, {seconds:.1f} s", flush=True
    )
    return Outcome(passed=total.passed, failed=total.failed, seconds=seconds, problem=total.problem)


def lacking(tier: Tier, gap: str, *, is_long: bool) -> Outcome:
    """A tier that cannot run here: said aloud, and a failure where nothing may be lacking."""
    print(f"{tier.name}: {'FAILED' if is_long else 'NOT RUN'}: {gap}", flush=True)
    if is_long:
        return Outcome(failed=1, problem=gap)
    return Outcome(problem=f"not run: {gap}", is_run=False)


def summary(outcomes: dict[str, Outcome]) -> str:
    """A table of all tiers and, as its last line, what they add up to."""
    lines = [f"{'tier':18} {'passed':>8} {'failed':>8} {'seconds':>8}"]
    for name, tier in outcomes.items():
        row = f"{name:18} {tier.passed:8} {tier.failed:8} {tier.seconds:8.1f}  {tier.problem}"
        lines.append(row.rstrip())
    passed = sum(tier.passed for tier in outcomes.values())
    failed = sum(tier.failed for tier in outcomes.values())
    seconds = sum(tier.seconds for tier in outcomes.values())
    lines.append(f"{'all':18} {passed:8} {failed:8} {seconds:8.1f}")
    absent = ", ".join(name for name, tier in outcomes.items() if not tier.is_run)
    verdict = f"{passed} passed, {failed} failed"
    return "\n".join([*lines, f"{verdict}; not run: {absent}" if absent else verdict])


def main() -> int:
    """Runs the tiers asked for, all by default, and returns 1 when any failed."""
    names = [tier.name for tier in TIERS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiers", default=",".join(names), help="some of them, comma-separated")
    chosen = parser.parse_args().tiers.split(",")
    if unknown := sorted(set(chosen) - set(names)):
        parser.error(f"no such tier: {', '.join(unknown)}; there are {', '.join(names)}")
    is_long = os.environ.get("CI") == "true"
    REPORTS.mkdir(parents=True, exist_ok=True)
    outcomes = {tier.name: run_tier(tier, is_long=is_long) for tier in TIERS if tier.name in chosen}
    print("\n" + summary(outcomes), flush=True)
    return int(any(outcome.failed for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
