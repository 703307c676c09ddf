"""Judge a history, from a file of JSON lines or made up to see how long it takes.

    python -m tests.support.checker history.jsonl
    python -m tests.support.checker --records 1000000

Exit 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.support.checker.history import History, read_lines
from tests.support.checker.judge import judge
from tests.support.checker.made_up import RECORDS_PER_TASK, made_up
from tests.support.checker.sometimes import shown


def main() -> int:
    """Parse the arguments, judge, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", nargs="?", type=Path, help="JSON lines")
    parser.add_argument("--records", type=int, default=0, help="make up so many")
    chosen = parser.parse_args()
    if chosen.file is None:
        history = History(made_up(-(-chosen.records // RECORDS_PER_TASK)))
    else:
        with chosen.file.open("rb") as lines:
            history = History(read_lines(lines))
    began_s = time.perf_counter()
    violations = judge(history)
    took_s = time.perf_counter() - began_s
    for violation in violations:
        print(violation)
    for name, count in sorted(shown(history).items()):
        if count:
            print(f"  {count:>8} x {name}")
    rate = history.count / max(took_s, 1e-9)
    print(f"{history.count} records judged in {took_s:.1f} s ({rate:.0f} a second)")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
