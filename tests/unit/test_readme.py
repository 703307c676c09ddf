"""What the documents say is there: commands, files, links, examples, words and promises.

Each rule has a sample that it must refuse, so that a rule that has gone blind fails here.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from timeball.cli.root import root as command_line

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
ARCHITECTURE_LINES = 300
RECORD_LINES = 40

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


# Commands ---------------------------------------------------------------------------------------


def make_targets() -> set[str]:
    """The targets that `make` lists."""
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def missing_targets(text: str) -> list[str]:
    """Targets that a text names and the Makefile does not have."""
    in_ticks = re.findall(r"`(?:CI=true )?make ([a-z-]+)", text)
    in_blocks = re.findall(
        r"^(?:CI=true )?make ([a-z-]+)", "\n".join(blocks(text, "sh")), re.MULTILINE
    )
    return sorted({*in_ticks, *in_blocks} - make_targets())


def command_lines(text: str) -> list[list[str]]:
    """Every `timeball ...` line of the shell blocks, as words without the program's name."""
    lines = [line.strip() for block in blocks(text, "sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("timeball ")]


def parse(words: list[str]) -> None:
    """Walk to the command that the words name and parse its options, without running it.

    Raises:
        click.ClickException: there is no such command, option or value.
    """
    command: click.Command = command_line
    context: click.Context | None = None
    while True:
        context = command.make_context(command.name, words, parent=context)
        if not isinstance(command, click.Group):
            return
        rest = [*context._protected_args, *context.args]
        _, found, words = command.resolve_command(context, rest)
        if found is None:
            raise click.UsageError(f"there is no command {rest[0]!r}")
        command = found


@each_document
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    assert missing_targets(document.read_text()) == []


def test_a_missing_make_target_is_found() -> None:
    assert missing_targets("Run `make dmeo`.") == ["dmeo"]
    assert missing_targets("```sh\nmake tset\n```\n") == ["tset"]


@each_document
def test_every_command_line_that_is_shown_can_be_parsed(document: Path) -> None:
    for words in command_lines(document.read_text()):
        parse(words)


@pytest.mark.parametrize(
    "line", ["timeball taks list", "timeball task list --colour red", "timeball dev --slots none"]
)
def test_a_command_line_that_does_not_exist_is_found(line: str) -> None:
    (words,) = command_lines(f"```sh\n{line}\n```\n")
    with pytest.raises(click.ClickException):
        parse(words)


def test_the_two_commands_come_first() -> None:
    first, *_ = blocks((ROOT / "README.md").read_text(), "sh")
    assert first.split("\n") == ["make demo", "make test", ""]


def command_named(name: str) -> click.Command:
    """A command of the `timeball` program."""
    found = command_line.get_command(click.Context(command_line), name)
    assert found is not None
    return found


def test_the_guide_explains_every_flag_of_dev_mode() -> None:
    rows = rows_of((ROOT / "docs" / "guides" / "operating-dev.md").read_text())
    explained = {row[0].strip("`") for row in rows}
    options = [each for each in command_named("dev").params if isinstance(each, click.Option)]
    assert len(options) > 5
    assert [each.opts[0] for each in options if each.opts[0] not in explained] == []


# Files ------------------------------------------------------------------------------------------


def dead_links(document: Path, text: str) -> list[str]:
    """Relative links and paths in ticks that lead nowhere."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose(text))
    relative = [link for link in links if "://" not in link]
    found = [link for link in relative if not (document.parent / link).exists()]
    folders = "tests|docs|tools|examples|proto|requirements|timeball_server|coordinator"
    paths = re.findall(rf"`((?:{folders}|scheduler_node|executor_node|clients)/[\w./-]+)`", text)
    return found + [path for path in paths if not (ROOT / path).exists()]


@each_document
def test_every_file_that_is_named_exists(document: Path) -> None:
    assert dead_links(document, document.read_text()) == []


def test_a_dead_link_is_found() -> None:
    readme = ROOT / "README.md"
    assert dead_links(readme, "[words](docs/glosary.md)") == ["docs/glosary.md"]
    assert dead_links(readme, "see `tests/unit/test_nothing.py`") == ["tests/unit/test_nothing.py"]


def named_tests(text: str) -> set[str]:
    """Tests that a text names as evidence."""
    return set(re.findall(r"`(test_\w+)`", text))


def test_every_test_that_is_named_as_evidence_exists() -> None:
    code = "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))
    named = {name for document in DOCUMENTS for name in named_tests(document.read_text())}
    assert named
    assert {name for name in named if f"def {name}(" not in code} == set()


# Examples ---------------------------------------------------------------------------------------


def body_of(source: str) -> str:
    """A module's source from its first statement after the docstring on."""
    second = ast.parse(source).body[1]
    return "\n".join(source.splitlines()[second.lineno - 1 :]) + "\n"


@pytest.mark.parametrize(
    ("document", "file"), [("README.md", "hello.py"), ("docs/guides/changing.md", "change.py")]
)
def test_the_example_is_the_file_that_it_names(document: str, file: str) -> None:
    (example,) = blocks((ROOT / document).read_text(), "python")
    assert example == body_of((ROOT / "examples" / file).read_text())
    assert f"examples/{file}" in (ROOT / document).read_text()


WITH_PYTHON = [path for path in DOCUMENTS if blocks(path.read_text(), "python")]


@pytest.mark.parametrize("document", WITH_PYTHON, ids=lambda path: path.stem)
def test_python_in_documents_can_be_imported(document: Path, tmp_path: Path) -> None:
    """In a process of its own, because it registers handlers."""
    (tmp_path / "shown.py").write_text("\n\n".join(blocks(document.read_text(), "python")))
    command = [sys.executable, "-W", "error", "-c", "import shown"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_the_picture_of_the_demo_has_the_demos_columns() -> None:
    (table,) = re.findall(
        r"<!-- live table -->\n```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    header = re.split(r"\s{2,}", table.splitlines()[0])
    view = (ROOT / "examples" / "demo_view.py").read_text()
    assert len(header) == 6
    assert [column for column in header if f'"{column}"' not in view] == []


# Words ------------------------------------------------------------------------------------------


def test_architecture_names_every_package_and_folder() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    shared = ROOT / "timeball_server"
    packages = [path.parent.name for path in sorted(shared.glob("*/__init__.py"))]
    folders = ["coordinator", "scheduler_node", "executor_node", "clients/python", "proto"]
    folders += ["tests", "tools", "examples", "docs", "requirements"]
    missing = [name for name in [*packages, *folders] if f"{name}/" not in text]
    assert missing == []


def test_documents_keep_to_their_lengths() -> None:
    assert len((ROOT / "docs" / "ARCHITECTURE.md").read_text().splitlines()) <= ARCHITECTURE_LINES
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert records
    assert [
        path.name for path in records if len(path.read_text().splitlines()) > RECORD_LINES
    ] == []


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [path.name for path in records if f"(adr/{path.name})" not in index] == []


def rows_of(text: str) -> list[list[str]]:
    """The cells of every table row of a document, headings and rules left out."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not set("".join(row)) <= {"-", " "}]


def test_the_glossary_says_each_word_once() -> None:
    rows = rows_of((ROOT / "docs" / "glossary.md").read_text())
    words = [row[0] for row in rows if len(row) == 3 and row[0] != "word"]
    assert len(words) > 50
    assert sorted(word for word in set(words) if words.count(word) > 1) == []
    assert [row[0] for row in rows if "" in row] == []


PROMISES = (
    *("no acknowledged task is lost", "never early", "on time", "fail-over"),
    *("at-least-once by default", "a cancel or update that was acknowledged holds"),
    "every nominal time of a schedule ends in exactly one ledger verdict",
)


@pytest.mark.parametrize("promise", PROMISES)
def test_every_promise_is_stated_with_its_number_and_what_shows_it(promise: str) -> None:
    (row,) = [
        row for row in rows_of((ROOT / "README.md").read_text()) if row[0].startswith(promise)
    ]
    assert len(row) == 3
    assert all(row)
