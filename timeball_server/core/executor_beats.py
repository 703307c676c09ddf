"""Signs of life that an executor owes to the owners of its runs.

Owns which ones are unsaid, and what of them. Each run's last one is said, with its checkpoint where
the owner does not have that yet. Never decides whether a run lives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from timeball_server.core.executor_runs import LastBeat, RunRecord, Send, StreamKey
from timeball_server.core.ids import ShardId
from timeball_server.core.messages import Beat, Beats, RunId, RunPhase, RunResult


class UnsaidBeats:
    """The runs whose last sign of life is to be said."""

    def __init__(self) -> None:
        self._due: dict[RunId, None] = {}

    def __bool__(self) -> bool:
        return bool(self._due)

    def note(self, record: RunRecord, beat: Beat) -> None:
        """A running handler spoke."""
        last = record.last_beat
        if last is None:
            record.last_beat = LastBeat(beat)
        elif beat.checkpoint is None:
            last.beat = replace(beat, checkpoint=last.beat.checkpoint)
        else:
            last.beat, last.told = beat, None
        self._due[beat.run] = None

    def again(self, run: RunId, record: RunRecord) -> None:
        """The run's owner may be a new one: tell it everything."""
        if record.last_beat is not None and record.phase is RunPhase.RUNNING:
            record.last_beat.told = None
            self._due[run] = None

    def forget(self, run: RunId) -> None:
        """The run has ended: its result says what there is to say."""
        self._due.pop(run, None)

    def messages(
        self,
        runs: Mapping[RunId, RunRecord],
        stream_of: Callable[[ShardId], StreamKey | None],
    ) -> list[Send]:
        """One message per owner; what has no stream now is said again after its fence."""
        beats: dict[StreamKey, list[Beat]] = {}
        for run in self._due:
            record = runs[run]
            last, stream = record.last_beat, stream_of(record.shard)
            if last is not None and stream is not None:
                beats.setdefault(stream, []).append(_news(last, stream))
        self._due.clear()
        return [Send(to, Beats(tuple(said))) for to, said in beats.items()]


def _news(last: LastBeat, stream: StreamKey) -> Beat:
    """What this stream has not been told."""
    known = last.told == stream
    last.told = stream
    return replace(last.beat, checkpoint=None) if known else last.beat


def with_checkpoint(result: RunResult, record: RunRecord) -> RunResult:
    """The result of a run that did not succeed, with the last checkpoint of its handler."""
    last = record.last_beat
    if last is None or last.beat.checkpoint is None or result.result is not None:
        return result
    return replace(result, checkpoint=last.beat.checkpoint)
