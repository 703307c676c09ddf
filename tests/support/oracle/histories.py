"""The distinct offset histories of the IANA zones, 2020 to 2037, and their jumps.

Asks zoneinfo alone, through the oracle's clock: four days at a time, then to the second. No two
jumps of a zone lie within three weeks of each other; test_zones.py reads the raw data to see that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from timeball_server.oracle.clock import zone

FIRST_S = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
LAST_S = int(datetime(2038, 1, 1, tzinfo=UTC).timestamp())
_PROBE_S = 4 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """An instant at which an offset changes."""

    at_s: int
    before_s: int
    after_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One sequence of offsets, with the first zone that has it."""

    zone: str
    offset_s: int
    jumps: tuple[Jump, ...]


def zone_names() -> list[str]:
    return files("tzdata").joinpath("zones").read_text("ascii").split()


def offset_s(rules: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, rules).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def jumps(name: str, from_s: int = FIRST_S, to_s: int = LAST_S) -> tuple[Jump, ...]:
    """Every jump of a zone between two instants."""
    rules = zone(name)
    found = []
    before_s = offset_s(rules, from_s)
    for probe_s in range(from_s, to_s, _PROBE_S):
        after_s = offset_s(rules, probe_s)
        if after_s != before_s:
            at_s = _border(rules, probe_s - _PROBE_S, probe_s)
            found.append(Jump(at_s=at_s, before_s=before_s, after_s=after_s))
            before_s = after_s
    return tuple(found)


def _border(rules: ZoneInfo, low_s: int, high_s: int) -> int:
    wanted_s = offset_s(rules, high_s)
    while high_s - low_s > 1:
        middle_s = (low_s + high_s) // 2
        if offset_s(rules, middle_s) == wanted_s:
            high_s = middle_s
        else:
            low_s = middle_s
    return high_s


@lru_cache(maxsize=1)
def histories() -> tuple[History, ...]:
    """One history for each sequence of offsets that some zone of a place goes through."""
    found: dict[tuple[int, tuple[Jump, ...]], History] = {}
    seen = set()
    for name in zone_names():
        if name.startswith("Etc/") or "/" not in name:
            continue
        data = files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
        if data in seen:
            continue
        seen.add(data)
        each = jumps(name)
        start_s = offset_s(zone(name), FIRST_S)
        found.setdefault((start_s, each), History(zone=name, offset_s=start_s, jumps=each))
    return tuple(found.values())
