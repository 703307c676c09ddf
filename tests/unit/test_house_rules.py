"""The house's rules about how code reads, each one proven able to say no.

A rule is a function from a parsed file to findings. Every rule has samples it must refuse, so a
rule that has gone blind fails here before it lets anything through.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "clients/python/timeball",
    "timeball_server",
    "coordinator",
    "scheduler_node",
    "executor_node",
)
GENERATED = ("clients/python/timeball/v1", "timeball_server/internal/v1")
# Folders whose code must take time, chance and surroundings as arguments.
PURE = (
    "timeball_server",
    "coordinator",
    "scheduler_node",
    "executor_node",
    "tests/unit",
    "tests/simulation",
    "tests/conformance",
)
# The adapters to the clock, chance and surroundings, and the tests of the tools themselves.
WORLDLY = ("timeball_server/runtime",)

FILE_LINES = 500
FUNCTION_LINES = 70

CLOCKS = {
    f"time.{name}"
    for name in (
        *("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"),
        *("sleep", "localtime", "gmtime"),
    )
} | {
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
}
CHANCE = ("random", "secrets")
SURROUNDINGS = {"os.urandom", "os.getenv", "os.environ", "os.environ.get", "uuid.uuid1"}
SURROUNDINGS |= {"uuid.uuid4", "uuid.uuid7"}
SLEEPS = {"time.sleep", "asyncio.sleep"}
SKIPS = {
    f"pytest.{name}"
    for name in (
        *("skip", "xfail", "importorskip", "mark.skip", "mark.skipif", "mark.xfail"),
        "MonkeyPatch",
    )
}

Rule = Callable[[ast.Module], Iterator[str]]


def python_files(*folders: str, without: tuple[str, ...] = ()) -> list[Path]:
    """Every hand-written Python file under the folders."""
    left_out = tuple(ROOT / name for name in (*GENERATED, *without))
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [path for path in found if not any(path.is_relative_to(name) for name in left_out)]


def text_files() -> list[Path]:
    """Every text of the project that people write."""
    folders = (*PACKAGES, "tests", "tools", "examples", "docs", "deploy", "proto/timeball")
    kinds = {".py", ".md", ".proto", ".toml", ".yaml", ".yml", ".sql", ".cql", ".in", ".sh"}
    nested = (path for folder in folders for path in sorted((ROOT / folder).rglob("*")))
    top = (path for path in sorted(ROOT.iterdir()) if path.is_file() and path.name != "LICENSE")
    generated = tuple(ROOT / name for name in GENERATED)
    return [
        path
        for path in (*top, *nested, *(ROOT / "requirements").iterdir(), ROOT / ".ci" / "run")
        if (path.suffix in kinds or path.parent == ROOT or path.parent.name == ".ci")
        and path.is_file()
        and not any(path.is_relative_to(name) for name in generated)
        and "__pycache__" not in path.parts
    ]


# What a name means ------------------------------------------------------------------------------


def meanings(tree: ast.Module) -> dict[str, str]:
    """What each imported name of a file stands for, as a dotted path."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                names[bound] = alias.name if alias.asname else bound
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The dotted path an expression stands for, or an empty text for anything but a path."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return ""
    return ".".join([names[node.id], *reversed(parts)])


def uses(tree: ast.Module) -> Iterator[tuple[int, str, ast.Call | None]]:
    """Every dotted path a file mentions, with its line and the call when it is called."""
    names = meanings(tree)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Name)) and (path := dotted(node, names)):
            yield node.lineno, path, calls.get(id(node))


# The rules --------------------------------------------------------------------------------------


def long_functions(tree: ast.Module) -> Iterator[str]:
    """No function is longer than a page."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno:
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{node.lineno}: {node.name} has {lines} lines, {FUNCTION_LINES} at most"


def asks_the_world(tree: ast.Module) -> Iterator[str]:
    """Time, chance and surroundings come in as arguments."""
    for line, path, call in uses(tree):
        is_chance = path.split(".")[0] in CHANCE and call is not None
        is_seeded = path == "random.Random" and call is not None and bool(call.args)
        if path in CLOCKS or path in SURROUNDINGS or (is_chance and not is_seeded):
            yield f"{line}: {path} belongs in an adapter; take its answer as an argument"


def sleeps(tree: ast.Module) -> Iterator[str]:
    """Nobody waits by sleeping; giving way once, `asyncio.sleep(0)`, is not waiting."""
    for line, path, call in uses(tree):
        gives_way = (
            call is not None
            and len(call.args) == 1
            and isinstance(call.args[0], ast.Constant)
            and call.args[0].value == 0
        )
        if path in SLEEPS and not (path == "asyncio.sleep" and gives_way):
            yield f"{line}: {path}: wait for a signal or through the clock port"


def patches(tree: ast.Module) -> Iterator[str]:
    """A test that patches names a missing port."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.arg in {"monkeypatch", "mocker"}:
            yield f"{node.lineno}: {node.arg}: add the port that is missing"
    for line, path, _ in uses(tree):
        if path.startswith(("unittest.mock", "mock.")):
            yield f"{line}: {path}: add the port that is missing"


def skips(tree: ast.Module) -> Iterator[str]:
    """Every test runs."""
    for line, path, _ in uses(tree):
        if path in SKIPS:
            yield f"{line}: {path}: a test that does not run is deleted"


def swallows(tree: ast.Module) -> Iterator[str]:
    """No error is dropped without a word, and none caught whole without being raised or counted."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        if all(isinstance(step, ast.Pass) for step in node.body):
            yield f"{node.lineno}: an error is dropped; use contextlib.suppress with its reason"
        caught = ast.unparse(node.type) if node.type else "BaseException"
        speaks = any(isinstance(part, (ast.Raise, ast.Call)) for part in ast.walk(node))
        if caught in {"Exception", "BaseException"} and not speaks:
            yield f"{node.lineno}: except {caught} neither raises nor counts"


def unfinished_bodies(tree: ast.Module) -> Iterator[str]:
    """No unfinished body poses as a finished one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc and "NotImplemented" in ast.unparse(node.exc):
            yield f"{node.lineno}: an unfinished body"


def fields_not_yet_there(tree: ast.AST) -> Iterator[str]:
    """Fields of values whose type only the type checker imports: compiled, they cannot be made."""
    hidden = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for each in ast.walk(node)
        if isinstance(each, ast.ImportFrom)
        for name in each.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and (node.bases or node.decorator_list):
            for each in node.body:
                if isinstance(each, ast.AnnAssign) and ast.unparse(each.annotation) in hidden:
                    yield f"{each.lineno}: a field of a type that is not there when it is made"


SAMPLES: list[tuple[Rule, str]] = [
    (long_functions, "def f():\n" + "    x = 1\n" * FUNCTION_LINES),
    (asks_the_world, "import time\ntime.time()"),
    (asks_the_world, "from time import monotonic as now\nnow()"),
    (asks_the_world, "from time import monotonic\nclock = monotonic"),
    (asks_the_world, "import datetime\ndatetime.datetime.now(datetime.UTC)"),
    (asks_the_world, "from datetime import datetime\ndatetime.utcnow()"),
    (asks_the_world, "import random\nrandom.random()"),
    (asks_the_world, "import random\nrandom.Random()"),
    (asks_the_world, "from random import shuffle\nshuffle([])"),
    (asks_the_world, "import os\nos.environ['X']"),
    (asks_the_world, "import uuid\nuuid.uuid4()"),
    (sleeps, "import time\ntime.sleep(1)"),
    (sleeps, "import asyncio\nasync def f():\n    await asyncio.sleep(0.1)"),
    (patches, "def test(monkeypatch): ..."),
    (patches, "from unittest.mock import patch\npatch('x')"),
    (patches, "from unittest import mock\nmock.MagicMock()"),
    (skips, "import pytest\n@pytest.mark.skip\ndef test(): ..."),
    (skips, "import pytest\npytest.xfail('later')"),
    (swallows, "try:\n    f()\nexcept ValueError:\n    pass"),
    (swallows, "try:\n    f()\nexcept Exception:\n    x = 1"),
    (unfinished_bodies, "def f():\n    raise NotImplementedError"),
    (
        fields_not_yet_there,
        "if TYPE_CHECKING:\n    from m import T\nclass A(NamedTuple):\n    field: T",
    ),
]


@pytest.mark.parametrize(
    ("rule", "sample"), SAMPLES, ids=[f"{rule.__name__}-{n}" for n, (rule, _) in enumerate(SAMPLES)]
)
def test_every_rule_can_say_no(rule: Rule, sample: str) -> None:
    assert list(rule(ast.parse(sample)))


@pytest.mark.parametrize(
    "sample",
    [
        "import random\ndef f(chance: random.Random) -> float:\n    return chance.random()",
        "import random\nrandom.Random(42)",
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)",
        "import contextlib\nwith contextlib.suppress(KeyError):\n    f()",
        "def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1),
    ],
)
def test_what_is_fine_passes_every_rule(sample: str) -> None:
    rules = {rule for rule, _ in SAMPLES}
    assert [finding for rule in rules for finding in rule(ast.parse(sample))] == []


def broken(rule: Rule, files: list[Path]) -> list[str]:
    """Every finding of a rule over files, as `path:line: words`."""
    assert files, "a rule over no file proves nothing"
    return [
        f"{path.relative_to(ROOT)}:{finding}"
        for path in files
        for finding in rule(ast.parse(path.read_text(), filename=str(path)))
    ]


def everything() -> list[Path]:
    return python_files(*PACKAGES, "tests", "tools", "examples")


def test_no_file_is_longer_than_the_wall() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in everything()
    }
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES} == {}


@pytest.mark.parametrize("rule", [long_functions, swallows, unfinished_bodies])
def test_code_is_small_honest_and_finished(rule: Rule) -> None:
    assert broken(rule, everything()) == []


def test_decisions_never_ask_the_world() -> None:
    assert broken(asks_the_world, python_files(*PURE, without=WORLDLY)) == []


def test_the_core_can_be_compiled() -> None:
    assert broken(fields_not_yet_there, python_files("timeball_server/core")) == []


def test_nobody_waits_by_sleeping() -> None:
    tests = python_files("tests", without=("tests/bench",))
    assert broken(sleeps, [*python_files(*PURE, without=WORLDLY), *tests]) == []


@pytest.mark.parametrize("rule", [patches, skips])
def test_tests_neither_patch_nor_skip(rule: Rule) -> None:
    assert broken(rule, python_files("tests")) == []


# Texts ------------------------------------------------------------------------------------------

# Spelled in halves, so that this file obeys them too.
UNFINISHED = re.compile(rf"\b(?:{'TO'}DO|{'FIX'}ME|{'X'}XX|{'HA'}CK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|home|Users|root)/\w")


@pytest.mark.parametrize(
    ("pattern", "sample"),
    [
        (UNFINISHED, "# TO" + "DO later"),
        (UNFINISHED, "# FIX" + "ME"),
        (MACHINE_PATH, "open('/ho" + "me/someone/x')"),
        (MACHINE_PATH, "/wo" + "rk/x"),
    ],
)
def test_every_text_rule_can_say_no(pattern: re.Pattern[str], sample: str) -> None:
    assert pattern.search(sample)


@pytest.mark.parametrize("pattern", [UNFINISHED, MACHINE_PATH], ids=["finished", "portable"])
def test_texts_are_finished_and_belong_to_no_machine(pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in text_files()
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []


# Locks, licence, words --------------------------------------------------------------------------


def pins(name: str) -> dict[str, set[str]]:
    """Package to versions of one lock file (a package may have one version per marker)."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", line):
            found.setdefault(match[1], set()).add(match[2])
    return found


@pytest.mark.parametrize("name", ["run.lock", "dev.lock", "sdk-test.lock", "proto.lock"])
def test_locks_hold_names_versions_and_hashes_only(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=sha256:[0-9a-f]{64})", text, re.MULTILINE)
    assert len(pins(name)) > 5
    packages = re.split(r"^(?=\w)", text, flags=re.MULTILINE)
    assert [package for package in packages if "==" in package and "--hash" not in package] == []


@pytest.mark.parametrize(("smaller", "larger"), [("run", "dev"), ("sdk-test", "dev")])
def test_one_lock_never_contradicts_another(smaller: str, larger: str) -> None:
    held = pins(f"{larger}.lock")
    assert {
        name: versions
        for name, versions in pins(f"{smaller}.lock").items()
        if not versions <= held.get(name, set())
    } == {}


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE"])
def test_both_distributions_carry_the_same_licence(name: str) -> None:
    assert (ROOT / name).read_bytes() == (ROOT / "clients" / "python" / name).read_bytes()


GLOSSARY = (
    *("task", "attempt", "shard", "epoch", "claim", "dispatch", "lease", "due time", "bucket"),
    *("executor", "scheduler node", "coordinator"),
)
# Words other schedulers use for the same things; the protos must not bring in a second name.
SYNONYMS = re.compile(r"\b\w*(?:job|worker|broker|fencing_token)\w*\b", re.IGNORECASE)


@pytest.mark.parametrize("word", GLOSSARY)
def test_the_glossary_explains_the_word(word: str) -> None:
    text = (ROOT / "docs" / "glossary.md").read_text().lower()
    assert re.search(rf"^(?:#+|[-*|])?\s*\**{word}\b", text, re.MULTILINE)


def test_protos_use_the_glossarys_words() -> None:
    found = [
        f"{path.name}:{number}: {match[0]}"
        for path in sorted((ROOT / "proto" / "timeball").rglob("*.proto"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        for match in SYNONYMS.finditer(line.split("//")[0])
    ]
    assert found == []
    assert SYNONYMS.search("string worker_id = 1;")
