"""Writes the hash-locked requirement files under requirements/ with the newest versions that fit.

The resolver lives in an environment of its own under .cache and is never a dependency. Lock files
hold names, versions and hashes only: no address, so that any mirror can serve them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESOLVER = ROOT / ".cache" / "resolver"
FLAGS = (
    "--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header "
    "--no-annotate --no-emit-package timeball --no-emit-package timeball-server --quiet"
).split()

# Order matters: each lock keeps the versions of the locks it is constrained by.
LOCKS: dict[str, tuple[str, ...]] = {
    "run": ("--all-extras", "pyproject.toml", "requirements/run.in"),
    "dev": (
        *("--all-extras", "pyproject.toml", "requirements/run.in", "requirements/dev.in"),
        *("--constraints", "requirements/run.lock"),
    ),
    "sdk-test": (
        *("--all-extras", "clients/python/pyproject.toml", "requirements/sdk-test.in"),
        *("--constraints", "requirements/dev.lock"),
    ),
    "proto": ("requirements/proto.in",),
}


def main() -> None:
    """Resolves every lock anew; `--upgrade` moves to the newest versions."""
    if not (RESOLVER / "bin" / "uv").exists():
        subprocess.run([sys.executable, "-m", "venv", str(RESOLVER)], check=True)
        subprocess.run([str(RESOLVER / "bin" / "pip"), "install", "-q", "uv"], check=True)
    upgrade = [flag for flag in sys.argv[1:] if flag == "--upgrade"]
    for name, sources in LOCKS.items():
        target = f"requirements/{name}.lock"
        command = [str(RESOLVER / "bin" / "uv"), "pip", "compile", *FLAGS, *upgrade, *sources]
        subprocess.run([*command, "--output-file", target], cwd=ROOT, check=True)
        count = sum(1 for line in (ROOT / target).read_text().splitlines() if line[:1].isalnum())
        print(f"{target}: {count} packages")


if __name__ == "__main__":
    main()
