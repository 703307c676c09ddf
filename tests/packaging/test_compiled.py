"""The compiler of the core, on a core of a few lines: what it makes is used, and says the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools import compiling
from tools.compiled import CORE, ROOT

SUMS = """
class Sum:
    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0

    def add(self, number: int) -> "Sum":
        self.total += number
        return self
"""
SAYS = (
    "from timeball_server.core import model, sums;"
    "print(sums.__file__.endswith('.so'), model.__file__.endswith('.py'), sums.Sum().add(7).total)"
)


def run(*command: str, folder: Path, path: str) -> str:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=dict(os.environ, PYTHONPATH=path),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_modules_become_extensions_but_for_what_is_stored(tmp_path: Path) -> None:
    core = tmp_path / CORE
    core.mkdir(parents=True)
    for name in ("../__init__", "__init__", "model"):
        (core / f"{name}.py").write_text("")
    (core / "sums.py").write_text(SUMS)
    (tmp_path / "mypy.ini").write_text("[mypy]\n")

    run("-m", "tools.compiling", str(tmp_path), folder=ROOT, path=str(ROOT))

    assert run("-c", SAYS, folder=tmp_path, path=str(tmp_path)).split() == ["True", "True", "7"]


def test_what_is_left_out_exists() -> None:
    assert all((ROOT / CORE / name).is_file() for name in compiling.INTERPRETED)
