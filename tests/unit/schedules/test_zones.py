"""Segments of zones, against the raw zone data; nothing of them comes from the machine."""

from __future__ import annotations

import struct
from importlib.resources import files
from itertools import pairwise

import pytest

from tests.support.oracle.histories import FIRST_S, LAST_S, zone_names
from timeball_server.core.schedules.zones import NEVER_S, segment_at

YEAR_2000_S = 946_684_800


def raw_jumps(name: str) -> list[tuple[int, int]]:
    """Instants and offsets as a zone's file lists them, changes of the offset only (RFC 8536)."""
    data = files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
    size = struct.Struct(">4sc15x6l")
    _, _, *counts = size.unpack_from(data)
    is_utc, is_std, leap, times, types, chars = counts
    start = size.size + times * 5 + types * 6 + chars + leap * 8 + is_std + is_utc
    _, _, *counts = size.unpack_from(data, start)
    is_utc, is_std, leap, times, types, chars = counts
    start += size.size
    instants = struct.unpack_from(f">{times}q", data, start)
    kinds = data[start + times * 8 : start + times * 9]
    offsets = [
        struct.unpack_from(">l", data, start + times * 9 + number * 6)[0] for number in range(types)
    ]
    found = [(at_s, offsets[kind]) for at_s, kind in zip(instants, kinds, strict=True)]
    return [now for before, now in pairwise([(0, offsets[0]), *found]) if before[1] != now[1]]


def test_segments_begin_where_the_raw_data_jump() -> None:
    """Every jump that the files list since 2000 is found, so none hides between two probes."""
    wanted, found = [], []
    for name in sorted(zone_names()):
        for at_s, offset_s in raw_jumps(name):
            if YEAR_2000_S < at_s < LAST_S and accepted(name):
                segment, before = segment_at(name, at_s), segment_at(name, at_s - 1)
                wanted.append((name, at_s, at_s, offset_s))
                found.append((name, before.end_s, segment.start_s, segment.offset_s))
    assert found == wanted
    assert len(wanted) > 4_000


def accepted(name: str) -> bool:
    """Whether the evaluator takes the zone; what it refuses has no jumps of its own."""
    return "/" in name and not name.startswith("Etc/")


def test_a_segment_knows_its_gap_and_its_fold() -> None:
    spring_s, autumn_s = 1_774_746_000, 1_792_890_000
    summer = segment_at("Europe/Berlin", spring_s)
    assert (summer.start_s, summer.offset_s) == (spring_s, 7_200)
    assert summer.gap_from_s == spring_s + 3_600
    late = segment_at("Europe/Berlin", autumn_s - 1)
    assert late.end_s == autumn_s
    assert late.again_from_s == autumn_s + 3_600
    winter = segment_at("Europe/Berlin", autumn_s)
    assert winter.gap_from_s is None
    assert winter.once_from_s == autumn_s + 7_200
    assert winter.again_from_s == NEVER_S


@pytest.mark.parametrize("name", ["Europe/Berlin", "Africa/Casablanca", "Asia/Kolkata", "UTC"])
def test_segments_follow_each_other_without_hole(name: str) -> None:
    at_s = FIRST_S
    while at_s < LAST_S:
        segment = segment_at(name, at_s)
        assert segment.start_s == at_s or at_s == FIRST_S
        assert segment.start_s <= at_s < segment.end_s
        assert segment_at(name, segment.end_s - 1) == segment
        at_s = segment.end_s
