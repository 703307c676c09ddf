"""Time zones as segments of constant offset, from the pinned zone data.

Owns the loading of zones and the search for their jumps. Never reads the machine's own zone files,
which differ from node to node; never guesses a zone that it does not know.

The rules of a zone are asked through zoneinfo, instant by instant; its jumps are found between two
probes whose offsets differ. Two jumps within one probe's distance that cancel each other would be
missed; no zone has such a pair (a test reads the raw data to see that).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

from timeball_server.core.schedules.problems import SpecProblem, refuse

LAST_S: Final = 250_000_000_000
"""Late in the year 9892: nothing is looked for beyond it, so that dates never overflow."""
NEVER_S: Final = 1 << 60
"""Later than every instant, in seconds."""
_WINDOW_BITS: Final = 25
"""Jumps are looked for in windows of 2^25 seconds, some 388 days, and kept by window."""
_PROBE_S: Final = 3 * 86_400
"""Recife put its clock forward and back within a week of October 2000; nobody was quicker since."""
_WINDOWS_KEPT: Final = 4_096
_ZONES_KEPT: Final = 1_024

_ABBREVIATIONS: Final = {
    "EST": "America/Panama",
    "MST": "America/Phoenix",
    "HST": "Pacific/Honolulu",
    "EST5EDT": "America/New_York",
    "CST6CDT": "America/Chicago",
    "MST7MDT": "America/Denver",
    "PST8PDT": "America/Los_Angeles",
    "WET": "Europe/Lisbon",
    "CET": "Europe/Brussels",
    "MET": "Europe/Brussels",
    "EET": "Europe/Athens",
}
_PLACES: Final = "name an IANA zone such as Europe/Berlin, or UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of time in which a zone keeps one offset: local reading = instant + offset.

    All in seconds. Segments also end where a window does; such a border is no jump.

    Attributes:
        start_s: its first instant.
        end_s: the first instant after it.
        offset_s: east of UTC is positive.
        gap_from_s: the first local reading that the jump at `start_s` leaves out, if that is a
            gap; its end is the segment's own first reading. None otherwise.
        once_from_s: readings from here on were not shown before; earlier ones are a second pass.
        again_from_s: readings from here on will be shown a second time.
    """

    start_s: int
    end_s: int
    offset_s: int
    gap_from_s: int | None
    once_from_s: int
    again_from_s: int


def segment_at(zone: str, at_s: int) -> Segment:
    """The segment of a zone that holds an instant.

    Raises:
        SpecProblem: the zone is not known, or not accepted.
    """
    for segment in _segments(zone, at_s >> _WINDOW_BITS):
        if at_s < segment.end_s:
            return segment
    raise AssertionError("the segments of a window cover it")


def require_zone(name: str, field: str = "zone") -> None:
    """Refuse a text that names no zone, or names one in a way that misleads.

    Raises:
        SpecProblem: with a hint that names the zone that is probably meant.
    """
    if name not in zone_names():
        raise _unknown(name, field)
    if name in _ABBREVIATIONS:
        place = _ABBREVIATIONS[name]
        raise refuse(field, f"{name} is an abbreviation, not a place", f"name one, such as {place}")
    if name.startswith("Etc/GMT") and name[7:8] in {"+", "-"} and name[8:] != "0":
        direction = "behind" if name[7] == "+" else "ahead of"
        message = (
            f"{name} is {name[8:]} hours {direction} UTC: its sign is the reverse of the usual"
        )
        raise refuse(field, message, _PLACES)
    if name == "Factory":
        raise refuse(field, "Factory stands for a machine without a zone", _PLACES)


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every name that the zone data know, renamed ones included."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("ascii").split())


@lru_cache(maxsize=1)
def _spellings() -> dict[str, str]:
    """Names by their lower case, whole and by their last part, for hints."""
    names = sorted(zone_names())
    by_place = {name.rpartition("/")[2].lower(): name for name in names}
    return by_place | {name.lower(): name for name in names}


def _unknown(name: str, field: str) -> SpecProblem:
    if not name.strip():
        return refuse(field, "the zone is empty", _PLACES)
    meant = _spellings().get(name[:80].strip().lower().replace(" ", "_"))
    if meant is None or meant in _ABBREVIATIONS:
        return refuse(field, f"{name[:40]!a} is no zone of the IANA time zone database", _PLACES)
    return refuse(field, f"{name[:40]!a} is not how the zone is written", f"write {meant}")


@lru_cache(maxsize=_ZONES_KEPT)
def _rules(name: str) -> ZoneInfo:
    require_zone(name)
    file = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with file.open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def _offset_s(rules: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, rules).utcoffset()
    if offset is None:
        raise AssertionError("a zone knows its offset at every instant")
    return int(offset.total_seconds())


@lru_cache(maxsize=_WINDOWS_KEPT)
def _jumps(zone: str, window: int) -> tuple[tuple[int, int, int], ...]:
    """Every jump of a window: its instant, the offset before it and the offset from it on."""
    rules = _rules(zone)
    start_s, end_s = window << _WINDOW_BITS, (window + 1) << _WINDOW_BITS
    found = []
    low_s = start_s - 1
    low_offset_s = _offset_s(rules, low_s)
    for probe_s in (*range(start_s - 1 + _PROBE_S, end_s - 1, _PROBE_S), end_s - 1):
        offset_s = _offset_s(rules, probe_s)
        if offset_s != low_offset_s:
            found.append((_first_with(rules, low_s, probe_s), low_offset_s, offset_s))
        low_s, low_offset_s = probe_s, offset_s
    return tuple(found)


def _first_with(rules: ZoneInfo, low_s: int, high_s: int) -> int:
    """The first instant after one that has the offset of another later one."""
    wanted_s = _offset_s(rules, high_s)
    while high_s - low_s > 1:
        middle_s = (low_s + high_s) // 2
        if _offset_s(rules, middle_s) == wanted_s:
            high_s = middle_s
        else:
            low_s = middle_s
    return high_s


@lru_cache(maxsize=_WINDOWS_KEPT)
def _segments(zone: str, window: int) -> tuple[Segment, ...]:
    """The segments of a window; its neighbours say what begins before it or goes on after it."""
    start_s, end_s = window << _WINDOW_BITS, (window + 1) << _WINDOW_BITS
    before, within, later = (_jumps(zone, window + step) for step in (-1, 0, 1))
    offset_s = _offset_s(_rules(zone), start_s - 1)
    edge = (start_s, offset_s, offset_s)
    opening = () if within and within[0][0] == start_s else (edge,)
    found = []
    past = before[-1] if before else edge
    borders = (*opening, *within)
    for number, jump in enumerate(borders):
        past = jump if jump in within else past
        upcoming = (*borders[number + 1 :], *later)
        following = upcoming[0] if upcoming else None
        found.append(_segment(jump, past, following, end_s))
    return tuple(found)


def _segment(
    border: tuple[int, int, int],
    past: tuple[int, int, int],
    following: tuple[int, int, int] | None,
    window_end_s: int,
) -> Segment:
    start_s, before_s, offset_s = border
    next_s = NEVER_S if following is None else following[0]
    folds_later = following is not None and following[2] < following[1]
    return Segment(
        start_s=start_s,
        end_s=min(next_s, window_end_s),
        offset_s=offset_s,
        gap_from_s=start_s + before_s if before_s < offset_s else None,
        once_from_s=past[0] + past[1] if past[2] < past[1] else -NEVER_S,
        again_from_s=following[0] + following[2] if following and folds_later else NEVER_S,
    )
