"""Builds the project's virtual environments from their hash-locked files, when these changed.

Standard library only: this runs before anything is installed. A stamp inside each environment holds
the hash of everything it was built from, so a second run starts no installer and needs no network.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - said before an old Python trips over the syntax
    raise SystemExit(
        "This is Python %d.%d; Timeball needs 3.11 or newer. " % sys.version_info[:2]  # noqa: UP031
        + "Name one with `make PYTHON=python3.12 ...`; `make prerequisites` says how to get it."
    )

import argparse
import contextlib
import hashlib
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
STAMP = ".timeball-stamp"


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """One environment: where it lives, which locks fill it, which projects it develops."""

    folder: str
    locks: tuple[str, ...]
    projects: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


PROJECTS = ("clients/python", ".")
ENVIRONMENTS = {
    "run": Environment(folder=".venv", locks=("requirements/run.lock",), projects=PROJECTS),
    "dev": Environment(folder=".venv", locks=("requirements/dev.lock",), projects=PROJECTS),
    "proto": Environment(folder=".venv-proto", locks=("requirements/proto.lock",)),
}


def sdk_environment(version: str) -> Environment:
    """The environment that runs the SDK's tests under one interpreter, such as `3.12.1`."""
    return Environment(
        folder=f".cache/sdk-{version}",
        locks=("requirements/sdk-test.lock",),
        flags=("--no-compile",),  # each of these runs one small suite: compile what that imports
    )


def fingerprint(environment: Environment, python: str) -> str:
    """Names what the environment is made of: interpreter, place, locks and build settings."""
    digest = hashlib.sha256(f"{interpreter(python)} {ROOT}".encode())
    for lock in environment.locks:
        digest.update((ROOT / lock).read_bytes())
    for project in environment.projects:
        settings = tomllib.loads((ROOT / project / "pyproject.toml").read_text())
        parts = (settings["build-system"], settings["project"], settings["tool"]["hatch"])
        digest.update(repr(parts).encode())
    return digest.hexdigest()


def interpreter(python: str) -> str:
    """The interpreter's version and base folder; raises SystemExit when it cannot be used."""
    question = "import sys; print(*sys.version_info[:3], sys.base_prefix)"
    answer = subprocess.run([python, "-c", question], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise SystemExit(f"{python} does not start: {answer.stderr.strip()}")
    major, minor, *_ = answer.stdout.split()
    if (int(major), int(minor)) < OLDEST:
        raise SystemExit(
            f"{python} is Python {major}.{minor}; Timeball needs 3.11 or newer. "
            "Name one with `make PYTHON=python3.12 ...`."
        )
    return answer.stdout.strip()


def stamps(name: str, environment: Environment, python: str) -> dict[str, str]:
    """The stamp to write, and the ones that also satisfy `name` (dev holds all that run holds)."""
    wanted = {name: fingerprint(environment, python)}
    if name == "run":
        wanted["dev"] = fingerprint(ENVIRONMENTS["dev"], python)
    return wanted


def is_current(folder: Path, wanted: dict[str, str]) -> bool:
    """Whether the environment was finished from exactly what is wanted."""
    with contextlib.suppress(OSError):
        kind, _, found = (folder / STAMP).read_text().strip().partition(" ")
        return wanted.get(kind) == found
    return False


def build(name: str, environment: Environment, python: str) -> None:
    """Makes the environment what its locks say; leaves it alone when it is so already."""
    folder = ROOT / environment.folder
    with exclusive(folder):
        wanted = stamps(name, environment, python)
        if is_current(folder, wanted):
            return
        prepare(folder, python)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        install = [*pip, "install", "--quiet", "--no-input", "--progress-bar", "off"]
        for lock in environment.locks:
            count = sum(1 for line in (ROOT / lock).read_text().splitlines() if line[:1].isalnum())
            say(f"{environment.folder}: installing {count} locked packages from {lock}")
            run([*install, "--require-hashes", *environment.flags, "-r", lock])
        if environment.projects:
            say(f"{environment.folder}: linking this checkout")
            editable = [part for project in environment.projects for part in ("-e", project)]
            run([*install, "--no-build-isolation", "--no-deps", *editable])
        (folder / STAMP).write_text(f"{name} {wanted[name]}\n")
        say(f"{environment.folder}: ready")


def prepare(folder: Path, python: str) -> None:
    """Creates the environment, or keeps one made by the same interpreter in the same place."""
    made_by = folder / f"{STAMP}-interpreter"
    wanted = f"{interpreter(python)} {folder}"
    (folder / STAMP).unlink(missing_ok=True)
    if made_by.is_file() and made_by.read_text() == wanted:
        return
    say(f"{folder.relative_to(ROOT)}: creating with {python}")
    shutil.rmtree(folder, ignore_errors=True)
    outcome = subprocess.run([python, "-m", "venv", str(folder)], cwd=ROOT, check=False)
    if outcome.returncode != 0:
        raise SystemExit(
            f"{python} cannot create environments (venv and ensurepip are needed). "
            "Run `python3 tools/prerequisites.py`: it prints the command that installs them."
        )
    made_by.write_text(wanted)


def run(command: list[str]) -> None:
    """Runs one installer step and ends the tool with its exit code when it fails."""
    outcome = subprocess.run(command, cwd=ROOT, check=False)
    if outcome.returncode != 0:
        raise SystemExit(outcome.returncode)


def say(line: str) -> None:
    """One line of progress."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keeps two makes of one checkout from building the same environment at once."""
    import fcntl

    lock = ROOT / ".cache" / f"{folder.name}.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Reads the command line and builds one environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(ENVIRONMENTS))
    parser.add_argument("--python", default=sys.executable, help="interpreter to build with")
    arguments = parser.parse_args()
    build(arguments.name, ENVIRONMENTS[arguments.name], arguments.python)


if __name__ == "__main__":
    main()
