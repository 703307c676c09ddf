"""The SDK's types refuse what they should: every line marked so, with the marked code, no other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USAGE = ROOT / "tests" / "typing" / "sdk_usage.py"
MYPY = (sys.executable, "-m", "mypy", "--no-error-summary")
MARK = re.compile(r"  # type: ignore\[(?P<code>[a-z-]+)\]")
COMPLAINT = re.compile(r"^[^:]+:(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$", re.MULTILINE)


@pytest.mark.timeout(120)
def test_wrong_uses_are_refused_and_right_ones_are_not(tmp_path: Path) -> None:
    text = USAGE.read_text()
    marked = {
        (number, mark["code"])
        for number, line in enumerate(text.splitlines(), start=1)
        if (mark := MARK.search(line))
    }
    copy = tmp_path / "sdk_usage.py"
    copy.write_text(MARK.sub("", text))
    outcome = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--no-error-summary",
            "--cache-dir",
            str(tmp_path),
            str(copy),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {(int(each["line"]), each["code"]) for each in COMPLAINT.finditer(outcome.stdout)}
    assert outcome.stderr == ""
    assert found == marked, outcome.stdout
    assert len(marked) > 15
