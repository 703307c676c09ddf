"""Runs every test, tier by tier, each within its cap, and ends with one line that sums them all up.

A tier fails when a test fails or is skipped, when it runs no test, or when it outlives its cap.
`CI=true` chooses the long settings: more of the same tests, never different ones.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools import environments, jars, prerequisites, wheels

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / ".cache" / "tests"
PYTHON = str(ROOT / ".venv" / "bin" / "python")
PYTEST = (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider")
HOUSE = ("tests/unit/test_house_rules.py", "tests/unit/test_import_rules.py")
LOG_LINES_SHOWN = 200

# What the long setting hands to the tests, on top of each tier's longer cap.
LONG_SETTINGS = {
    "TIMEBALL_LONG": "1",
    "TIMEBALL_SIM_SEEDS": "1000",
    "TIMEBALL_HYPOTHESIS_EXAMPLES": "300",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One process of a tier. A pytest step reports its own count; any other is one test."""

    name: str
    command: tuple[str, ...]
    is_pytest: bool = True
    environment: tuple[tuple[str, str], ...] = ()


def nothing() -> None:
    """Most tiers need no more than the environment that `make test` made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """A named group of steps and the seconds it may take, here and with the long settings.

    `prepare` runs before the clock starts; it may use the network the first time, never again.
    A tier `on_request` runs only when it is named.
    """

    name: str
    cap_seconds: int
    long_cap_seconds: int
    steps: Callable[[], list[Step]]
    prepare: Callable[[], None] = nothing
    on_request: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a step or a tier came to. `problem` says in words what the counts cannot."""

    passed: int = 0
    failed: int = 0
    seconds: float = 0.0
    problem: str = ""

    def plus(self, other: Outcome) -> Outcome:
        """Both together, in order."""
        return Outcome(
            passed=self.passed + other.passed,
            failed=self.failed + other.failed,
            seconds=self.seconds + other.seconds,
            problem="; ".join(filter(None, (self.problem, other.problem))),
        )


def check_steps() -> list[Step]:
    """What a commit needs: format, lint, types, house rules, stubs."""
    commands = {
        "format": (PYTHON, "-m", "ruff", "format", "--check", "."),
        "lint": (PYTHON, "-m", "ruff", "check", "."),
        "types": (PYTHON, "-m", "mypy"),
        "protos": (PYTHON, "tools/protos.py", "verify"),
    }
    steps = [Step(name=name, command=line, is_pytest=False) for name, line in commands.items()]
    return [*steps, Step(name="house", command=(*PYTEST, *HOUSE))]


def pytest_steps(folder: str, *extra: str) -> Callable[[], list[Step]]:
    """A tier that is one pytest run over one folder."""
    return lambda: [Step(name=Path(folder).name, command=(*PYTEST, folder, *extra))]


def prepare_sdk() -> None:
    """Makes one environment per interpreter found, with the SDK's dependencies alone."""
    for version, path in prerequisites.sdk_interpreters():
        environments.build(f"sdk-{version}", environments.sdk_environment(version), path)


def sdk_steps() -> list[Step]:
    """The SDK's own tests under every interpreter found."""
    steps = []
    for version, _ in prerequisites.sdk_interpreters():
        folder = ROOT / environments.sdk_environment(version).folder
        # The pytest script, not `-m pytest`: the checkout itself must stay off the path.
        pytest = str(folder / "bin" / "pytest")
        command = (pytest, "-q", "-p", "no:cacheprovider", "tests/unit/sdk")
        on_path = (("PYTHONPATH", str(ROOT / "clients" / "python")),)
        steps.append(Step(name=f"python-{version}", command=command, environment=on_path))
    return steps


def prepare_packaging() -> None:
    """Fetches the locked dependencies' wheels, so that the tests need no network."""
    wheels.fill_house()


def prepare_servers() -> None:
    """Fetches the jars of Cassandra and ZooKeeper, once."""
    for name in jars.NAMES:
        jars.fetch(name)


def server_steps() -> list[Step]:
    """The suites of both ports, and the adapters' own tests, on real servers."""
    program = (PYTHON, "-m", "tests.support.servers", "--cassandra", "1", "--zookeeper", "1")
    suites = ("tests/conformance", "-k", "cassandra or zookeeper")
    own = ("-p", "tests.support.servers.fixtures", "tests/integration/cassandra")
    kept = (("TIMEBALL_WITH_ZOOKEEPER", "1"),)
    return [
        Step(name="suites", command=(*program, "--", *PYTEST, *suites)),
        Step(name="cassandra", command=(*PYTEST, *own)),
        Step(name="zookeeper", command=(*PYTEST, "tests/integration/zookeeper"), environment=kept),
    ]


# The caps add up to 12 minutes here and to less than 50 with the long settings.
TIERS = (
    Tier(name="check", cap_seconds=90, long_cap_seconds=180, steps=check_steps),
    Tier(
        name="unit",
        cap_seconds=130,
        long_cap_seconds=480,
        steps=pytest_steps("tests/unit", *(f"--ignore={path}" for path in HOUSE)),
    ),
    Tier(
        name="conformance",
        cap_seconds=40,
        long_cap_seconds=240,
        steps=pytest_steps("tests/conformance"),
    ),
    Tier(
        name="simulation",
        cap_seconds=110,
        long_cap_seconds=1020,
        steps=pytest_steps("tests/simulation"),
    ),
    Tier(
        name="integration",
        cap_seconds=220,
        long_cap_seconds=480,
        steps=pytest_steps("tests/integration"),
    ),
    Tier(
        name="packaging",
        cap_seconds=60,
        long_cap_seconds=240,
        steps=pytest_steps("tests/packaging"),
        prepare=prepare_packaging,
    ),
    Tier(
        name="sdk-interpreters",
        cap_seconds=70,
        long_cap_seconds=240,
        steps=sdk_steps,
        prepare=prepare_sdk,
    ),
    # Not yet part of the whole: it needs Java 17 and, the first time, Maven.
    Tier(
        name="servers",
        cap_seconds=300,
        long_cap_seconds=480,
        steps=server_steps,
        prepare=prepare_servers,
        on_request=True,
    ),
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
    """The exit code, or None when the cap ran out and the step's whole process group was ended."""
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
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(interruption, KeyboardInterrupt):
            raise
        return None


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
    try:
        tier.prepare()
    except (OSError, SystemExit, subprocess.CalledProcessError, jars.JarsError) as error:
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
    return "\n".join([*lines, f"{passed} passed, {failed} failed"])


def main() -> int:
    """Runs the tiers asked for, all usual ones by default, and returns 1 when any failed."""
    names = [tier.name for tier in TIERS]
    parser = argparse.ArgumentParser(description=__doc__)
    usual = [tier.name for tier in TIERS if not tier.on_request]
    parser.add_argument("--tiers", default=",".join(usual), help="some of them, comma-separated")
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
