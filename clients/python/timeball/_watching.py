"""One watch over as many streams as it takes, for both clients: requests, changes, pauses.

Pure but for the kit's clock and randomness; the clients open the streams.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from timeball import _requests
from timeball._flow import Kit, Method, retry_delay_s
from timeball._status import item_error
from timeball._telling import trying_again
from timeball._verbs import OUTAGE_MAX_S
from timeball.changes import Change
from timeball.errors import TimeballError, Unavailable, WaitTimeout
from timeball.v1 import task_service_pb2 as tasks

WATCH_TASKS = Method(
    "/timeball.v1.TaskService/WatchTasks", tasks.WatchTasksRequest, tasks.WatchTasksResponse
)


class Watching:
    """What is watched, how far that has come, and when a broken stream is opened again."""

    def __init__(
        self, kit: Kit, watched: str | Iterable[str], *, full: bool, timeout_s: float | None
    ) -> None:
        names = [watched] if isinstance(watched, str) else watched
        self._request = tasks.WatchTasksRequest(
            parent=kit.settings.parent,
            names=[_requests.task_name(kit.settings, name) for name in names],
            view=tasks.TASK_VIEW_FULL if full else tasks.TASK_VIEW_BASIC,
        )
        self._kit = kit
        now_s = kit.clock.monotonic_s()
        self._until_s = math.inf if timeout_s is None else now_s + timeout_s
        self._left = len(self._request.names)
        self._well_s = now_s
        self._repetition = 0

    def has_ended(self) -> bool:
        """Whether everything has."""
        return self._left == 0

    @property
    def timeout_s(self) -> float | None:
        """How long a stream that is opened now may last."""
        left_s = self._until_s - self._kit.clock.monotonic_s()
        return None if math.isinf(left_s) else max(left_s, 0.0)

    def request(self) -> tasks.WatchTasksRequest:
        """What opens the next stream: it tells nothing again that is known to be over."""
        return self._request

    def take(self, response: tasks.WatchTasksResponse) -> list[Change]:
        """The changes in an answer."""
        self._well_s, self._repetition = self._kit.clock.monotonic_s(), 0
        self._request.resume_token = response.resume_token
        self._left -= sum(change.done for change in response.changes)
        return [_change(change) for change in response.changes]

    def pause_s(self, error: TimeballError | None) -> float:
        """Seconds until the next stream, after one that broke, or ended too early (None).

        Raises:
            WaitTimeout: the time is over.
            TimeballError: trying again is useless, or the service stayed away for too long.
        """
        error = error or Unavailable("the server ended the stream before everything had ended")
        now_s = self._kit.clock.monotonic_s()
        if now_s >= self._until_s:
            sentence = "not all watched tasks have ended yet; they go on, watch them again"
            raise WaitTimeout(sentence) from error
        delay_s = retry_delay_s(error, self._repetition, self._kit.random)
        if delay_s is None or now_s - self._well_s > OUTAGE_MAX_S:
            raise error
        trying_again(error)
        self._repetition += 1
        return min(delay_s, self._until_s - now_s)


def _change(change: tasks.TaskChange) -> Change:
    if change.HasField("error"):
        return Change(name=change.name, error=item_error(change.error), done=change.done)
    return Change(name=change.name, task=change.task, done=change.done)
