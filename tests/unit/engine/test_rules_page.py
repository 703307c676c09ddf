"""The page of rules names tests and files that exist, and every rule."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "rules.md").read_text()


def test_every_test_it_names_exists() -> None:
    texts = "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))
    existing = set(re.findall(r"def (test_\w+)", texts))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named - existing == set()
    assert len(named) > 50


def test_every_file_it_names_exists() -> None:
    named = set(re.findall(r"`((?:engine|core|coordinator|scheduler_node)/\w+\.py)`", PAGE))
    folders = {"engine": "timeball_server/core/engine", "core": "timeball_server/core"}
    paths = [
        ROOT / folders.get(name.split("/")[0], name.split("/")[0]) / name.split("/")[1]
        for name in named
    ]
    assert [str(path) for path in paths if not path.exists()] == []
    assert len(paths) > 15


def test_every_rule_has_its_line() -> None:
    listed = re.findall(r"^\| ([RS]\d+) \|", PAGE, re.MULTILINE)
    assert listed == [f"R{n}" for n in range(1, 25)] + [f"S{n}" for n in range(1, 7)]
