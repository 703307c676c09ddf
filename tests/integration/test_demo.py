"""The README's first command as a user sees it, and its proof: able to say no."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.support.dev_server import ROOT, environment

sys.path.insert(0, str(ROOT / "examples"))
import demo_proof as proof

LIMIT_S = 55
FLAKY, EXACT, CANCELLED, RECEIPT = "flaky", "exact", "cancelled", "receipt"
DUE_MS = 1_000
SHOP = "@shop.example"


def test_the_demo_runs_ends_by_itself_and_proves_its_claims() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All claims hold." in done.stdout
    assert " NO " not in done.stdout
    assert done.stdout.count(" yes ") == 8


def start(task: str, **facts: int | str) -> proof.Start:
    base = proof.Start(
        task_id=task, attempt=1, due_ms=DUE_MS, started_ms=DUE_MS + 2, handler="demo", priority=4
    )
    return replace(base, **facts)  # type: ignore[arg-type]


def honest() -> list[proof.Start]:
    """The start log of a run in which everything went well."""
    retries = [start(FLAKY, attempt=number, priority=1 + number) for number in (1, 2, 3)]
    pulses = [
        start(f"pulse {number}", handler="demo.heartbeat", due_ms=due, started_ms=due)
        for number, due in enumerate((2_000, 4_000, 6_000))
    ]
    return [start(EXACT), *retries, *pulses]


def claims(starts: list[proof.Start], work: Path) -> dict[str, bool]:
    """Every claim that rests on the start log, and whether it holds."""
    checks = {
        "instant": proof.ran_at_its_instant(starts, EXACT, DUE_MS),
        "retried": proof.retried_with_raised_priority(starts, FLAKY),
        "recurred": proof.recurred(starts, 2_000),
        "never ran": proof.never_ran(work / "count", starts, CANCELLED),
        "once": proof.started_once_each(starts),
        "not early": proof.never_early(starts),
    }
    return {name: check.holds for name, check in checks.items()}


def without(task: str, attempt: int = 1) -> Callable[[list[proof.Start]], list[proof.Start]]:
    return lambda starts: [
        each for each in starts if (each.task_id, each.attempt) != (task, attempt)
    ]


def test_an_honest_log_is_believed(tmp_path: Path) -> None:
    assert set(claims(honest(), tmp_path).values()) == {True}


@pytest.mark.parametrize(
    ("falsify", "broken"),
    [
        (without(EXACT), {"instant"}),
        (lambda starts: [start(EXACT, due_ms=999), *starts[1:]], {"instant"}),
        (without(FLAKY, 2), {"retried"}),
        (lambda starts: [*starts[:3], replace(starts[3], priority=5), *starts[4:]], {"retried"}),
        (without("pulse 1"), {"recurred"}),
        (lambda starts: [*starts, start(CANCELLED)], {"never ran"}),
        (lambda starts: [*starts, starts[-1]], {"once", "recurred"}),
        (lambda starts: [start(EXACT, started_ms=DUE_MS - 1), *starts[1:]], {"not early"}),
        (lambda starts: [], {"instant", "retried", "recurred", "not early"}),
    ],
)
def test_a_falsified_log_is_refused(
    falsify: Callable[[list[proof.Start]], list[proof.Start]], broken: set[str], tmp_path: Path
) -> None:
    held = claims(falsify(honest()), tmp_path)
    assert {name for name, holds in held.items() if not holds} == broken


def test_a_counter_that_counted_is_refused(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("started\n")
    assert not proof.never_ran(tmp_path / "count", honest(), CANCELLED).holds


def mail(message_id: str) -> EmailMessage:
    message = EmailMessage()
    message["Message-ID"] = message_id
    return message


@pytest.mark.parametrize(
    ("ids", "holds"),
    [
        ([f"<{RECEIPT}{SHOP}>"], True),
        ([], False),
        ([f"<another{SHOP}>"], False),
        ([f"<{RECEIPT}{SHOP}>", f"<{RECEIPT}{SHOP}>"], False),
    ],
)
def test_the_mailbox_must_hold_the_receipt_once(ids: list[str], holds: bool) -> None:
    messages = [mail(each) for each in ids]
    assert proof.receipt_arrived(messages, RECEIPT).holds == holds


def page(*rows: str) -> str:
    cells = "".join(f"<tr><td>{row.replace(',', '</td><td>')}</td></tr>" for row in rows)
    return f"<table><tr><th>year</th><th>nonfarm</th></tr>{cells}</table>"


@pytest.mark.parametrize(
    ("content", "holds"),
    [
        (page("2006,1.5", "2007,2.5"), True),
        (page("2006,1.5"), False),
        (page("2007,2.5", "2006,1.5"), False),
        (page("2006,1.5", "2007,0.0"), False),
        ("", False),
        (None, False),
    ],
)
def test_the_report_must_have_a_row_for_each_year(
    content: str | None, holds: bool, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    if content is not None:
        path.write_text(content)
    assert proof.report_is_right(path, 2006, 2007).holds == holds


def executor(strength: int, *attempts: int, slots: int = 100) -> proof.Executor:
    starts = [start(FLAKY, attempt=number) for number in attempts]
    return proof.Executor(f"executor-{strength}", strength, slots, starts)


@pytest.mark.parametrize(
    ("executors", "holds"),
    [
        ([executor(1, 1, 2), executor(5, 3)], True),
        ([executor(1, 1), executor(5, 2, 3), executor(10)], True),
        ([executor(1, 1, 2, 3), executor(5)], False),
        ([executor(5, 1, 2), executor(1, 3)], False),
        ([executor(1, 1, 2, slots=2), executor(5, 3)], False),  # perhaps it had to go elsewhere
        ([executor(1, 1, 2), executor(5)], False),
    ],
)
def test_the_stronger_executor_is_judged_by_what_each_started(
    executors: list[proof.Executor], holds: bool
) -> None:
    assert proof.moved_to_a_stronger_executor(executors, FLAKY).holds == holds
