"""What may be said about a task next to its arguments: when, how urgent, how often to try.

Pure records and their checks. Ranges are the server's to judge: it answers with the field's path.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack

from timeball.durations import DurationLike, parse_duration
from timeball.payload import encode_arguments

R = TypeVar("R")
WhileOpen = Literal["fail", "use_existing", "replace_pending"]
AfterEnd = Literal["allow", "allow_if_failed", "reject"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """When to try again after a retriable failure; None leaves a value to the server's default.

    Attributes:
        max_attempts: attempts in all, the first included (default 5).
        initial_delay: before the second attempt (default 1 s).
        coefficient: factor from one delay to the next (default 2).
        max_delay: longest delay (default 5 min).
        max_age: no retry is made that would be due later than this after creation (default no
            limit); how long an attempt may wait for an executor is `start_within`.
        jitter: share of each delay that is drawn at random, 0 to 1 (default 1).
    """

    max_attempts: int | None = None
    initial_delay: DurationLike | None = None
    coefficient: float | None = None
    max_delay: DurationLike | None = None
    max_age: DurationLike | None = None
    jitter: float | None = None

    def __post_init__(self) -> None:
        for name in ("initial_delay", "max_delay", "max_age"):
            value = getattr(self, name)
            if value is not None:
                parse_duration(value, field=f"retry.{name}")


class TaskOptions(TypedDict, total=False):
    """What can be said for one submission, and as defaults where a task is declared.

    Keys:
        priority: urgency, 0 to 9, 9 = most urgent.
        labels: words of your own to find the task by.
        selector: labels that the executor must carry.
        retry: when to try again.
        timeout: longest run of one attempt.
        start_within: from due time to start, else the task fails as EXPIRED.
        finish_within: all attempts together, from due time.
        heartbeat_within: longest silence of a running attempt, which has to say heartbeats.
        at_most_once: never try again when an attempt's fate is unknown.
        owner: user whose list shows it.
    """

    priority: int
    labels: Mapping[str, str]
    selector: Mapping[str, str]
    retry: RetryPolicy
    timeout: DurationLike
    start_within: DurationLike
    finish_within: DurationLike
    heartbeat_within: DurationLike
    at_most_once: bool
    owner: str


class SubmitOptions(TaskOptions, total=False):
    """TaskOptions, and what makes sense for one submission only.

    Keys:
        run_at: earliest instant at which it may start; names its time zone.
        delay: instead of run_at, start this long after the task arrives.
        request_id: a UUID; repeating it gives the same answer. Made for you when left out.
        concurrency_key: of tasks with one key no more run at once than the namespace's limits
            allow; one, if they say nothing of it.
        chosen_name: of your choice, lower case; at most one open task of a namespace has it.
        while_open: what to do while an open task has the name: "fail" (default) with
            AlreadyExists, "use_existing" and answer with it, "replace_pending" if it has not begun.
        after_end: whether the name may be given again after its task has ended: "allow" (default),
            "allow_if_failed", "reject".
    """

    run_at: datetime
    delay: DurationLike
    request_id: str
    concurrency_key: str
    chosen_name: str
    while_open: WhileOpen
    after_end: AfterEnd


class UpdateOptions(TypedDict, total=False):
    """What can be changed about a task that waits. Each is replaced as a whole.

    The four limits belong together: where one is said, those left out are no limit any more.

    Keys:
        priority: urgency, 0 to 9, 9 = most urgent.
        labels: words of your own to find the task by; empty = none.
        selector: labels that the executor must carry; empty = none.
        retry: when to try again.
        timeout: longest run of one attempt; None = no limit.
        start_within: from due time to start, else the task fails as EXPIRED; None = no limit.
        finish_within: all attempts together, from due time; None = no limit.
        heartbeat_within: longest silence of a running attempt; None = no limit.
    """

    priority: int
    labels: Mapping[str, str]
    selector: Mapping[str, str]
    retry: RetryPolicy
    timeout: DurationLike | None
    start_within: DurationLike | None
    finish_within: DurationLike | None
    heartbeat_within: DurationLike | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission(Generic[R]):
    """A task ready to be sent; `Task.prepare` and `submission` make them.

    Attributes:
        handler: name of the handler.
        data: its named arguments as a JSON object.
        options: when, how urgent and so on.
        result_type: what the handler returns, so that a handle can decode it.
    """

    handler: str
    data: bytes = b"{}"
    options: SubmitOptions = field(default_factory=SubmitOptions)
    result_type: Any = Any


def submission(
    handler: str,
    arguments: Mapping[str, object] | None = None,
    /,
    **options: Unpack[SubmitOptions],
) -> Submission[Any]:
    """A task for a handler whose code is not here: its name and named arguments.

    Raises:
        InvalidRequest: an argument has no JSON form.
        TypeError: an option does not exist.
    """
    check_option_names(options)
    return Submission(handler=handler, data=encode_arguments(arguments or {}), options=options)


def prepared(
    task: Submission[Any] | str,
    arguments: Mapping[str, object] | None = None,
    /,
    **options: Unpack[SubmitOptions],
) -> Submission[Any]:
    """A prepared task as it is, or one from a handler's name, as `submission` makes it."""
    return submission(task, arguments, **options) if isinstance(task, str) else task


def check_option_names(
    given: Iterable[str], accepted: Iterable[str] = SubmitOptions.__optional_keys__
) -> None:
    """Refuses a misspelt option instead of ignoring it.

    Raises:
        TypeError: an option does not exist; the message names the nearest one.
    """
    known = sorted(accepted)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
            raise TypeError(f"there is no option {name!r}; {hint}")
