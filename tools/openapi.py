"""Writes what the HTTP door says about itself: comments of the protos, and the OpenAPI document.

The server makes the document from descriptors, which carry no comments; so these are read from
the proto sources here and shipped as data. `--check` says what is out of date and changes nothing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from timeball_server.rest.openapi import document
from timeball_server.rest.routes import read_routes

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "proto" / "timeball" / "v1"
COMMENTS = ROOT / "timeball_server" / "rest" / "comments.json"
DOCUMENT = ROOT / "docs" / "api" / "openapi.json"
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_BLOCK = re.compile(r"^(?:message|enum|service|rpc|oneof)\s+(\w+)")
_FIELD = re.compile(r"^(?:repeated\s+|optional\s+)?(?:map<[^>]+>|[\w.]+)\s+(\w+)\s*=\s*\d+")
_VALUE = re.compile(r"^(\w+)\s*=\s*\d+")
_PACKAGE = re.compile(r"^package\s+([\w.]+);", re.MULTILINE)


def proto_comments(source: str) -> Iterator[tuple[str, str]]:
    """Full names and their sentences; a comment belongs to what stands below it."""
    found = _PACKAGE.search(source)
    scopes: list[str] = [found[1] if found else ""]
    words: list[str] = []
    for line in map(str.strip, source.splitlines()):
        if line.startswith("//"):
            words.append(line.removeprefix("//").strip())
            continue
        name = _name(line)
        if name and words and name[0].isidentifier():
            yield ".".join((*filter(None, scopes), name)), " ".join(words)
        words = []
        bare = _TEXT.sub("", line)
        opened = name if _BLOCK.match(line) and not line.startswith("oneof") else ""
        for bracket in re.findall(r"[{}]", bare):
            if bracket == "}":
                scopes.pop()
            else:
                scopes.append(opened)
                opened = ""


def _name(line: str) -> str:
    """What a line declares; empty if nothing."""
    for pattern in (_BLOCK, _FIELD, _VALUE):
        found = pattern.match(line)
        if found and not line.startswith("option "):
            return found[1]
    return ""


def generated() -> dict[Path, str]:
    """Every file and what it should say."""
    sentences: dict[str, str] = {}
    for path in sorted(PROTOS.glob("*.proto")):
        sentences |= dict(proto_comments(path.read_text(encoding="utf-8")))
    described = document(read_routes(), sentences)
    return {COMMENTS: _json(sentences), DOCUMENT: _json(described)}


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write them, or with `--check` say which differ."""
    stale = [path for path, text in generated().items() if not _says(path, text)]
    if "--check" in sys.argv[1:]:
        if stale:
            names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
            raise SystemExit(f"{names}: out of date; run python tools/openapi.py")
        return
    for path in stale:
        path.write_text(generated()[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


def _says(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    main()
