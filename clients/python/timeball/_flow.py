"""How a call talks to the service, written once for both clients.

A flow is a generator: it yields what to do next (send a request, pause) and is given the answer, or
the error, until it returns the result. The clients only perform steps, so that retries and waiting
cannot differ between the synchronous and the asynchronous one. Flows never block.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from timeball._budget import RepetitionBudget, look_again_s
from timeball._clock import Clock
from timeball._identifiers import may_be_repeated, new_request_id
from timeball._requests import resent
from timeball._telling import trying_again
from timeball.errors import OutcomeUnknown, ResourceExhausted, TimeballError
from timeball.settings import Settings

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
R = TypeVar("R")

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 2.0
# One address that does not answer must not use up the whole deadline of a call.
ATTEMPT_MAX_S = 5.0


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, A]):
    """One method of the API."""

    path: str
    request: type[Q]
    answer: type[A]


@dataclass(frozen=True, slots=True)
class Send:
    """Send this and give me the answer, or the TimeballError."""

    method: Method[Any, Any]
    request: Message
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Let this much time pass."""

    seconds: float


Step = Send | Pause
Flow = Generator[Step, Any, R]


class Run(Protocol):
    """Performs a flow, for threads."""

    def __call__(self, flow: Flow[R], /) -> R: ...


class AsyncRun(Protocol):
    """Performs a flow, for coroutines."""

    async def __call__(self, flow: Flow[R], /) -> R: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Kit:
    """What flows need from a client; `deadline_s` bounds a call with all its repetitions."""

    settings: Settings
    deadline_s: float
    clock: Clock
    random: random.Random
    budget: RepetitionBudget = field(default_factory=RepetitionBudget)

    def request_id(self, given: str | None = None) -> str:
        """The caller's request id, or a new one."""
        return given or new_request_id(self.clock.wall_ms(), self.random)

    def may_be_repeated(self, given: str | None) -> bool:
        """Whether a request with this id may have been made before, perhaps by another process.

        Then the request says so: a service that takes it for fresh could run it a second time.
        """
        return bool(given) and may_be_repeated(given or "", self.clock.wall_ms())


def call(kit: Kit, method: Method[Q, A], request: Q) -> Flow[A]:
    """Sends a request until it is answered, refused for good, or the deadline has no room left.

    Repetitions carry the same request id and say that they are repetitions. A refusal for the
    moment speaks for one of them only: if an earlier one may hold, that is what callers hear. A try
    is cut short only where another one may follow it.
    """
    doubt: OutcomeUnknown | None = None
    until_s = kit.clock.monotonic_s() + kit.deadline_s
    left_s, repetition = kit.deadline_s, 0
    kit.budget.asked()
    while True:
        lent = kit.budget.lend()
        try:
            answer: A = yield Send(method, request, min(left_s, ATTEMPT_MAX_S) if lent else left_s)
            kit.budget.answered(lent=lent, well=True)
            return answer
        except TimeballError as error:
            doubt = error if isinstance(error, OutcomeUnknown) else doubt
            delay_s = retry_delay_s(error, repetition, kit.random)
            is_paid = _settled(kit, error, lent=lent)
            if delay_s is not None:
                left_s = yield from _turn(kit, delay_s, until_s, is_paid=is_paid)
            if delay_s is None or left_s <= 0:
                if doubt is not None and error.retryable:
                    raise doubt from error
                raise
            trying_again(error)
        request, repetition = resent(request), repetition + 1


def _settled(kit: Kit, error: TimeballError, *, lent: bool) -> bool:
    """Whether a repetition is paid for: by what was lent, or because nobody had any work of it."""
    is_silence = lent and isinstance(error, OutcomeUnknown)
    if not is_silence:
        kit.budget.answered(lent=lent, well=False)
    return is_silence or not error.reached


def _turn(kit: Kit, delay_s: float, until_s: float, *, is_paid: bool) -> Flow[float]:
    """Waits for so long, and until the budget lets a repetition go; the seconds left, 0 = none."""
    while (left_s := until_s - kit.clock.monotonic_s() - delay_s) > 0:
        yield Pause(delay_s)
        if is_paid or kit.budget.take(kit.clock.monotonic_s()):
            return left_s
        delay_s = look_again_s(kit.random)
    return 0.0


def retry_delay_s(error: TimeballError, repetition: int, source: random.Random) -> float | None:
    """Seconds before the next try, or None when trying again is useless.

    Full jitter, so that callers who failed together do not come back together; added to what the
    server asked for, never instead of it.
    """
    # Without advice on when to come back it may be a message over a limit, which stays over it.
    is_blind = isinstance(error, ResourceExhausted) and error.retry_after_s is None
    if not error.retryable or is_blind:
        return None
    ceiling_s = min(BACKOFF_FIRST_S * 2.0 ** min(repetition, 16), BACKOFF_MAX_S)
    return (error.retry_after_s or 0.0) + source.random() * ceiling_s
