"""Tasks that are known to have ended, kept for the next reader; bounded by bytes.

Why this may be shown without asking anybody: what enters was either told by an owner, pinned to
its epoch within its lease (rules R3, R17), or read by the reader's rule (R16); so its terminal
event is on a quorum and heads the journal for every later owner. A terminal state has no
successor but copies of itself (ADOPTED) and the task's removal. Removal is why nothing is kept for
long: a deleted task, or one below the watermark (R21), is shown for LIFE_MS more at most, and by
the coordinator that carried out the deletion not at all.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from timeball_server.core.ids import TaskId
from timeball_server.core.model import TaskView
from timeball_server.ports.clock import Clock

KEPT_BYTES: Final = 16 * 1024 * 1024
"""Of all kept tasks, roughly; the one unused for longest goes first."""
LIFE_MS: Final = 5_000
"""An ended task is read again after this."""
GONE_MS: Final = 60_000
"""Who began to read a task before it was deleted here has ended by then, or has given up."""
KEPT_GONE: Final = 10_000
"""Deleted tasks that are remembered; beyond it the oldest counts like one deleted elsewhere."""
_TASK_BYTES: Final = 2_000
"""A task without payload, result and story."""
_ENTRY_BYTES: Final = 500
"""An attempt or an entry of the journal."""


class EndedTasks:
    """The cache."""

    def __init__(self, clock: Clock, kept_bytes: int = KEPT_BYTES) -> None:
        self._clock = clock
        self._limit_bytes = kept_bytes
        self._kept: OrderedDict[TaskId, tuple[TaskView, int]] = OrderedDict()
        self._bytes = 0
        self._gone: OrderedDict[TaskId, int] = OrderedDict()

    def find(self, task_id: TaskId, namespace: str) -> TaskView | None:
        """A task that is known to have ended, None if that is not known here."""
        view, read_mono_ms = self._kept.get(task_id, (None, 0))
        if view is None or view.spec.namespace != namespace:
            return None
        if self._clock.now().mono_ms - read_mono_ms > LIFE_MS:
            self._drop(task_id)
            return None
        self._kept.move_to_end(task_id)
        return view

    def keep(self, view: TaskView) -> None:
        """Remember the true view of an ended task; of an open one nothing is kept.

        Nor of one that was deleted meanwhile: the view may be older than that.
        """
        size_bytes = weight(view)
        if not view.terminal or size_bytes > self._limit_bytes or view.task_id in self._gone:
            return
        self._drop(view.task_id)
        self._kept[view.task_id] = (view, self._clock.now().mono_ms)
        self._bytes += size_bytes
        while self._bytes > self._limit_bytes:
            self._drop(next(iter(self._kept)))

    def forget(self, task_id: TaskId) -> None:
        """This task is deleted, or may be: show nothing of it that was read before."""
        self._drop(task_id)
        now_ms = self._clock.now().mono_ms
        self._gone[task_id] = now_ms
        self._gone.move_to_end(task_id)
        while self._gone and (
            len(self._gone) > KEPT_GONE or now_ms - next(iter(self._gone.values())) > GONE_MS
        ):
            self._gone.popitem(last=False)

    def _drop(self, task_id: TaskId) -> None:
        found = self._kept.pop(task_id, None)
        if found is not None:
            self._bytes -= weight(found[0])


def weight(view: TaskView) -> int:
    """Rough bytes of a view in memory."""
    result_bytes = 0 if view.result is None else len(view.result.data)
    entries = len(view.attempts) + len(view.journal)
    return _TASK_BYTES + entries * _ENTRY_BYTES + len(view.spec.payload.data) + result_bytes
