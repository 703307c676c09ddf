"""What an owner remembers of the heartbeats of one run. Mutable; decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from timeball_server.core.messages import Beat
from timeball_server.core.model import Progress

LEAST_SAVE_MS: Final = 60_000
"""Checkpoints of a running attempt are written to the journal this far apart, at least."""


@dataclass(slots=True)
class Pulse:
    """Signs of life of a run, since this owner knows it.

    Attributes:
        begun_mono_ms: when this owner began to judge it.
        judged_mono_ms: when it was last heard, or could not be.
        look_ms: the wall-clock instant at which its silence is looked at.
        progress: what was last said, with the last checkpoint; None = nothing.
        unsaved: whether there is a checkpoint that no event of ours has.
        save_mono_ms: when such a one may be written.
    """

    begun_mono_ms: int
    judged_mono_ms: int = field(init=False)
    look_ms: int = 0
    progress: Progress | None = None
    unsaved: bool = False
    save_mono_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self.judged_mono_ms = self.begun_mono_ms
        self.save_mono_ms = self.begun_mono_ms + LEAST_SAVE_MS

    def heard(self, beat: Beat, *, wall_ms: int, mono_ms: int) -> None:
        """Take a sign of life in; what it does not say of the checkpoint stays."""
        known = None if self.progress is None else self.progress.checkpoint
        checkpoint = known if beat.checkpoint is None else beat.checkpoint
        self.unsaved = self.unsaved or checkpoint != known
        self.judged_mono_ms = mono_ms
        self.progress = Progress(
            fraction=beat.fraction, note=beat.note, heard_ms=wall_ms, checkpoint=checkpoint
        )

    def is_due(self, mono_ms: int) -> bool:
        """Whether the checkpoint should be written to the journal now."""
        return self.unsaved and mono_ms >= self.save_mono_ms

    def saved(self, next_mono_ms: int) -> None:
        """The checkpoint is on its way to the journal; the next one not before this."""
        self.unsaved, self.save_mono_ms = False, next_mono_ms
