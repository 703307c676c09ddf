"""Rules switched off on purpose, to see whether the checker notices. In tests only.

Each bug is a seam put between production classes and the simulated world; no product code knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from timeball.errors import OutcomeUnknown, Unavailable

from executor_node.node import ExecutorNode
from tests.support.checker.verdicts import Promise
from tests.support.sim.faulty_store import FaultyStore
from tests.support.sim.profile import Profile
from tests.support.sim.world import Seams
from tests.support.virtual_loop import VirtualClock
from timeball_server.coordination.local import LocalSession
from timeball_server.core.buckets import minute_of
from timeball_server.core.commands import CancelTask, Command, CreateTask
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.executor_runs import StreamKey
from timeball_server.core.executor_state import ExecutorState
from timeball_server.core.ids import Incarnation, ShardId
from timeball_server.core.journal import Row
from timeball_server.ports.coordination import Member, SessionState
from timeball_server.ports.store import ShardRow


class _Wrapped:
    """Passes everything on that is not overridden."""

    def __init__(self, inner: Any, clock: VirtualClock) -> None:
        self._inner = inner
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class AckBeforeDurable(_Wrapped):
    """A store that says yes at once and writes when it gets round to it, once."""

    async def append(self, rows: Sequence[Row]) -> None:
        """Promise."""
        writing = asyncio.get_running_loop().create_task(self._write(rows))
        writing.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _write(self, rows: Sequence[Row]) -> None:
        try:
            await self._inner.append(rows)
        except (OutcomeUnknown, Unavailable):
            return


class NeverResend(_Wrapped):
    """A store whose unknown outcomes count as done: no resending of what was sent (R7)."""

    async def append(self, rows: Sequence[Row]) -> None:
        """Try once."""
        try:
            await self._inner.append(rows)
        except OutcomeUnknown:
            return


class FromThisMinute(_Wrapped):
    """Take-over reads from the current minute instead of scan_from (R18)."""

    async def read_shard(self, shard: ShardId) -> ShardRow | None:
        """The row, with a lie in it."""
        row: ShardRow | None = await self._inner.read_shard(shard)
        now = minute_of(self._clock.now().wall_ms)
        return None if row is None else replace(row, scan_from=max(now, row.scan_from))


class IgnoresLease(_Wrapped):
    """A session that never learns that it may be over (R3)."""

    @property
    def state(self) -> SessionState:
        """Fine, always."""
        return SessionState.CONNECTED

    def proven_at_mono_ms(self) -> int | None:
        """Just now, always."""
        return self._clock.now().mono_ms


class ForgetfulState(ExecutorState):
    """An executor that drops its results when a stream ends (R12)."""

    def stream_ended(self, stream: StreamKey) -> None:
        """Forget what was not acknowledged."""
        super().stream_ended(stream)
        for run in [run for run, record in self._runs.items() if record.result is not None]:
            del self._runs[run]
            self._finished_due.pop(run, None)
            self._finished -= 1


class _OtherState(ExecutorNode):
    state_class: type[ExecutorState]

    async def join(self) -> None:
        """Join with the other state."""
        await super().join()
        member: Member = self.member
        self._state = self.state_class(
            incarnation=Incarnation(member.incarnation),
            slots=member.slots,
            handlers=member.handlers,
            held=self._runner.active,
        )


class ForgetfulExecutor(_OtherState):
    """See `ForgetfulState`."""

    state_class = ForgetfulState


def unmarked(command: Command) -> Command:
    """Repetitions that do not say that they are (R8)."""
    if isinstance(command, (CreateTask, CancelTask)):
        return replace(command, resend=False)
    return command


def _store(wrapper: type[_Wrapped]) -> Seams:
    def wrap(store: FaultyStore, clock: VirtualClock) -> Any:
        return wrapper(store, clock)

    return Seams(store=wrap)


def _session(session: LocalSession, clock: VirtualClock) -> Any:
    return IgnoresLease(session, clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """A rule switched off.

    Attributes:
        breaks: invariants of which at least one must notice.
        profile: faults in whose light the bug shows; drawn ones rarely mix that way.
        within: so many seeds must be enough.
    """

    seams: Seams
    breaks: frozenset[Promise]
    profile: Profile
    within: int = 3


_STORM: Final = Profile(calm=False, tasks=150)
_LOST_WORK: Final = frozenset({Promise.DURABLE, Promise.LIVE})

BUGS: Final[Mapping[str, Bug]] = MappingProxyType(
    {
        "acknowledge before durable": Bug(
            seams=_store(AckBeforeDurable),
            breaks=_LOST_WORK,
            profile=replace(_STORM, store_unknown_share=0.1),
        ),
        "unknown counts as written": Bug(
            seams=_store(NeverResend),
            breaks=_LOST_WORK,
            profile=replace(_STORM, store_unknown_share=0.1),
        ),
        "dispatch one second early": Bug(
            seams=Seams(wall_ms=1_000),
            breaks=frozenset({Promise.NOT_EARLY}),
            profile=Profile(tasks=100),
            within=1,
        ),
        "take over from this minute": Bug(
            seams=_store(FromThisMinute),
            breaks=_LOST_WORK,
            profile=replace(_STORM, crashes=12.0, work_s=130.0),
            within=10,
        ),
        "executor forgets results": Bug(
            seams=Seams(executor=ForgetfulExecutor),
            breaks=frozenset({Promise.AT_MOST_ONCE, Promise.AT_LEAST_ONCE, Promise.LIVE}),
            profile=replace(_STORM, snaps=60.0),
        ),
        "repetitions unmarked and taken for fresh": Bug(
            seams=Seams(command=unmarked, engine=EngineConfig(trusted_skew_ms=-(10**12))),
            breaks=frozenset({Promise.AT_MOST_ONCE, Promise.AT_LEAST_ONCE, Promise.SANITY}),
            profile=replace(
                _STORM, tasks=200, loss_share=0.03, crashes=8.0, expiries=12.0, session_cuts=8.0
            ),
            within=8,
        ),
        "ignore the lease": Bug(
            seams=Seams(session=_session),
            breaks=frozenset(Promise) - {Promise.SANITY},
            profile=replace(_STORM, tasks=200, freezes=20.0, freeze_s=15.0, session_cuts=20.0),
            within=10,
        ),
    }
)
