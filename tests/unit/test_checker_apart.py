"""The judge of histories shares nothing with what it judges."""

from __future__ import annotations

import ast
from pathlib import Path

CHECKER = Path(__file__).parents[1] / "support" / "checker"


def test_the_judge_knows_nothing_of_product_or_simulation() -> None:
    allowed = ("tests.support.checker", "msgspec", "__future__")
    for path in sorted(CHECKER.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = _imported(node)
            ours = [name for name in names if name.split(".")[0] in _PRODUCT]
            assert not [name for name in ours if not name.startswith(allowed)], path.name


_SERVICES = {"coordinator", "executor_node", "scheduler_node"}
_PRODUCT = {*_SERVICES, "tests", "timeball", "timeball_server", "tools"}


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
