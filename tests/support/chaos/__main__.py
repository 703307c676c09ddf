"""`python -m tests.support.chaos`: rounds of faults on a cluster of its own, one line each.

With --aimed, kills at points inside commit to acknowledge, claim to dispatch, a run, and a leader's
assignment: `python -m tests.support.chaos --aimed --rate 500 --rounds 20 --keep kills.jsonl`.
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
from tests.support.chaos.faults import FAULTS
from tests.support.chaos.points import TURNS
from tests.support.chaos.rounds import arena, play
from tests.support.chaos.witness import Verdict


def main() -> int:
    """Play, print, keep; the exit code is 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="of each fault, or of each group")
    parser.add_argument("--rate", type=float, default=100.0, help="tasks a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep everything there; it must not exist")
    parser.add_argument("--keep", type=Path, help="append a JSON line per round to this file")
    parser.add_argument("--aimed", action="store_true", help="kill at chosen points")
    parser.add_argument("--leg", type=int, default=8, help="aimed rounds between two judgements")
    parser.add_argument("--groups", nargs="*", choices=tuple(TURNS), help="aimed: only these")
    parser.add_argument("faults", nargs="*", default=FAULTS)
    parsed = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    play_them = play_aimed if parsed.aimed else _play_all
    if parsed.folder is not None:
        return play_them(parsed, parsed.folder)
    with tempfile.TemporaryDirectory(prefix="timeball-chaos-") as folder:
        return play_them(parsed, Path(folder) / "cluster")


def _play_all(parsed: argparse.Namespace, folder: Path) -> int:
    random, broken = Random(parsed.seed), 0
    with arena(folder) as place:
        for _ in range(parsed.rounds):
            for fault in parsed.faults:
                verdict = asyncio.run(play(place, fault, rate=parsed.rate, random=random))
                broken += len(verdict.problems)
                _tell(verdict)
                if parsed.keep is not None:
                    with parsed.keep.open("a") as kept:
                        kept.write(json.dumps({**verdict.facts(), "rate": parsed.rate}) + "\n")
    return 1 if broken else 0


def _tell(verdict: Verdict) -> None:
    facts = verdict.facts()
    problems, slow = facts.pop("problems"), facts.pop("slow_acks")
    print(" ".join(f"{name}={value}" for name, value in facts.items()), flush=True)
    for problem in (*slow, *problems[:5]):
        print(f"  {problem[:1500]}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
