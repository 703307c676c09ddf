"""Mutations of the product's core that nobody chose: drawn by a fixed seed from all there are.

Each changes one operator, one constant, one condition or one statement of a module that decides.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.sim.rewriting import ROOT, parsed

SEED = 20_261_125
COUNT = 40
"""Drawn; those that cannot matter are left out by name in docs/simulation.md."""
_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mutation: the place in a module, counted over all its nodes, and what happens there."""

    module: str
    position: int
    line: int
    says: str

    def apply(self, tree: ast.Module) -> ast.Module:
        """The mutated module."""
        for position, node in enumerate(ast.walk(tree)):
            if position == self.position:
                _mutate(node)
        return ast.fix_missing_locations(tree)


def mutants() -> list[Mutant]:
    """The drawn ones, in the order of being drawn."""
    everything = [mutant for module in _modules() for mutant in _possible(module)]
    return random.Random(SEED).sample(everything, COUNT)


def _modules() -> list[str]:
    folder = ROOT / "timeball_server" / "core"
    paths = sorted(folder.rglob("*.py"))
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return [name for name in names if not name.endswith("__init__")]


def _possible(module: str) -> Iterator[Mutant]:
    """Everything that could be mutated in the bodies of a module's functions."""
    tree = parsed(module)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for statement in function.body
        for node in ast.walk(statement)
    }
    for counting in filter(_only_counts, ast.walk(tree)):
        inside -= {id(node) for node in ast.walk(counting)}
    for position, node in enumerate(ast.walk(tree)):
        if id(node) in inside and (says := _name(node)):
            yield Mutant(module, position, getattr(node, "lineno", 0), says)


def _only_counts(node: ast.AST) -> bool:
    """What an operator reads of a node's work is no promise to anybody."""
    return isinstance(node, ast.AugAssign) and "counters" in ast.unparse(node.target)


def _name(node: ast.AST) -> str:
    """What would be done to a node; empty = nothing."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARED:
            other = _COMPARED[type(op)].__name__
            return f"{type(op).__name__} -> {other} in `{ast.unparse(node)}`"
        case ast.BoolOp(op=op):
            other = "or" if isinstance(op, ast.And) else "and"
            return f"{other} in `{ast.unparse(node)}`"
        case ast.BinOp(op=op) if type(op) in _COMPUTED:
            return f"{_COMPUTED[type(op)].__name__} in `{ast.unparse(node)}`"
        case ast.UnaryOp(op=ast.Not()):
            return f"without the not in `{ast.unparse(node)}`"
        case ast.Constant(value=value) if isinstance(value, bool):
            return f"{not value} for {value}"
        case ast.Constant(value=value) if isinstance(value, int):
            return f"{value + 1} for {value}"
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            return f"without `{ast.unparse(node)}`"
        case _:
            return ""


def _mutate(node: ast.AST) -> None:
    match node:
        case ast.Compare(ops=[op]):
            node.ops = [_COMPARED[type(op)]()]
        case ast.BoolOp(op=op):
            node.op = ast.Or() if isinstance(op, ast.And) else ast.And()
        case ast.BinOp(op=op):
            node.op = _COMPUTED[type(op)]()
        case ast.UnaryOp():
            node.operand = ast.UnaryOp(op=ast.Not(), operand=node.operand)
        case ast.Constant(value=value):
            node.value = not value if isinstance(value, bool) else int(str(value)) + 1
        case ast.Expr():
            node.value = ast.Constant(value=None)
        case ast.AugAssign():
            node.op, node.value = ast.Add(), ast.Constant(value=0)
