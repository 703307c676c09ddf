"""Whether a run proves anything: enough tasks, enough faults, of enough kinds, on live work."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tests.support.checker.history import History
from tests.support.checker.sometimes import acknowledged


@dataclass(frozen=True, slots=True, kw_only=True)
class Least:
    """What a run must have had. A calm run needs no faults: it is judged without any excuse."""

    tasks: int = 500
    faults: int = 20
    classes: int = 5


def vacuous(history: History, least: Least) -> str:
    """Why the run proves little, empty if it does prove something."""
    tasks = len({op.task for op in acknowledged(history)})
    if tasks < least.tasks:
        return f"only {tasks} acknowledged tasks"
    if history.terms.calm:
        return ""
    kinds = Counter(fault.name for fault in history.faults)
    if kinds.total() < least.faults or len(kinds) < least.classes:
        return f"only {kinds.total()} faults of {len(kinds)} kinds"
    return ""
