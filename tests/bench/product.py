"""Which code is measured, and by which interpreter it is run.

The harness is always this checkout on its own interpreter. What it measures may be another state
of the code in a folder of its own, and may run on another interpreter of the same version.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
ASK: Final = """
import json, platform, sysconfig, time

def walk():
    began, total = time.perf_counter(), 0
    for number in range(200_000):
        total += number & 3
    return (time.perf_counter() - began) * 5_000

options = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
print(json.dumps({"version": platform.python_version(), "step_ns": min(walk() for _ in range(9)),
                  "optimized": "--enable-optimizations" in options}))
"""
"""What an interpreter says of itself. A distribution may optimize without leaving a word of it, so
how fast it is counts more than how it says that it was built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """The code under test: `folder` of a checkout, `python` that runs it, `name` in tables."""

    folder: Path = ROOT
    python: str = sys.executable
    name: str = "here"

    def command(self, *arguments: str) -> list[str]:
        """The command line `timeball ...` of this code."""
        return [self.python, "-m", "timeball.cli", *arguments]

    def environment(self) -> dict[str, str]:
        """Variables under which its processes find this code, and this environment's packages."""
        packages = [self.folder, self.folder / "clients" / "python", sysconfig.get_path("purelib")]
        paths = os.pathsep.join(map(str, packages))
        return {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}

    def interpreter(self) -> str:
        """Version and speed of the interpreter that runs it, as it says itself."""
        asked = subprocess.run([self.python, "-c", ASK], capture_output=True, text=True, check=True)
        said = json.loads(asked.stdout)
        built = ", built with --enable-optimizations" if said["optimized"] else ""
        return f"Python {said['version']} ({said['step_ns']:.0f} ns for a step of a loop{built})"


def unpacked(commit: str, folder: Path, python: str = sys.executable) -> Product:
    """The code as it was in a commit, in a new folder.

    Raises:
        SystemExit: there is no such commit.
    """
    packed = subprocess.run(
        ["git", "archive", "--format=tar", commit], cwd=ROOT, capture_output=True, check=False
    )
    if packed.returncode:
        raise SystemExit(f"git knows no commit {commit}: {packed.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return Product(folder=folder, python=python, name=commit)
