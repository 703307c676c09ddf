"""What people say about a schedule, in options of a command or in a TOML file, in the SDK's words.

Both have the same words, so that a file can be written from what worked on the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from timeball.durations import parse_instant
from timeball.errors import refused

if TYPE_CHECKING:
    from timeball.options import SubmitOptions
    from timeball.timings import Exclusion, Timing

F = TypeVar("F", bound=Callable[..., Any])

WHEN_WORDS = ("cron", "every", "after_completion")
BESIDE_WORDS = ("tz", "phase", "gap", "fold", "exclude_dates", "exclude_crons", "exclude_spans")
OPTION_WORDS = (
    "start",
    "end",
    "max_runs",
    "jitter",
    "window",
    "overlap",
    "catch_up",
    "catch_up_window",
    "max_lateness",
    "labels",
)
TASK_WORDS = (
    "priority",
    "task_labels",
    "selector",
    "max_attempts",
    "attempt_timeout",
    "start_within",
    "finish_within",
    "heartbeat_within",
    "at_most_once",
    "owner",
)
_SAME = (
    *("priority", "start_within", "finish_within", "heartbeat_within", "at_most_once"),
    *("owner", "selector"),
)

_OVERLAP_HELP = "skip (default), buffer_one, buffer(N), allow(N), cancel_other, terminate_other."
_REPEATED = {"multiple": True}
_TIMING_OPTIONS: Sequence[tuple[str, str, str, Mapping[str, Any]]] = (
    ("--cron", "EXPR", "Such as '0 9 * * mon-fri'. Repeatable.", _REPEATED),
    ("--tz", "ZONE", "IANA time zone of crons and excluded dates; default UTC.", {}),
    ("--every", "DURATION", "An interval, aligned to the epoch. Repeatable.", _REPEATED),
    ("--phase", "DURATION", "Shift of the intervals.", {}),
    ("--after-completion", "DURATION", "Instead: so long after the end of each run.", {}),
    ("--gap", "RULE", "Local times that clocks skip: run_at_end (default) or skip.", {}),
    ("--fold", "RULE", "Local times that come twice: first (default), second, both.", {}),
    ("--exclude-date", "DATE", "Leave out a day, 2026-12-25. Repeatable.", _REPEATED),
    ("--exclude-cron", "EXPR", "Leave out what it matches. Repeatable.", _REPEATED),
    ("--exclude-span", "TIME/TIME", "Leave out from the one up to the other.", _REPEATED),
    ("--start", "TIME", "No nominal time before.", {}),
    ("--end", "TIME", "No nominal time after.", {}),
    ("--max-runs", "N", "End after so many launches.", {"type": int}),
    ("--jitter", "DURATION", "Due at random within so long.", {}),
    ("--window", "DURATION", "Due anywhere within so long.", {}),
    ("--overlap", "RULE", _OVERLAP_HELP, {}),
    ("--catch-up", "RULE", "After nobody was there: one (default), skip, all.", {}),
    ("--catch-up-window", "DURATION", "How far back catch-up looks; default 10m.", {}),
    ("--max-lateness", "DURATION", "What was missed longer ago is not launched.", {}),
    ("--label", "KEY=VALUE", "Label of the schedule. Repeatable.", _REPEATED),
)  # fmt: skip
_TASK_OPTIONS: Sequence[tuple[str, str, str, Mapping[str, Any]]] = (
    ("--priority", "N", "Urgency of its tasks, 0 to 9, 9 = most urgent.", {"type": int}),
    ("--task-label", "KEY=VALUE", "Label of its tasks. Repeatable.", _REPEATED),
    ("--selector", "KEY=VALUE", "Label of the executor. Repeatable.", _REPEATED),
    ("--max-attempts", "N", "Attempts in all, the first included.", {"type": int}),
    ("--attempt-timeout", "DURATION", "Longest run of one attempt.", {}),
    ("--start-within", "DURATION", "From due time to start, else EXPIRED.", {}),
    ("--finish-within", "DURATION", "All attempts together, from due time.", {}),
    ("--heartbeat-within", "DURATION", "Longest silence of an attempt.", {}),
    ("--at-most-once", "", "Never repeat an attempt of unknown fate.", {"is_flag": True}),
    ("--owner", "USER", "User whose list shows its tasks.", {}),
)
_PLURALS = {
    "exclude_date": "exclude_dates",
    "exclude_cron": "exclude_crons",
    "exclude_span": "exclude_spans",
    "label": "labels",
    "task_label": "task_labels",
}


def timing_options(command: F) -> F:
    """Adds the options that say when."""
    return _with(_TIMING_OPTIONS, command)


def task_options(command: F) -> F:
    """Adds the options that say what."""
    return _with(_TASK_OPTIONS, command)


def _with(table: Sequence[tuple[str, str, str, Mapping[str, Any]]], command: F) -> F:
    for name, metavar, words, more in reversed(table):
        command = click.option(name, metavar=metavar or None, help=words, **more)(command)
    return command


def words_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """The words that were given on a command line."""
    from timeball.cli.task import pairs

    words: dict[str, Any] = {}
    for name, value in said.items():
        if value is None or value == () or value is False:
            continue
        words[_PLURALS.get(name, name)] = value
    for name in ("labels", "task_labels", "selector"):
        if name in words:
            words[name] = pairs(words[name], f"--{name.replace('_', '-').removesuffix('s')}")
    return words


def says_when(words: Mapping[str, Any]) -> bool:
    """Whether the words name a cron, an interval or a delay.

    Raises:
        InvalidRequest: they say something that only makes sense beside one of these.
    """
    if any(name in words for name in WHEN_WORDS):
        return True
    for name in BESIDE_WORDS:
        if name in words:
            raise refused(name, "say cron, every or after_completion as well; they go together")
    return False


def timing_of(words: Mapping[str, Any]) -> Timing:
    """The timing that words say.

    Raises:
        InvalidRequest: a word cannot be read; violations name it.
    """
    from timeball.timings import Cron, Interval, Timing

    tz, phase = str(words.get("tz", "")), words.get("phase", "0s")
    crons = tuple(Cron(expression=each, tz=tz) for each in _list(words, "cron"))
    intervals = tuple(Interval(every=each, phase=phase) for each in _list(words, "every"))
    delay = words.get("after_completion")
    if delay is not None and (crons or intervals):
        raise refused("after_completion", "cannot be united with cron or every")
    options: dict[str, Any] = {name: words[name] for name in OPTION_WORDS if name in words}
    for name in ("start", "end"):
        if name in options:
            options[name] = _instant(options[name], name)
    excluded = _excluded(words, tz)
    if excluded:
        options["exclude"] = excluded
    made: Any = Timing  # the words come from outside: Timing checks them itself
    timing: Timing = made(
        crons=crons,
        intervals=intervals,
        after_completion=delay,
        gap=words.get("gap"),
        fold=words.get("fold"),
        options=options,
    )
    return timing


def _excluded(words: Mapping[str, Any], tz: str) -> tuple[Exclusion, ...]:
    from timeball.timings import Cron, dates, span

    days = _list(words, "exclude_dates", date)
    found: list[Exclusion] = [dates(*days, tz=tz)] if days else []
    for text in _list(words, "exclude_spans"):
        start, slash, end = text.partition("/")
        if not slash:
            raise refused("exclude_spans", f"{text!r}: write two times with / between them")
        name = "exclude_spans"
        found.append(span(parse_instant(start, field=name), parse_instant(end, field=name)))
    found += [Cron(expression=each, tz=tz) for each in _list(words, "exclude_crons")]
    return tuple(found)


def task_options_of(words: Mapping[str, Any]) -> SubmitOptions:
    """The options of a task that words say."""
    from timeball.options import RetryPolicy, SubmitOptions

    found: Any = SubmitOptions()  # the words come from outside: what takes them checks them
    for name in _SAME:
        if name in words:
            found[name] = words[name]
    if "task_labels" in words:
        found["labels"] = words["task_labels"]
    if "attempt_timeout" in words:
        found["timeout"] = words["attempt_timeout"]
    if "max_attempts" in words:
        found["retry"] = RetryPolicy(max_attempts=words["max_attempts"])
    options: SubmitOptions = found
    return options


def _list(words: Mapping[str, Any], name: str, *more: type) -> tuple[Any, ...]:
    value = words.get(name, ())
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(x, (str, *more)) for x in items):
        raise refused(name, f"{value!r} is neither a text nor a list of texts")
    return tuple(items)


def _instant(value: object, name: str) -> datetime:
    if isinstance(value, datetime):
        return value
    return parse_instant(str(value), field=name)
