"""Compiles the core to machine code with mypyc, in a copy of the checkout; nothing here changes.

    python -m tools.compiled        build what has changed, print the copy's folder

The copy is `.cache/compiled/tree`: the same files, and beside each module of `timeball_server/core`
an extension that Python prefers to it. Tests, simulation, benchmarks and the wheel run there with
`COMPILED=1`, so everything that holds for the one holds for the other. Takes minutes and a C
compiler, and again only after the core, the interpreter or mypy changed.
"""

from __future__ import annotations

import filecmp
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ROOT / ".cache" / "compiled"
TREE = HOUSE / "tree"
CORE = Path("timeball_server/core")
TYPES = ("timeball_server", "clients/python/timeball")
"""What the compiler reads; only the core of it is compiled."""
LEFT_OUT = {"__pycache__", "node_modules", "dist", "build"}
LINKED = (".cache", ".venv", ".venv-proto", "docs")
"""What the copy shares with the checkout: what was fetched, and where benchmarks write."""
LIBRARY = "*.so"


def library() -> Path:
    """The folder with the extensions of the core as it is now; builds it where it is missing.

    Raises:
        SystemExit: mypyc or the C compiler refused; its words are in `build.log` beside it.
    """
    built = HOUSE / _digest()
    if built.is_dir():
        return built
    for old in HOUSE.glob("[0-9a-f]" * 16):
        shutil.rmtree(old)
    print("compiling the core, some minutes ...", file=sys.stderr, flush=True)
    began_s = time.monotonic()
    work = HOUSE / "work"
    shutil.rmtree(work, ignore_errors=True)
    for folder in TYPES:
        for source in _sources(ROOT / folder, "*.py"):
            _copy(source, work / source.relative_to(ROOT))
    (work / "mypy.ini").write_text("[mypy]\nmypy_path = clients/python\nfollow_imports = silent\n")
    _compile(work)
    made = HOUSE / "made"
    shutil.rmtree(made, ignore_errors=True)
    for extension in _sources(work, LIBRARY):
        _copy(extension, made / extension.relative_to(work))
    made.rename(built)
    shutil.rmtree(work)
    print(f"compiled in {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
    return built


def tree() -> Path:
    """A copy of the checkout as it is now, with the compiled core in it.

    Raises:
        SystemExit: as `library`.
    """
    extensions = library()
    wanted = {path.relative_to(ROOT): path for path in _checkout(ROOT)}
    wanted |= {path.relative_to(extensions): path for path in _sources(extensions, LIBRARY)}
    if TREE.is_dir():
        for old in _checkout(TREE):
            if old.relative_to(TREE) not in wanted:
                old.unlink()
    for name, source in wanted.items():
        _copy(source, TREE / name)
    for shared in LINKED:
        if not (TREE / shared).is_symlink():
            (TREE / shared).symlink_to(ROOT / shared, target_is_directory=True)
    return TREE


def _digest() -> str:
    """Names what an extension is made of: the core's sources, the interpreter, the compiler."""
    made_of = hashlib.sha256(f"{sys.version} {version('mypy')}".encode())
    for source in (ROOT / "tools" / "compiling.py", *_sources(ROOT / CORE, "*.py")):
        made_of.update(source.relative_to(ROOT).as_posix().encode() + source.read_bytes())
    return made_of.hexdigest()[:16]


def _compile(work: Path) -> None:
    """Run mypyc over the core in a process and a folder of its own."""
    command = [sys.executable, "-m", "tools.compiling", str(work)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    log = HOUSE / "build.log"
    log.write_text(answer.stdout + answer.stderr)
    if answer.returncode != 0:
        raise SystemExit(f"The core could not be compiled; {log.relative_to(ROOT)} says why.")


def _checkout(root: Path) -> Iterator[Path]:
    """The files of a checkout, without what is built or hidden."""
    for entry in sorted(root.iterdir()):
        if entry.name.startswith(".") or entry.name in LEFT_OUT or entry.name in LINKED:
            continue
        if entry.is_dir():
            yield from _sources(entry, "*")
        else:
            yield entry


def _sources(folder: Path, pattern: str) -> list[Path]:
    """Files below a folder, in order."""
    found = (path for path in folder.rglob(pattern) if path.is_file())
    return sorted(path for path in found if not LEFT_OUT & set(path.relative_to(folder).parts[:-1]))


def _copy(source: Path, target: Path) -> None:
    """Copy a file with its time, unless it is there already."""
    if not (target.is_file() and filecmp.cmp(source, target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


if __name__ == "__main__":
    print(tree())
