"""How large rows are, by what callers and handlers put into them. Decides nothing."""

from __future__ import annotations

from timeball_server.core.journal import (
    EventRow,
    OutcomeDetail,
    ProgressDetail,
    Row,
    ScheduleDetail,
    SpecDetail,
    VersionRow,
)
from timeball_server.core.model import Payload


def carried_bytes(row: Row) -> int:
    """What callers and handlers put into a row: all of it that can be large."""
    if type(row) is not EventRow and type(row) is not VersionRow:
        return 0
    detail = row.detail
    if detail is None:
        return 0
    if type(detail) is OutcomeDetail:
        return _outcome_bytes(detail)
    if type(detail) is SpecDetail:
        return len(detail.spec.payload.data)
    if type(detail) is ScheduleDetail:
        return len(detail.spec.task.payload.data)
    return _data_bytes(detail.progress.checkpoint) if type(detail) is ProgressDetail else 0


def _outcome_bytes(detail: OutcomeDetail) -> int:
    failure, progress = detail.failure, detail.progress
    said = 0 if failure is None else len(failure.message) + len(failure.stack)
    left = None if progress is None else progress.checkpoint
    return said + _data_bytes(detail.result) + _data_bytes(left)


def _data_bytes(payload: Payload | None) -> int:
    return 0 if payload is None else len(payload.data)
