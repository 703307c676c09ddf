"""What is wrong with a schedule's rules: where, at which character, and what would be accepted.

Owns the words' shape. Never decides what is wrong: the parser and `checking` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from timeball.errors import InvalidRequest, Violation


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    `field` is a path such as `crons[0].expression`. `position` is the character of that field's
    text at which it goes wrong, counted from 1; None when the field is wrong as a whole. `hint` is
    a sentence that says what would be accepted.
    """

    field: str
    message: str
    hint: str
    position: int | None = None

    @property
    def sentence(self) -> str:
        """The whole of it for a person."""
        where = "" if self.position is None else f"at character {self.position}: "
        return f"{where}{self.message}; {self.hint}"


class SpecProblem(InvalidRequest):
    """A calendar that can not be evaluated, or that would never fire.

    Travels as INVALID_ARGUMENT; each problem is a violation with its field's path, and the
    metadata hold the first one's position.

    Attributes:
        problems: everything that was found, at least one.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        found = tuple(problems)
        first = found[0]
        position = {} if first.position is None else {"position": str(first.position)}
        super().__init__(
            f"{first.field}: {first.sentence}",
            violations=[Violation(problem.field, problem.sentence) for problem in found],
            metadata={"field": first.field, **position},
        )
        self.problems: tuple[Problem, ...] = found


def refuse(field: str, message: str, hint: str, position: int | None = None) -> SpecProblem:
    """The error for one problem, ready to be raised."""
    return SpecProblem([Problem(field=field, message=message, hint=hint, position=position)])
