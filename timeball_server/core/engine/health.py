"""Executors that do far worse than their peers: left out for a while, let back slowly.

Compares like with like: first attempts of the same handlers, in the same half minute. What fails
everywhere (a bad input, a dependency that is down) makes nobody an outlier. Retries do not count:
they are urgent, so they go to the strongest, and who fails again would be counted against them.

Must never leave out the only executor of a handler, nor more than half of those who serve one.
Each scheduler node judges by what it has seen itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import TYPE_CHECKING, Final

from timeball_server.core.messages import RunResult

if TYPE_CHECKING:
    from timeball_server.core.engine.state import ExecutorState, TaskState

LOOK_EVERY_MS: Final = 1_000
HALF_WINDOW_MS: Final = 15_000
"""Attempts count for one to two of these."""
LEAST_ATTEMPTS: Final = 10
"""Fewer say nothing, of an executor as of its peers."""
WORSE_BY: Final = 0.3
"""So much greater a share of failures than the peers' makes an outlier."""
TIMES_SLOWER: Final = 5
SLOWER_BY_MS: Final = 1_000
"""So much longer per attempt than the peers, by factor and by difference, makes an outlier."""
UNSTARTED_MS: Final = 5_000
"""An order that has not begun after this, while its executor says that slots are free, is stuck."""
FIRST_LEAVE_MS: Final = 10_000
LONGEST_LEAVE_MS: Final = 300_000
"""How long an outlier is left out: doubled each time, up to this. So long a good time forgets."""
MOST_LEFT_OUT: Final = 0.5
"""Share of the executors of a handler that may be left out at once."""
SLOW_START_MS: Final = 30_000
SLOW_START_SHARE: Final = 0.1
"""Who is let back gets this share of its slots at once, and all of them after SLOW_START_MS."""

Sums = dict[str, list[int]]
"""By handler: attempts, failures among them, milliseconds."""


class Health:
    """What one scheduler node has seen of one executor.

    Attributes:
        left_out_until_ms: when it is let back; None = it is given work.
        back_ms: when it was let back; None = never, or all of its slots are used again.
        reason: why it was left out last, in a sentence.
        times: how often it was left out since it was well for long.
        room: slots that may be used; None = all.
    """

    __slots__ = ("_half_ms", "_now", "_past", "back_ms", "left_out_until_ms", "reason", "room",
                 "times", "well_since_ms")  # fmt: skip

    def __init__(self) -> None:
        self.left_out_until_ms: int | None = None
        self.back_ms: int | None = None
        self.well_since_ms = 0
        self.reason = ""
        self.times = 0
        self.room: int | None = None
        self._now: Sums = {}
        self._past: Sums = {}
        self._half_ms = 0

    def note(self, handler: str, failed: bool, took_ms: int) -> None:
        """A first attempt has ended."""
        sums = self._now.get(handler)
        if sums is None:
            sums = self._now[handler] = [0, 0, 0]
        sums[0] += 1
        sums[1] += failed
        sums[2] += max(0, took_ms)

    def turn(self, now_ms: int) -> None:
        """Forget what is older than the window."""
        if self._half_ms == 0:
            self._half_ms = now_ms
        elif now_ms >= self._half_ms + HALF_WINDOW_MS:
            fresh = now_ms < self._half_ms + 2 * HALF_WINDOW_MS
            self._past, self._now, self._half_ms = self._now if fresh else {}, {}, now_ms

    def sums(self) -> Sums:
        """What counts now."""
        return _total((self._past, self._now))

    def leave_out(self, now_ms: int, reason: str) -> None:
        """No work for a while, longer each time."""
        leave_ms = min(LONGEST_LEAVE_MS, FIRST_LEAVE_MS * 2 ** min(self.times, 10))
        self.left_out_until_ms = now_ms + leave_ms
        self.times += 1
        self.reason = reason
        self.back_ms = self.room = None

    def recover(self, now_ms: int, slots: int) -> None:
        """Let it back when its time is over, give it more as time passes, forget in the end."""
        if self.left_out_until_ms is not None and now_ms >= self.left_out_until_ms:
            self.left_out_until_ms = None
            self.back_ms = self.well_since_ms = now_ms
            self._now, self._past = {}, {}
        if self.back_ms is not None:
            share = max(SLOW_START_SHARE, (now_ms - self.back_ms) / SLOW_START_MS)
            self.room = None if share >= 1 else ceil(share * slots)
            self.back_ms = None if share >= 1 else self.back_ms
        idle = self.left_out_until_ms is None
        if self.times and idle and now_ms >= self.well_since_ms + LONGEST_LEAVE_MS:
            self.times = 0

    def put_back(self, by_ms: int) -> None:
        """The clock was put back: what is to last so long does not last longer for it."""
        self._half_ms -= by_ms
        self.well_since_ms -= by_ms
        if self.left_out_until_ms is not None:
            self.left_out_until_ms -= by_ms
        if self.back_ms is not None:
            self.back_ms -= by_ms


def note_result(executor: ExecutorState, task: TaskState, result: RunResult) -> None:
    """Count an attempt that an executor has reported."""
    if task.head.attempt > 1 or result.cancelled or result.interrupted or result.uncounted:
        return
    took_ms = result.ended_ms - result.started_ms
    executor.health.note(task.spec.handler, result.failure is not None, took_ms)


def judge(executors: Iterable[ExecutorState], now_ms: int, *, awake: bool = True) -> list[str]:
    """Look at all executors once; why each one that is left out from now on is.

    Args:
        awake: False = this node has slept, so what it has not heard of proves nothing.
    """
    present = list(executors)
    for executor in present:
        executor.health.turn(now_ms)
        executor.health.recover(now_ms, executor.facts.slots)
        executor.left_out = executor.health.left_out_until_ms is not None
    judged = [each for each in present if each.ready and not each.left_out]
    if len(judged) < 2:
        return []
    sums = {each.facts.incarnation: each.health.sums() for each in judged}
    total = _total(sums.values())
    strongest = max(each.facts.strength for each in judged)
    suspects: list[tuple[float, int, ExecutorState, str]] = []
    for number, executor in enumerate(judged):
        own = sums[executor.facts.incarnation]
        slack = TIMES_SLOWER * strongest / executor.facts.strength
        found = _stuck(executor, now_ms) if awake else None
        found = found or _compare(own, total, slack)
        if found is not None:
            suspects.append((-found[0], number, executor, found[1]))
    return [
        f"{executor.facts.node}: {reason}"
        for _, _, executor, reason in sorted(suspects)
        if _leave_out(executor, present, now_ms, reason)
    ]


def _leave_out(
    executor: ExecutorState, present: list[ExecutorState], now_ms: int, reason: str
) -> bool:
    """Leave it out if enough others serve what it serves; the worst come first."""
    shared = False
    for handler in executor.handlers:
        serving = [each for each in present if each.ready and handler in each.handlers]
        if len(serving) < 2:
            continue
        shared = True
        if sum(each.left_out for each in serving) + 1 > MOST_LEFT_OUT * len(serving):
            return False
    if shared:
        executor.health.leave_out(now_ms, reason)
        executor.left_out = True
    return shared


def _total(all_sums: Iterable[Sums]) -> Sums:
    total: Sums = {}
    for sums in all_sums:
        for handler, values in sums.items():
            known = total.setdefault(handler, [0, 0, 0])
            for place, value in enumerate(values):
                known[place] += value
    return total


def _compare(own: Sums, total: Mapping[str, list[int]], slack: float) -> tuple[float, str] | None:
    """How much worse than the peers would have done with the same attempts; None = not far."""
    attempts = failed = took_ms = 0
    failed_expected = took_expected_ms = 0.0
    for handler, (count, bad, spent_ms) in own.items():
        peers, peers_bad, peers_ms = (
            all_ - mine for all_, mine in zip(total[handler], own[handler], strict=True)
        )
        if peers < LEAST_ATTEMPTS:
            continue
        attempts, failed, took_ms = attempts + count, failed + bad, took_ms + spent_ms
        failed_expected += count * peers_bad / peers
        took_expected_ms += count * peers_ms / peers
    if attempts < LEAST_ATTEMPTS:
        return None
    worse = (failed - failed_expected) / attempts
    if worse >= WORSE_BY:
        peers_share = failed_expected / attempts
        return worse, f"{failed / attempts:.0%} of its attempts failed, {peers_share:.0%} elsewhere"
    slower_ms = (took_ms - took_expected_ms) / attempts
    if slower_ms >= SLOWER_BY_MS and took_ms >= slack * took_expected_ms:
        mean_s, peers_s = took_ms / attempts / 1_000, took_expected_ms / attempts / 1_000
        return worse, f"its attempts took {mean_s:.1f} s, {peers_s:.1f} s elsewhere"
    return None


def _stuck(executor: ExecutorState, now_ms: int) -> tuple[float, str] | None:
    """Whether it says that it has room and does not begin what it was sent."""
    if executor.told_free <= 0:
        return None
    for task in executor.runs.values():
        waits = task.started_ms is None and task.sent_ms > 0
        if waits and task.spec.handler not in executor.caps:
            if now_ms - task.sent_ms >= UNSTARTED_MS:
                return 1.0, f"an order has not begun for {UNSTARTED_MS // 1_000} s, with free slots"
            return None
    return None
