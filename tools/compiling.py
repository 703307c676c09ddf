"""mypyc's part of `tools.compiled`: `python -m tools.compiling FOLDER` compiles the core there.

A process of its own, because setuptools takes command lines and the working directory for itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mypyc.build import mypycify
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

from tools.compiled import CORE

GROUP = "timeball_core"
"""All modules call each other directly; what they share lies in `timeball_core__mypyc`."""
INTERPRETED = {"commands.py", "journal.py", "model.py", "schedule_view.py", "schedules/spec.py"}
"""Values that are stored or sent: msgspec needs their annotations, which mypyc does not keep."""


class SideBySide(build_ext):
    """One C compiler for each processor; setuptools alone would start one after the other."""

    def build_extension(self, ext: Extension) -> None:
        """Compile the sources of one extension at once, then link them."""
        compile_all = self.compiler.compile

        def spread(sources: Sequence[str], **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                parts = pool.map(lambda source: compile_all([source], **options), sources)
                return [made for part in parts for made in part]

        self.compiler.compile = spread
        try:
            super().build_extension(ext)
        finally:
            self.compiler.compile = compile_all


def main() -> None:
    """Compile in place."""
    os.chdir(sys.argv[1])
    stored = {CORE / name for name in INTERPRETED}
    modules = sorted(path.as_posix() for path in {*CORE.rglob("*.py")} - stored)
    extensions = mypycify(
        ["--config-file", "mypy.ini", *modules],
        opt_level="2",
        debug_level="0",
        multi_file=True,
        group_name=GROUP,
    )
    setup(
        name=GROUP,
        packages=[],
        ext_modules=[each for each in extensions if isinstance(each, Extension)],
        cmdclass={"build_ext": SideBySide},
        script_args=["build_ext", "--inplace"],
    )


if __name__ == "__main__":
    main()
