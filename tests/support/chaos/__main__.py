"""`python -m tests.support.chaos`: rounds of faults on a cluster of its own, one line each.

    python -m tests.support.chaos --rounds 3 --rate 100 --keep rounds.jsonl
    python -m tests.support.chaos zookeeper-quorum store-two --rate 60 --plot timeline.svg

Faults that take three servers of a kind are played on a cluster of their own, and so are
partitions, in network namespaces; where the system refuses those they are not played. With --aimed,
kills at points inside commit to acknowledge, claim to dispatch, a run, and a leader's assignment:
`python -m tests.support.chaos --aimed --rate 500 --rounds 20 --keep kills.jsonl`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import tempfile
from pathlib import Path
from random import Random

from tests.support.chaos.aimed import play_aimed
from tests.support.chaos.arena import Needs, arena
from tests.support.chaos.points import TURNS
from tests.support.chaos.rooms import why_not
from tests.support.chaos.rounds import FAULTS, PARTITIONS, play
from tests.support.chaos.timeline import Timeline
from tests.support.chaos.witness import Verdict
from tests.support.loopback import take_own
from tools import jars

ALL = {**FAULTS, **PARTITIONS}


def main() -> int:
    """Play, print, keep; the exit code is 1 when a promise was broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1, help="of each fault, or of each group")
    parser.add_argument("--rate", type=float, default=100.0, help="tasks a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep everything there; it must not exist")
    parser.add_argument("--keep", type=Path, help="append a JSON line per round to this file")
    parser.add_argument("--plot", type=Path, help="draw the course of the run into this file")
    parser.add_argument("--aimed", action="store_true", help="kill at chosen points")
    parser.add_argument("--leg", type=int, default=8, help="aimed rounds between two judgements")
    parser.add_argument("--groups", nargs="*", choices=tuple(TURNS), help="aimed: only these")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(ALL))
    parsed = parser.parse_args()
    if unknown := [name for name in parsed.faults if name not in ALL]:
        parser.error(f"no fault {', '.join(unknown)}; there are: {', '.join(ALL)}")
    if not parsed.aimed:
        parsed.faults = offered(parser, parsed.faults, why_not())
    if not (parsed.aimed or PARTITIONS.keys().isdisjoint(parsed.faults)):
        _enter_rooms()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    play_them = play_aimed if parsed.aimed else _play_all
    if parsed.folder is not None:
        return play_them(parsed, parsed.folder)
    with tempfile.TemporaryDirectory(prefix="timeball-chaos-") as folder:
        return play_them(parsed, Path(folder) / "cluster")


def offered(parser: argparse.ArgumentParser, names: list[str], why_not: str) -> list[str]:
    """What can be played here, of these or of all: no partitions where there is a reason."""
    wanted = names or list(ALL)
    if not why_not or PARTITIONS.keys().isdisjoint(wanted):
        return wanted
    if names:
        parser.error(why_not)
    print(f"no partitions: {why_not}", flush=True)
    return list(FAULTS)


def _enter_rooms() -> None:
    """Go on in a namespace of one's own; there is no way from it to any registry."""
    for server in ("zookeeper", "cassandra"):
        jars.fetch(server)
    take_own()


def _play_all(parsed: argparse.Namespace, folder: Path) -> int:
    """Each kind of cluster once, all rounds of its faults on it."""
    random, broken, timeline = Random(parsed.seed), 0, Timeline()
    names = parsed.faults
    kinds = dict.fromkeys(ALL[name].needs for name in names)
    for number, needs in enumerate(kinds):
        mine = [name for name in names if ALL[name].needs == needs] * parsed.rounds
        broken += _play_on(needs, mine, parsed, folder / str(number), random, timeline)
    if parsed.plot is not None:
        parsed.plot.write_text(timeline.drawn(), encoding="utf-8")
    return 1 if broken else 0


def _play_on(
    needs: Needs,
    names: list[str],
    parsed: argparse.Namespace,
    folder: Path,
    random: Random,
    timeline: Timeline,
) -> int:
    """Rounds on one cluster; how many promises were broken."""
    broken = 0
    folder.parent.mkdir(parents=True, exist_ok=True)
    with arena(folder, needs) as place:
        for name in names:
            verdict = asyncio.run(play(place, name, rate=parsed.rate, random=random))
            broken += len(verdict.problems)
            timeline.note(verdict)
            _tell(verdict)
            if parsed.keep is not None:
                with parsed.keep.open("a") as kept:
                    kept.write(json.dumps({**verdict.facts(), "rate": parsed.rate}) + "\n")
        timeline.read(folder)
    return broken


def _tell(verdict: Verdict) -> None:
    facts = verdict.facts()
    problems, slow = facts.pop("problems"), facts.pop("slow_acks")
    print(" ".join(f"{name}={value}" for name, value in facts.items()), flush=True)
    for problem in (*slow, *problems[:5]):
        print(f"  {problem[:1500]}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
