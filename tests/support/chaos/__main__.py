"""`python -m tests.support.chaos`: rounds of faults on a cluster of its own, one line each."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import tempfile
from pathlib import Path
from random import Random

from tests.support.chaos.faults import FAULTS
from tests.support.chaos.rounds import arena, play
from tests.support.chaos.witness import Verdict


def main() -> int:
    """Play, print, keep; the exit code is 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="of each fault")
    parser.add_argument("--rate", type=float, default=100.0, help="tasks a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep everything there; it must not exist")
    parser.add_argument("--keep", type=Path, help="append a JSON line per round to this file")
    parser.add_argument("faults", nargs="*", default=FAULTS)
    parsed = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if parsed.folder is not None:
        return _play_all(parsed, parsed.folder)
    with tempfile.TemporaryDirectory(prefix="timeball-chaos-") as folder:
        return _play_all(parsed, Path(folder) / "cluster")


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
