"""Partitions by the kernel: that rooms are parted as they say, and what is offered where."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser
from itertools import product
from pathlib import Path

import pytest

from tests.support.chaos.__main__ import offered
from tests.support.chaos.partitions import ROLES
from tests.support.chaos.rooms import Parted, prove, why_not
from tests.support.chaos.rounds import FAULTS, PARTITIONS
from tools.local_cluster import ROOT


class Talker:
    """A room whose walls are as they are told to be."""

    def __init__(self, *, hears: bool, is_heard: bool) -> None:
        self._hears, self._is_heard = hears, is_heard

    def hears(self, within_s: float) -> bool:
        return self._hears

    def is_heard(self, within_s: float) -> bool:
        return self._is_heard


@pytest.mark.parametrize(
    ("parted", "hears", "is_heard"),
    [
        (None, True, True),
        (Parted.DEAF, False, True),
        (Parted.MUTE, True, False),
        (Parted.BOTH, False, False),
        (Parted.UNPLUGGED, False, False),
    ],
)
def test_a_partition_that_is_not_as_it_was_named_is_no_evidence(
    parted: Parted | None, hears: bool, is_heard: bool
) -> None:
    prove(Talker(hears=hears, is_heard=is_heard), parted)
    for wrong in product((True, False), repeat=2):
        if wrong != (hears, is_heard):
            with pytest.raises(AssertionError, match="hears and is heard"):
                prove(Talker(hears=wrong[0], is_heard=wrong[1]), parted)


def test_partitions_are_of_every_role_and_kind_and_never_among_the_usual_faults() -> None:
    assert len(PARTITIONS) == len(ROLES) * len(Parted)
    assert PARTITIONS.keys().isdisjoint(FAULTS)
    assert {row.needs.rooms for row in PARTITIONS.values()} == {True}
    assert {row.needs.rooms for row in FAULTS.values()} == {False}


def test_where_there_are_no_namespaces_partitions_are_not_offered_and_say_why() -> None:
    parser = ArgumentParser(prog="chaos")
    assert offered(parser, [], "no namespaces") == list(FAULTS)
    assert offered(parser, ["kill-leader"], "no namespaces") == ["kill-leader"]
    assert offered(parser, [], "") == [*FAULTS, *PARTITIONS]
    with pytest.raises(SystemExit):
        offered(parser, ["kill-leader", "partition-scheduler-mute"], "no namespaces")


def test_a_room_that_the_kernel_parts_hears_what_it_should(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.chaos.rooms", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = ended.stdout.splitlines()
    assert said == ([why_not()] if why_not() else ["None", *Parted, "None"]), ended.stderr
