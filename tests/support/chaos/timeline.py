"""The course of a run as a picture: how late starts were in each second, and what was done then."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.support.chaos.witness import Verdict
from tests.support.drawing import course
from tests.support.start_logs import all_starts

CUT_MS: Final = 15_000
"""Bars are cut there, so that one bad minute does not hide the others."""


class Timeline:
    """Gathers rounds and, of each cluster, its start logs."""

    def __init__(self) -> None:
        self._late_ms: dict[int, int] = {}
        self._marks: list[tuple[str, int]] = []

    def note(self, verdict: Verdict) -> None:
        """A round was played."""
        self._marks.append((verdict.fault, verdict.at_ms))

    def read(self, folder: Path) -> None:
        """All first attempts of a cluster."""
        for start in all_starts(folder):
            if start.attempt == 1:
                second = start.due_ms // 1_000
                late_ms = min(start.started_ms - start.due_ms, CUT_MS)
                self._late_ms[second] = max(late_ms, self._late_ms.get(second, 0))

    def drawn(self) -> str:
        """An SVG; seconds count from the first start."""
        first = min(self._late_ms)
        values = {second - first: late_ms for second, late_ms in self._late_ms.items()}
        marks = [(name, at_ms / 1_000 - first) for name, at_ms in self._marks]
        title = f"Greatest lateness in ms of what was due in each second (cut at {CUT_MS:,})"
        return course(values, marks, title, "second of the run")
