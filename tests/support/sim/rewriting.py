"""Product code that is changed as it is imported, in a process of its own, for tests alone.

A rewrite names a function and what stands in it; the rest of the module stays as it is. Nothing
on disk changes, and nothing that is loaded already: install before the product is imported.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]
Change = Callable[[ast.Module], ast.Module]


class StaleRewrite(Exception):
    """The function is gone, or does not hold the text (or holds it twice)."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One change. `old` and `new` are parts of the function as `ast.unparse` writes it.

    Attributes:
        module: dotted name.
        function: qualified name in it; empty = the module itself.
    """

    module: str
    function: str
    old: str
    new: str

    def apply(self, tree: ast.Module) -> ast.Module:
        """The changed module.

        Raises:
            StaleRewrite: it does not fit any more.
        """
        holder, position = _find(tree, self.function.split("."))
        text = ast.unparse(holder[position])
        if text.count(self.old) != 1:
            where = f"{self.module}.{self.function}"
            raise StaleRewrite(f"{where} holds {self.old!r} {text.count(self.old)} times:\n{text}")
        holder[position : position + 1] = ast.parse(text.replace(self.old, self.new)).body
        return ast.fix_missing_locations(tree)


_NAMED = ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef


def _find(tree: ast.Module, path: Sequence[str]) -> tuple[list[ast.stmt], int]:
    """Where a function stands: a list of statements and the place in it."""
    holder: list[ast.stmt] = tree.body
    *outer, last = path
    for name in outer:
        holder = _named(holder, name)[1].body
    return holder, _named(holder, last)[0]


def _named(
    body: Sequence[ast.stmt], name: str
) -> tuple[int, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for position, node in enumerate(body):
        if isinstance(node, _NAMED) and node.name == name:
            return position, node
    raise StaleRewrite(f"there is no {name}")


def source_of(module: str) -> Path:
    """Where a module's text is."""
    return ROOT / f"{module.replace('.', '/')}.py"


def parsed(module: str) -> ast.Module:
    """A module as it is on disk."""
    return ast.parse(source_of(module).read_text())


class _Loader(importlib.abc.Loader):
    def __init__(self, module: str, changes: Sequence[Change]) -> None:
        self._module = module
        self._changes = changes

    def exec_module(self, module: ModuleType) -> None:
        tree = parsed(self._module)
        for change in self._changes:
            tree = change(tree)
        exec(compile(tree, str(source_of(self._module)), "exec"), module.__dict__)


class Changed(importlib.abc.MetaPathFinder):
    """Finds the changed modules before anybody else finds the unchanged ones."""

    def __init__(self) -> None:
        self._changes: dict[str, list[Change]] = defaultdict(list)

    def add(self, module: str, change: Change) -> None:
        """Change a module when it is imported.

        Raises:
            RuntimeError: it has been imported already.
        """
        if module in sys.modules:
            raise RuntimeError(f"{module} has been imported already; it cannot be changed now")
        self._changes[module].append(change)

    def install(self) -> None:
        """From now on."""
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """How to load one of the changed modules."""
        if fullname not in self._changes:
            return None
        loader = _Loader(fullname, self._changes[fullname])
        return importlib.util.spec_from_loader(fullname, loader, origin=str(source_of(fullname)))


def install(rewrites: Sequence[Rewrite]) -> None:
    """Rewrite these from now on."""
    changed = Changed()
    for rewrite in rewrites:
        changed.add(rewrite.module, rewrite.apply)
    changed.install()


def install_change(module: str, change: Change) -> None:
    """Change one module from now on."""
    changed = Changed()
    changed.add(module, change)
    changed.install()
