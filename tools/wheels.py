"""Builds both wheels, and keeps the locked dependencies at hand for installing offline."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = ("clients/python", ".")
LOCK = ROOT / "requirements" / "run.lock"
HOUSE = ROOT / ".cache" / "wheels"


def build(into: Path) -> list[Path]:
    """Builds the wheel of each distribution with the locked back end; returns their paths."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)]
    for project in PROJECTS:
        subprocess.run(command, cwd=ROOT / project, check=True, stdout=subprocess.DEVNULL)
    return sorted(into.glob("timeball*.whl"))


def fill_house() -> Path:
    """The folder with every locked dependency's wheel; downloads only after the lock changed."""
    HOUSE.mkdir(parents=True, exist_ok=True)
    stamp = HOUSE / "stamp"
    version = ".".join(map(str, sys.version_info[:2]))
    wanted = f"{version} {hashlib.sha256(LOCK.read_bytes()).hexdigest()}"
    if not stamp.is_file() or stamp.read_text() != wanted:
        for old in HOUSE.iterdir():
            old.unlink()
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        exactly = ["--no-deps", "--require-hashes", "--requirement", str(LOCK)]
        subprocess.run([*pip, *exactly, "--dest", str(HOUSE)], cwd=ROOT, check=True)
        stamp.write_text(wanted)
    return HOUSE


def main() -> None:
    """Builds into the folder named on the command line."""
    for wheel in build(ROOT / (sys.argv[1] if len(sys.argv) > 1 else "dist")):
        print(wheel)


if __name__ == "__main__":
    main()
