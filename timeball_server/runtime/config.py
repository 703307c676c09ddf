"""Settings of a process: defaults < TOML file < TIMEBALL_* environment < flags.

Owns how settings are read and checked. A section is a frozen dataclass whose fields are
`Annotated` with bounds and a description and have a default; a service's settings are a frozen
dataclass of sections. Everything that is wrong is reported at once. Never reads a file or the
environment by itself and never exits: mains hand in what they read and exit with 2.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, get_type_hints

import msgspec
from timeball.errors import InvalidRequest, Violation

S = TypeVar("S")
EXIT_INVALID_CONFIGURATION: Final = 2
PREFIX: Final = "TIMEBALL"


class InvalidConfiguration(InvalidRequest):
    """The settings cannot be used; `violations` has every problem with where it was found."""

    reason = "INVALID_CONFIGURATION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where settings come from, weakest first.

    Attributes:
        toml: text of the settings file, empty without one.
        environment: variables; those named TIMEBALL_<SECTION>_<SETTING> count.
        flags: "section.setting" to text.
    """

    toml: str = ""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    flags: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting, described."""

    path: str
    variable: str
    default: object
    text: str
    type: Any
    """The annotation, with bounds; typing has no name for it."""


def load(settings_type: type[S], sources: Sources) -> S:
    """Read settings from all sources.

    Raises:
        InvalidConfiguration: with every problem of every source.
    """
    known = {each.path: each for each in describe(settings_type)}
    problems: list[Violation] = []
    chosen: dict[str, object] = {path: each.default for path, each in known.items()}
    for path, where, value in _found(settings_type, known, sources, problems):
        each = known.get(path)
        if each is None:
            problems.append(_unknown(path, where, known))
        else:
            chosen[path] = _convert(each, where, value, problems)
    if not problems:
        settings = _build(settings_type, chosen)
        problems.extend(validate(settings))
        if not problems:
            return settings
    raise _refusal(problems)


def validate(settings: object) -> tuple[Violation, ...]:
    """Every problem of settings that exist: bounds of each setting, then rules across settings.

    A section may have a method `problems() -> Iterable[Violation]` for rules across its settings.
    """
    found: list[Violation] = []
    for each in describe(type(settings)):
        section, name = each.path.split(".")
        value = getattr(getattr(settings, section), name)
        _convert(each, each.path, value, found)
    for field in dataclasses.fields(_instance(settings)):
        across = getattr(getattr(settings, field.name), "problems", None)
        found.extend(() if across is None else across())
    return tuple(found)


def describe(settings_type: type) -> Iterator[Setting]:
    """Every setting, in the order of its definition; `config explain` prints this."""
    for section, section_type in get_type_hints(settings_type).items():
        hints = get_type_hints(section_type, include_extras=True)
        for field in dataclasses.fields(section_type):
            yield Setting(
                path=f"{section}.{field.name}",
                variable=f"{PREFIX}_{section}_{field.name}".upper(),
                default=field.default,
                text=_description(hints[field.name]),
                type=hints[field.name],
            )


def _description(annotation: Any) -> str:
    """The sentence in an annotation: what grows or shrinks with the setting."""
    metas = (each for each in annotation.__metadata__ if isinstance(each, msgspec.Meta))
    return next(meta.description for meta in reversed([*metas]) if meta.description)


def _found(
    settings_type: type,
    known: Mapping[str, Setting],
    sources: Sources,
    problems: list[Violation],
) -> Iterator[tuple[str, str, object]]:
    """(path, where, value) of everything that was given, weakest source first."""
    yield from _in_file(sources.toml, problems)
    by_variable = {each.variable: path for path, each in known.items()}
    beginnings = tuple(f"{PREFIX}_{name}_".upper() for name in get_type_hints(settings_type))
    for variable, text in sources.environment.items():
        if variable in by_variable or variable.startswith(beginnings):
            yield by_variable.get(variable, variable), variable, text
    for path, text in sources.flags.items():
        yield path, f"--{path}", text


def _in_file(toml: str, problems: list[Violation]) -> Iterator[tuple[str, str, object]]:
    """What the settings file says."""
    try:
        sections = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        problems.append(Violation("file", f"is not TOML: {error}"))
        return
    for section, values in sections.items():
        if not isinstance(values, dict):
            problems.append(Violation(section, f"write it under its section, like [{section}]"))
            continue
        for name, value in values.items():
            yield f"{section}.{name}", f"{section}.{name} in the file", value


def _convert(each: Setting, where: str, value: object, problems: list[Violation]) -> object:
    """The value in the setting's type, noting a problem if it does not fit."""
    if isinstance(value, str) and isinstance(each.default, tuple):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, each.type, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        problems.append(Violation(each.path, f"{where}: {error}. It is: {each.text}"))
        return each.default


def _unknown(path: str, where: str, known: Mapping[str, Setting]) -> Violation:
    """A setting that does not exist, with the nearest one that does."""
    names = [*known, *(each.variable for each in known.values())]
    near = difflib.get_close_matches(path, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return Violation(path, f"{where}: there is no such setting{hint}")


def _build(settings_type: type[S], chosen: Mapping[str, object]) -> S:
    """The tree of sections from flat paths."""
    sections: dict[str, object] = {}
    for section, section_type in get_type_hints(settings_type).items():
        names = [field.name for field in dataclasses.fields(section_type)]
        sections[section] = section_type(**{name: chosen[f"{section}.{name}"] for name in names})
    return settings_type(**sections)


def _refusal(problems: Iterable[Violation]) -> InvalidConfiguration:
    """One error that lists every problem."""
    lines = [f"{each.field}: {each.description}" for each in problems]
    message = f"{len(lines)} problem(s) in the settings:\n" + "\n".join(
        f"- {line}" for line in lines
    )
    return InvalidConfiguration(message, violations=problems)


def _instance(settings: object) -> Any:
    """What dataclasses.fields takes; a tree of settings is always a dataclass."""
    return settings
