"""What an attempt's end means: from values and exceptions to results and failures. Pure."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final

import grpc
import msgspec
from timeball.outcomes import Cancelled, Fail, Retry, Snooze

from timeball_server.core.limits import MAX_RESULT_BYTES
from timeball_server.core.model import Failure, Payload

MAX_MESSAGE_CHARACTERS: Final = 2_000
MAX_STACK_CHARACTERS: Final = 16_000
MAX_KIND_CHARACTERS: Final = 200
_ONE_MS = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended; see core.messages.RunResult."""

    result: Payload | None = None
    failure: Failure | None = None
    cancelled: bool = False
    interrupted: bool = False
    uncounted: bool = False


TIMED_OUT: Final = Outcome(
    failure=Failure(kind="TIMEOUT", message="the handler ran longer than its start-to-close limit")
)
SILENT: Final = Outcome(
    failure=Failure(
        kind="HEARTBEAT_TIMEOUT",
        message="the handler was silent for longer than its heartbeat timeout",
    )
)
TERMINATED: Final = Outcome(
    failure=Failure(kind="CANCELLED", message="the run was terminated", retriable=False),
    cancelled=True,
)
INTERRUPTED: Final = Outcome(
    failure=Failure(kind="INTERRUPTED", message="the executor shut down before the handler ended"),
    interrupted=True,
)


def plain(text: str) -> str:
    """The text as it can travel: what UTF-8 has no bytes for is spelled out.

    Python hands such text out itself, for example as the name of a file whose bytes are no UTF-8.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def returned(value: object) -> Outcome:
    """The outcome of a handler that returned."""
    try:
        data = msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        return _final("INVALID_RESULT", f"the result has no JSON form: {error}")
    if len(data) > MAX_RESULT_BYTES:
        return _final(
            "RESULT_TOO_LARGE",
            f"the result has {len(data):,} bytes, {MAX_RESULT_BYTES:,} at most; "
            "store it elsewhere and return where it is",
        )
    return Outcome(result=Payload(data=data))


def no_thread(message: str) -> Outcome:
    """The outcome of a run for which the system has no thread: the machine's fault, not its own."""
    sentence = f"the executor's machine cannot run another handler now: {message}"
    return Outcome(failure=Failure(kind="NO_THREAD", message=sentence), uncounted=True)


def bad_arguments(message: str) -> Outcome:
    """The outcome of a payload that the handler's signature does not accept."""
    return _final("INVALID_ARGUMENT", message)


def raised(error: BaseException, now_ms: int) -> Outcome:
    """The outcome of a handler that raised.

    Args:
        error: what it raised.
        now_ms: wall clock, to turn "until then" into a delay.
    """
    try:
        return _told(error, now_ms)
    except Exception:  # noqa: BLE001 - code of users too: what it cannot say ends the run all the same
        return _plainly(error)


def _told(error: BaseException, now_ms: int) -> Outcome:
    """The outcome, as the exception itself tells it."""
    if isinstance(error, Cancelled):
        failure = Failure(kind="CANCELLED", message=_message(error), retriable=False)
        return Outcome(failure=failure, cancelled=True)
    if isinstance(error, Snooze):
        failure = Failure(kind="SNOOZE", message=_message(error), delay_ms=_delay_ms(error, now_ms))
        return Outcome(failure=failure, uncounted=True)
    if isinstance(error, Fail):
        return _final(error.code, _message(error), _stack(error))
    delay_ms = None
    if isinstance(error, Retry) and error.after is not None:
        delay_ms = error.after // _ONE_MS
    return _plainly(error, _status(error), delay_ms)


def _plainly(error: BaseException, status: str = "", delay_ms: int | None = None) -> Outcome:
    """A failure that another attempt may mend, by what any exception has."""
    failure = Failure(
        kind=_kind(status or type(error).__name__),
        message=_message(error),
        stack=_stack(error),
        delay_ms=delay_ms,
    )
    return Outcome(failure=failure)


def _status(error: BaseException) -> str:
    """The status that an error of a gRPC call carries; empty = it is none.

    By it the owner knows what another attempt cannot mend.
    """
    code = error.code() if isinstance(error, grpc.RpcError) and hasattr(error, "code") else None
    return code.name if isinstance(code, grpc.StatusCode) else ""


def _final(kind: str, message: str, stack: str = "") -> Outcome:
    text = plain(message)[:MAX_MESSAGE_CHARACTERS]
    return Outcome(failure=Failure(kind=_kind(kind), message=text, stack=stack, retriable=False))


def _kind(word: object) -> str:
    """A failure's kind; what a handler gives as its code may be anything."""
    return plain(str(word))[:MAX_KIND_CHARACTERS]


def _delay_ms(snooze: Snooze, now_ms: int) -> int:
    """How long to sleep: never negative, and never a moment too short."""
    if snooze.until is not None:
        return max(0, -(-(snooze.until - _EPOCH) // _ONE_MS) - now_ms)
    return 0 if snooze.after is None else snooze.after // _ONE_MS


def _message(error: BaseException) -> str:
    """The exception's sentence, even where its own __str__ fails."""
    told = str(traceback.TracebackException(type(error), error, None))
    return plain(told or type(error).__name__)[:MAX_MESSAGE_CHARACTERS]


def _stack(error: BaseException) -> str:
    """Where it happened, from the handler's own frame on; the end is what matters."""
    told = traceback.TracebackException(type(error), error, _users_part(error.__traceback__))
    return plain("".join(told.format()))[-MAX_STACK_CHARACTERS:]


def _users_part(frames: TracebackType | None) -> TracebackType | None:
    """Without the frames of the executor and of the registry that called the handler."""
    part = frames
    while part is not None and _is_ours(part):
        part = part.tb_next
    return part or frames


def _is_ours(frames: TracebackType) -> bool:
    module = str(frames.tb_frame.f_globals.get("__name__", ""))
    return module in {"executor_node.runner", "timeball.registry"}
