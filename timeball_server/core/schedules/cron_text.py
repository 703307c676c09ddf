"""The text of cron expressions: five fields, or six with seconds first, to bit masks.

Owns the grammar (docs/guides/schedules.md has it as a table), the nicknames and the hash behind
`H`. Refuses whatever two cron dialects read differently, and says at which character. Never knows
a time zone or an instant.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from timeball_server.core.limits import MAX_CRON_CHARACTERS
from timeball_server.core.schedules.fields import DayRule, Fields
from timeball_server.core.schedules.problems import SpecProblem, refuse

_MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_WEEKDAYS: Final = "sun mon tue wed thu fri sat".split()
_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ELSEWHERE: Final = {
    "@reboot": "a schedule knows no reboot: create a task when your program starts",
    "@every": "use an interval, which says how long and from when",
    "@once": "create a task with a run time instead of a schedule",
}
_LAST: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """One field: its name, its bounds, the words it knows, and the highest day that H draws."""

    name: str
    low: int
    high: int
    words: Mapping[str, int]
    hash_high: int


def _kind(name: str, low: int, high: int, words: Mapping[str, int], hash_high: int) -> _Kind:
    return _Kind(name=name, low=low, high=high, words=words, hash_high=hash_high)


_SECOND: Final = _kind("second", 0, 59, {}, 59)
_MINUTE: Final = _kind("minute", 0, 59, {}, 59)
_HOUR: Final = _kind("hour", 0, 23, {}, 23)
_DATE: Final = _kind("day of the month", 1, 31, {}, 28)
_MONTH: Final = _kind("month", 1, 12, {word: n + 1 for n, word in enumerate(_MONTHS)}, 12)
_WEEKDAY: Final = _kind("day of the week", 0, 7, {word: n for n, word in enumerate(_WEEKDAYS)}, 6)

_VALUE: Final = r"[0-9]{1,9}|[a-z]{3}"
_ITEM: Final = re.compile(
    rf"(?:(?P<star>\*)|(?P<hash>h)(?:\((?P<hash_low>{_VALUE})-(?P<hash_high>{_VALUE})\))?"
    rf"|(?P<low>{_VALUE})(?:-(?P<high>{_VALUE}))?)(?:/(?P<step>[0-9]{{1,9}}))?"
)
_NTH: Final = re.compile(rf"(?P<day>{_VALUE})#(?P<nth>[0-9]{{1,9}})")
_LAST_DAY: Final = re.compile(rf"(?P<day>{_VALUE})l")
_NEAREST: Final = re.compile(r"(?P<day>[0-9]{1,9})w")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """A part of the expression and where it begins, counted from 1."""

    text: str
    position: int


class _Reader:
    """Reads one expression; `seed` is what its H fields are hashed from."""

    def __init__(self, seed: str, field: str) -> None:
        self._seed = seed
        self._field = field

    def refuse(self, position: int | None, message: str, hint: str) -> SpecProblem:
        return refuse(self._field, message, hint, position)

    def mask(self, piece: _Piece, kind: _Kind) -> int:
        """The values that a plain field picks."""
        found = 0
        for item in self.items(piece, kind):
            found |= self.item(item, kind)
        return found

    def items(self, piece: _Piece, kind: _Kind) -> list[_Piece]:
        """The parts of a list."""
        found, position = [], piece.position
        for text in piece.text.split(","):
            if not text:
                message = f"an item of the list of the {kind.name} is empty"
                raise self.refuse(position, message, "put a value on both sides of each comma")
            found.append(_Piece(text=text, position=position))
            position += len(text) + 1
        return found

    def item(self, piece: _Piece, kind: _Kind) -> int:
        """The values that one item of a list picks: `*`, `3`, `1-5`, `*/5`, `10-40/10`, `H`."""
        match = _ITEM.match(piece.text)
        if match is None or match.end() < len(piece.text):
            raise self._unread(piece, kind, 0 if match is None else match.end())
        step = None if match["step"] is None else int(match["step"])
        step_position = piece.position + match.start("step")
        if match["hash"]:
            return self._hashed(piece, kind, match, step)
        if match["star"]:
            low, high = kind.low, min(kind.high, 6) if kind is _WEEKDAY else kind.high
        else:
            low, high = self._bounds(piece, kind, match, "low", "high")
            if match["high"] is None and step is not None:
                message = f"a step needs a range, and {match['low']} is one value"
                hint = f"write {match['low']}-{kind.high}/{step} or */{step}"
                raise self.refuse(step_position - 1, message, hint)
        if step is not None:
            self._require_step(step, low, high, step_position)
        found = 0
        for value in range(low, high + 1, step or 1):
            found |= 1 << (value % 7 if kind is _WEEKDAY else value)
        return found

    def _bounds(
        self, piece: _Piece, kind: _Kind, match: re.Match[str], first: str, last: str
    ) -> tuple[int, int]:
        low = self.value(match[first], piece.position + match.start(first), kind)
        if match[last] is None:
            return low, low
        high = self.value(match[last], piece.position + match.start(last), kind)
        if high == 0 < low and match[last] == "sun":
            high = 7
        if low > high:
            message = f"the range {match[first]}-{match[last]} runs backwards"
            hint = f"write {match[first]}-{_end(kind)},{kind.low}-{match[last]} to go round the end"
            raise self.refuse(piece.position + match.start(first), message, hint)
        return low, high

    def _hashed(self, piece: _Piece, kind: _Kind, match: re.Match[str], step: int | None) -> int:
        if not self._seed:
            message = "H is hashed from the schedule's name, and there is none"
            raise self.refuse(piece.position, message, "name the schedule or write a number")
        low, high = kind.low, kind.hash_high
        if match["hash_low"] is not None:
            low, high = self._bounds(piece, kind, match, "hash_low", "hash_high")
        span = high - low + 1
        if step is not None:
            self._require_step(step, low, high, piece.position + match.start("step"))
        drawn = _hash(self._seed, kind.name)
        found = 0
        first = low + drawn % min(step or span, span)
        for value in range(first, high + 1, step or span):
            found |= 1 << (value % 7 if kind is _WEEKDAY else value)
        return found

    def _require_step(self, step: int, low: int, high: int, position: int) -> None:
        if step < 1:
            raise self.refuse(position, "a step of 0 never moves on", "write a step of at least 1")
        if step > max(1, high - low):
            message = f"a step of {step} leaves the range {low}-{high} after its first value"
            raise self.refuse(position, message, f"write {low} alone or a smaller step")

    def value(self, text: str, position: int, kind: _Kind) -> int:
        """A number or a word of a field."""
        if text.isdigit():
            number = int(text)
            if kind.low <= number <= kind.high:
                return number
            message = f"{number} is no {kind.name}"
            raise self.refuse(position, message, f"it is from {kind.low} to {kind.high}")
        if text in kind.words:
            return kind.words[text]
        known = ", ".join(kind.words) or "no words"
        message = f"{text!a} is no {kind.name}"
        raise self.refuse(
            position, message, f"it is from {kind.low} to {kind.high}; words: {known}"
        )

    def _unread(self, piece: _Piece, kind: _Kind, read: int) -> SpecProblem:
        text = piece.text
        position = piece.position + min(read, len(text) - 1)
        hints = {
            "?": "? stands alone, for the day of the month or of the week",
            "l": "L is for days: L or LW in the third field from the end, 5L or friL in the last",
            "w": "W follows one day of the month, as in 15W, or L, as in LW",
            "#": "# follows one day of the week, as in fri#2",
            "+": "+ stands once, before the day of the week",
            "~": "write H(low-high) for a value hashed from the schedule's name",
            "h": "write H, H(low-high), H/step or H(low-high)/step",
        }
        usual = "write *, a value, a range 1-5, a step */5 or 1-30/5, or a list of these"
        hint = hints.get(text[position - piece.position], usual)
        return self.refuse(position, f"{text[:40]!a} can not be read as {kind.name}", hint)

    # Days ---------------------------------------------------------------------------------------

    def days(self, date: _Piece, weekday: _Piece) -> DayRule:
        """Both day fields and the rule that joins them."""
        both = weekday.text.startswith("+")
        if both:
            weekday = _Piece(text=weekday.text[1:], position=weekday.position + 1)
        free = [piece.text[:1] in {"*", "?"} for piece in (date, weekday)]
        dates = nearest = weekdays = 0
        last = last_weekday = False
        nth = [0] * 6
        for item in self.items(_plain(date), _DATE):
            if item.text == "l":
                last = True
            elif item.text == "lw":
                last_weekday = True
            elif match := _NEAREST.fullmatch(item.text):
                nearest |= 1 << self.value(match["day"], item.position, _DATE)
            else:
                dates |= self.item(item, _DATE)
        for item in self.items(_plain(weekday), _WEEKDAY):
            if match := _LAST_DAY.fullmatch(item.text):
                nth[_LAST] |= 1 << self.value(match["day"], item.position, _WEEKDAY) % 7
            elif match := _NTH.fullmatch(item.text):
                nth[self._nth(match, item.position)] |= (
                    1 << self.value(match["day"], item.position, _WEEKDAY) % 7
                )
            else:
                weekdays |= self.item(item, _WEEKDAY)
        return DayRule(
            dates=dates,
            nearest=nearest,
            last=last,
            last_weekday=last_weekday,
            weekdays=weekdays,
            nth=(nth[0], nth[1], nth[2], nth[3], nth[4], nth[5]),
            either=not both and not any(free),
        )

    def _nth(self, match: re.Match[str], position: int) -> int:
        nth = int(match["nth"])
        if not 1 <= nth <= 5:
            message = f"no month has a day of the week {nth} times"
            hint = "write #1 to #5, or L for the last one"
            raise self.refuse(position + match.start("nth"), message, hint)
        return nth - 1


def parse(expression: str, seed: str = "", field: str = "expression") -> Fields:
    """The masks of an expression.

    Args:
        seed: what `H` is hashed from, the schedule's name; empty = there is none.
        field: the path put into problems.

    Raises:
        SpecProblem: with the character at which the text goes wrong.
    """
    reader = _Reader(seed, field)
    if len(expression) > MAX_CRON_CHARACTERS:
        message = f"an expression has at most {MAX_CRON_CHARACTERS} characters"
        raise reader.refuse(MAX_CRON_CHARACTERS + 1, message, "split it into several rules")
    pieces = _pieces(expression.lower(), reader)
    position = pieces[0].position if len(pieces) == 1 else 0
    if len(pieces) == 1 and pieces[0].text.startswith("@"):
        meaning = _nickname(pieces[0], reader)
        pieces = [_Piece(text=text, position=position) for text in meaning.split()]
    second = pieces.pop(0) if len(pieces) == 6 else None
    minute, hour, date, month, weekday = pieces
    return Fields(
        seconds=1 if second is None else reader.mask(second, _SECOND),
        minutes=reader.mask(minute, _MINUTE),
        hours=reader.mask(hour, _HOUR),
        months=reader.mask(month, _MONTH),
        days=reader.days(date, weekday),
        ticks_through=any(item == "*" or "/" in item for item in hour.text.split(",")),
        has_seconds=second is not None,
        day_position=date.position,
    )


def _pieces(text: str, reader: _Reader) -> list[_Piece]:
    """The fields of an expression, five or six of them, or one nickname."""
    if strange := re.search(r"[^ \t!-~]", text):
        message = f"{strange[0]!a} has no place in an expression"
        raise reader.refuse(strange.start() + 1, message, "write letters, digits and * , - / # ? +")
    found = [
        _Piece(text=match[0], position=match.start() + 1) for match in re.finditer(r"[^ \t]+", text)
    ]
    if not found:
        raise reader.refuse(None, "the expression is empty", "write one such as 0 9 * * mon-fri")
    first = found[0].text
    if first.startswith(("cron_tz=", "tz=")):
        raise reader.refuse(
            1, "the zone is no part of the expression", "put it into the zone field"
        )
    if first.startswith("@") and first in _ELSEWHERE:
        raise reader.refuse(found[0].position, f"{first} is no time", _ELSEWHERE[first])
    if len(found) in {5, 6} or (len(found) == 1 and first.startswith("@")):
        return found
    message = f"an expression has five fields, or six with seconds first, and this has {len(found)}"
    hint = "the fields are: minute hour day-of-month month day-of-week"
    if len(found) == 7:
        hint = "there is no field for the year: use start and end"
    raise reader.refuse(found[6].position if len(found) > 6 else len(text), message, hint)


def _nickname(piece: _Piece, reader: _Reader) -> str:
    meaning = _NICKNAMES.get(piece.text)
    if meaning is None:
        known = ", ".join(_NICKNAMES)
        raise reader.refuse(piece.position, f"{piece.text[:40]!a} is no nickname", f"use {known}")
    return meaning


def _plain(piece: _Piece) -> _Piece:
    """`?` alone says the same as `*`."""
    return _Piece(text="*", position=piece.position) if piece.text == "?" else piece


def _end(kind: _Kind) -> str:
    return {"day of the week": "sat", "month": "dec"}.get(kind.name, str(kind.high))


def _hash(seed: str, purpose: str) -> int:
    text = f"{purpose}:{seed}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, person=b"cron").digest(), "big")
