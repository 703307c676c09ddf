"""The other languages' clients as code: formatted, typed, tested, and what proto/ and docs say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import timeball
from timeball import errors

from tests.support.dev_server import dev_server, environment
from tests.support.polls import DEADLINE_S
from tools import other_clients, prerequisites
from tools.other_clients import GO, ROOT, TYPESCRIPT

HELLO = ROOT / "examples" / "hello.py"
EXAMPLES = {
    "go": (GO, "examples/hello/main.go", [str(other_clients.GO_EXAMPLE)]),
    "typescript": (
        TYPESCRIPT,
        "examples/hello.ts",
        ["node", str(other_clients.TYPESCRIPT_EXAMPLE)],
    ),
}


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        (GO, "gofmt -l ."),
        (GO, "go vet ./..."),
        (GO, "go test -count=1 ./..."),
        (TYPESCRIPT, "npm run --silent check"),
        (TYPESCRIPT, "npm test --silent"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_the_languages_own_tools_are_content(folder: Path, command: str) -> None:
    words = command.split()
    outcome = subprocess.run(
        words,
        cwd=folder,
        env=other_clients.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert outcome.stdout == "" or words[0] != "gofmt"


def test_generated_code_is_what_proto_says() -> None:
    assert other_clients.drift() == []


def test_drift_is_noticed(tmp_path: Path) -> None:
    committed, made = tmp_path / "committed", tmp_path / "made"
    for folder, text in ((committed, "old"), (made, "new")):
        folder.mkdir()
        (folder / "task.go").write_text(text)
        (folder / "same.go").write_text("")
    (committed / "gone.go").write_text("")
    assert other_clients.differing(committed, made) == ["gone.go", "task.go"]


@pytest.mark.parametrize("language", EXAMPLES)
def test_the_example_of_the_readme_runs(language: str, tmp_path: Path) -> None:
    folder, source, command = EXAMPLES[language]
    readme = (folder / "README.md").read_text()
    shown = re.search(rf"<!-- {source} -->\n```\w+\n(.*?)```\n", readme, re.DOTALL)
    assert shown is not None
    assert shown[1] == (folder / source).read_text()
    with dev_server(tmp_path, apps=(str(HELLO),)) as server:
        printed = subprocess.check_output(
            command, env=environment(TIMEBALL_ADDRESS=server.address), text=True, timeout=DEADLINE_S
        )
    assert printed == "Hello, sailor!\n"


def test_locks_hold_hashes_and_no_address_to_fetch_from() -> None:
    text = (TYPESCRIPT / "package-lock.json").read_text()
    assert "://" not in text
    packages = json.loads(text)["packages"]
    fetched = [package for name, package in packages.items() if name]
    assert len(fetched) > 5
    assert [package for package in fetched if "integrity" not in package] == []
    sums = (GO / "go.sum").read_text()
    assert "://" not in sums
    assert re.fullmatch(r"(\S+ v\S+ h1:\S+=\n)+", sums)


def test_the_version_and_the_licence_are_those_of_every_distribution() -> None:
    package = json.loads((TYPESCRIPT / "package.json").read_text())
    assert package["version"] == timeball.__version__
    for folder in (GO, TYPESCRIPT):
        for name in ("LICENSE", "NOTICE"):
            assert (folder / name).read_bytes() == (ROOT / name).read_bytes()


@pytest.mark.parametrize(
    ("source", "form"),
    [(GO / "errors.go", r'Reason = "(\w+)"'), (TYPESCRIPT / "src/errors.ts", r'^  \| "(\w+)"')],
    ids=["go", "typescript"],
)
def test_reasons_are_words_that_the_service_says(source: Path, form: str) -> None:
    reasons = re.findall(form, source.read_text(), re.MULTILINE)
    assert len(reasons) == 16
    assert set(reasons) <= set(errors.leaves())


def test_what_is_asked_of_the_machine_is_what_the_clients_ask() -> None:
    go = re.search(r"^go (\d+)\.(\d+)", (GO / "go.mod").read_text(), re.MULTILINE)
    assert go is not None
    assert (int(go[1]), int(go[2])) == prerequisites.GO
    engines = json.loads((TYPESCRIPT / "package.json").read_text())["engines"]
    assert engines == {"node": f">={prerequisites.NODE[0]}"}


@pytest.mark.parametrize(
    ("said", "found"),
    [("go1.26.8", "1.26.8"), ("v20.0.0", "20.0.0"), ("1.24", "1.24"), ("1.23.9", ""), ("?", "")],
)
def test_a_program_counts_when_it_is_new_enough(said: str, found: str) -> None:
    assert prerequisites.at_least((1, 24), sys.executable, "-c", f"print('{said}')") == found
    assert prerequisites.at_least((1, 24), "no-such-program-anywhere") == ""
