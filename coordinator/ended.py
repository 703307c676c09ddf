"""Tasks that are known to have ended, kept for the next reader; bounded by bytes.

Why this may be shown without asking anybody: what enters was either told by an owner, pinned to
its epoch within its lease (rules R3, R17), or read by the reader's rule (R16); so its terminal
event is on a quorum and heads the journal for every later owner. A terminal state has no
successor but copies of itself (ADOPTED) and the task's removal. Removal is why nothing is kept for
long: a deleted task, or one below the watermark (R21), is shown for LIFE_MS more at most, and by
the coordinator that carried out the deletion not at all.

Reads of one task, of many, and lists share it. A list needs no story of a task, so it keeps none.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from coordinator.hints import Found
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


class _Kept(NamedTuple):
    """An ended task. `entered_ms` is when it came to its state; None = nobody has said."""

    view: TaskView
    entered_ms: int | None
    read_mono_ms: int


class EndedTasks:
    """The cache."""

    def __init__(self, clock: Clock, kept_bytes: int = KEPT_BYTES) -> None:
        self._clock = clock
        self._limit_bytes = kept_bytes
        self._kept: OrderedDict[TaskId, _Kept] = OrderedDict()
        self._bytes = 0
        self._gone: OrderedDict[TaskId, int] = OrderedDict()

    def find(
        self, task_id: TaskId, namespace: str, *, with_journal: bool = True
    ) -> TaskView | None:
        """A task that is known to have ended, None if that is not known here.

        Args:
            with_journal: only if it can be shown with its story.
        """
        kept = self._find(task_id, namespace)
        return None if kept is None or (with_journal and not kept.view.journal) else kept.view

    def find_listed(self, task_id: TaskId, namespace: str) -> Found | None:
        """The same for a list, which must know when the task came to its state."""
        kept = self._find(task_id, namespace)
        return None if kept is None or kept.entered_ms is None else Found(*kept[:2])

    def keep(self, view: TaskView, entered_ms: int | None = None) -> None:
        """Remember the true view of an ended task; of an open one nothing is kept.

        Nor of one that was deleted meanwhile: the view may be older than that. A view without
        its story never replaces one that has it.

        Args:
            entered_ms: when it came to its state, if that is known; an end has one such instant.
        """
        kept = _Kept(view, entered_ms, self._clock.now().mono_ms)
        known = self._find(view.task_id, view.spec.namespace)
        if known is not None:
            of_story = known if known.view.journal and not view.journal else kept
            entered_ms = known.entered_ms if entered_ms is None else entered_ms
            kept = of_story._replace(entered_ms=entered_ms)
        size_bytes = weight(kept.view)
        if not view.terminal or size_bytes > self._limit_bytes or view.task_id in self._gone:
            return
        self._drop(view.task_id)
        self._kept[view.task_id] = kept
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

    def _find(self, task_id: TaskId, namespace: str) -> _Kept | None:
        kept = self._kept.get(task_id)
        if kept is None or kept.view.spec.namespace != namespace:
            return None
        if self._clock.now().mono_ms - kept.read_mono_ms > LIFE_MS:
            self._drop(task_id)
            return None
        self._kept.move_to_end(task_id)
        return kept

    def _drop(self, task_id: TaskId) -> None:
        found = self._kept.pop(task_id, None)
        if found is not None:
            self._bytes -= weight(found.view)


def weight(view: TaskView) -> int:
    """Rough bytes of a view in memory."""
    result_bytes = 0 if view.result is None else len(view.result.data)
    entries = len(view.attempts) + len(view.journal)
    return _TASK_BYTES + entries * _ENTRY_BYTES + len(view.spec.payload.data) + result_bytes
