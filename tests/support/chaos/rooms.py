"""Rooms: a network namespace for each node, joined by a pair of interfaces to the arena's.

Partitions are the kernel's. At the end that would hear, a rule above all others sends whatever
comes in by the pair into a black hole: the other end hears nothing of that, as with a cable far
away. Or the node's own interface goes down. Needs a namespace of one's own (loopback.py).
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from tests.support.chaos.helpers import Helper
from tests.support.chaos.knocking import DATAGRAM_BYTES
from tests.support.loopback import ALONE, is_own, take_own
from tests.support.polls import until

ARENA: Final = "10.77.0.1"
"""Where the servers and the load are; rooms are at 10.77.1.2, 10.77.2.2, ..."""
FORWARDS: Final = Path("/proc/sys/net/ipv4/ip_forward")
KNOCK_PORT: Final = 9_000
KNOCKS: Final = 3
SILENCE_S: Final = 0.4
"""So long nothing is heard where nothing should be."""
HEARD_WITHIN_S: Final = 10.0
"""A busy machine may be slow."""
TRIAL: Final = """
ip link add one type veth peer name other
ip rule add iif one blackhole
echo 1 > /proc/sys/net/ipv4/ip_forward
unshare --net nsenter --target $$ --net true
"""
"""All that rooms take, once, in a namespace that is gone afterwards."""
_REFUSED: Final = "this system does not give out what network namespaces take"
_INSIDE: Final = "door"
_FIRST: Final = ("rule add pref 100 lookup local", "rule del pref 0")
"""Nothing stands above the table of one's own addresses, unless it is moved down."""


class Parted(StrEnum):
    """How a room is parted from everybody.

    DEAF: nothing that is said to it arrives. MUTE: nothing that it says arrives. BOTH: neither.
    UNPLUGGED: its own interface is down, and it knows.
    """

    DEAF = "deaf"
    MUTE = "mute"
    BOTH = "both"
    UNPLUGGED = "unplugged"


DROPS_INCOMING: Final = frozenset({Parted.DEAF, Parted.BOTH})
DROPS_OUTGOING: Final = frozenset({Parted.MUTE, Parted.BOTH})


def why_not() -> str:
    """Why no partitions can be made here; empty if they can."""
    if is_own():
        return ""
    try:
        tried = subprocess.run([*ALONE, "sh", "-ec", TRIAL], capture_output=True, text=True)
    except OSError as error:
        return f"{_REFUSED}: {error}"
    return f"{_REFUSED}: {tried.stderr.strip()}" if tried.returncode else ""


def furnish_arena() -> None:
    """Give the arena its address, and let rooms reach each other through it."""
    for words in ("link set lo up", f"address add {ARENA}/32 dev lo", *_FIRST):
        _ip(words)
    FORWARDS.write_text("1\n")


class Talks(Protocol):
    """Something that can be knocked at."""

    def hears(self, within_s: float) -> bool:
        """Whether what is said to it arrives in time."""
        ...

    def is_heard(self, within_s: float) -> bool:
        """Whether what it says arrives in time."""
        ...


def prove(room: Talks, parted: Parted | None) -> None:
    """Knock from both sides.

    Raises:
        AssertionError: the wall is not where it should be.
    """
    cut_off = parted is Parted.UNPLUGGED
    hears = not (cut_off or parted in DROPS_INCOMING)
    is_heard = not (cut_off or parted in DROPS_OUTGOING)
    found = room.hears(_patience_s(hears)), room.is_heard(_patience_s(is_heard))
    wished = hears, is_heard
    assert found == wished, f"{parted}: it hears and is heard, {found} instead of {wished}"


def _patience_s(wished: bool) -> float:
    return HEARD_WITHIN_S if wished else SILENCE_S


class Room:
    """One namespace, and the process that holds it."""

    def __init__(self, number: int, folder: Path) -> None:
        self.address = f"10.77.{number}.2"
        self._wall = f"10.77.{number}.1"
        self._outside = f"room-{number}"
        self._parted: Parted | None = None
        self._knocked = 0
        self._ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._ear.bind((ARENA, 0))
        outside = f"{ARENA}:{self._ear.getsockname()[1]}"
        self._holder = Helper(
            "tests.support.chaos.knocking",
            [str(KNOCK_PORT), outside],
            folder / f"room-{number}.jsonl",
            before=("unshare", "--net", "--"),
        )
        until(lambda: any("here" in x for x in self._holder.facts()), f"room {number} is there")
        self._join(f"02:77:00:00:{number:02x}")

    @property
    def entering(self) -> tuple[str, ...]:
        """What to put before a command that is to run in the room; it stays one process."""
        return ("nsenter", "--target", str(self._holder.pid), "--net", "--")

    def part(self, parted: Parted) -> None:
        """Part it from everybody; it must be joined."""
        self._parted = parted
        if parted in DROPS_INCOMING:
            self._ip(f"rule add pref 1 iif {_INSIDE} blackhole")
        if parted in DROPS_OUTGOING:
            _ip(f"rule add pref 1 iif {self._outside} blackhole")
        if parted is Parted.UNPLUGGED:
            self._ip(f"link set {_INSIDE} down")

    def rejoin(self) -> None:
        """Join it again; harmless when it is joined."""
        parted, self._parted = self._parted, None
        if parted in DROPS_INCOMING:
            self._ip("rule del pref 1")
        if parted in DROPS_OUTGOING:
            _ip(f"rule del pref 1 iif {self._outside}")
        if parted is Parted.UNPLUGGED:
            self._plug_in()

    def hears(self, within_s: float) -> bool:
        """Whether what is said to it arrives in time; blocks as long if not."""
        self._knocked += 1
        heard = {"heard": self._knocked}
        with contextlib.suppress(OSError):  # no way there: also a wall
            for _ in range(KNOCKS):
                self._ear.sendto(b"%d" % self._knocked, (self.address, KNOCK_PORT))
        try:
            until(lambda: heard in self._holder.facts(), "a knock is heard", within_s)
        except AssertionError:
            return False
        return True

    def is_heard(self, within_s: float) -> bool:
        """Whether what it says arrives in time; blocks as long if not."""
        self._knocked += 1
        self._ear.settimeout(within_s)
        for _ in range(KNOCKS):
            self._holder.tell(str(self._knocked))
        try:
            while int(self._ear.recv(DATAGRAM_BYTES)) != self._knocked:
                pass
        except TimeoutError:
            return False
        return True

    def end(self) -> None:
        """Give it up; its processes have ended."""
        self._holder.end()
        self._ear.close()

    def _join(self, hardware: str) -> None:
        """Make the pair. Both know each other's hardware, so that silence is all that is heard."""
        ours, theirs = f"{hardware}:01", f"{hardware}:02"
        pair = f"{self._outside} address {ours} type veth peer name {_INSIDE} address {theirs}"
        _ip(f"link add {pair} netns {self._holder.pid}")
        _ip(f"address add {self._wall}/30 dev {self._outside}")
        _ip(f"link set {self._outside} up")
        _ip(f"neighbour add {self.address} lladdr {theirs} dev {self._outside} nud permanent")
        self._hardware = ours
        for words in ("link set lo up", f"address add {self.address}/30 dev {_INSIDE}", *_FIRST):
            self._ip(words)
        self._plug_in()

    def _plug_in(self) -> None:
        """Whatever an interface forgets when it goes down."""
        self._ip(f"link set {_INSIDE} up")
        neighbour = f"{self._wall} lladdr {self._hardware} dev {_INSIDE} nud permanent"
        self._ip(f"neighbour replace {neighbour}")
        self._ip(f"route replace default via {self._wall}")

    def _ip(self, words: str) -> None:
        _run([*self.entering, "ip", *words.split()])


def _ip(words: str) -> None:
    _run(["ip", *words.split()])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _main(folder: Path) -> None:
    """Each kind once, and nothing else parted by it; says what was proved."""
    if why := why_not():
        print(why)
        return
    take_own()
    furnish_arena()
    room, other = Room(1, folder), Room(2, folder)
    for parted in (None, *Parted, None):
        if parted is not None:
            room.part(parted)
        prove(room, parted)
        prove(other, None)
        room.rejoin()
        print(parted, flush=True)
    room.end()
    other.end()


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
