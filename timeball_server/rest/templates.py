"""Path templates of google.api.http: /v1/{name=namespaces/*/tasks/*}:cancel.

Pure. Matches raw paths, before percent-decoding, so that an encoded slash never makes a segment
and an encoded colon never makes a verb.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

ANY: Final = "*"
"""A part that stands for one segment, whatever it is."""
_TEMPLATE = re.compile(r"^(?P<parts>(?:/(?:\{[^{}]+\}|[^/{}:]+))+)(?::(?P<verb>[A-Za-z]+))?$")
_PART = re.compile(
    r"/(?:\{(?P<field>[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*)(?:=(?P<inner>[^{}]+))?\}|(?P<plain>[^/{}]+))"
)
_LITERAL = re.compile(r"^[A-Za-z0-9._~-]+$")
_SLASH = re.compile(r"%2f", re.IGNORECASE)


class InvalidTemplate(ValueError):
    """The template in the protos is not one that is served here."""


class UndecodablePath(ValueError):
    """A segment's percent-encoding is not UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A field of the request that takes the segments from `start` to before `end`.

    It may lie within another one: task.name.
    """

    field: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template taken apart. `parts` are literals and `ANY`; `verb` is empty or a custom verb."""

    text: str
    parts: tuple[str, ...]
    variables: tuple[Variable, ...]
    verb: str

    def match(self, path: str) -> Mapping[str, str] | None:
        """The variables' values, or None if this is another path.

        Args:
            path: raw, percent-encoded, without query.

        Raises:
            UndecodablePath: it is this path, and a value is not UTF-8.
        """
        body, verb = _split_verb(path)
        segments = body.split("/")[1:]
        if verb != self.verb or len(segments) != len(self.parts):
            return None
        if not all(map(_fits, self.parts, segments)):
            return None
        return {each.field: _value(segments[each.start : each.end]) for each in self.variables}

    def expand(self, values: Mapping[str, str]) -> str:
        """The path of these values; the inverse of `match` for values that fit.

        Raises:
            InvalidTemplate: a value does not have its variable's number of segments.
        """
        segments = list(self.parts)
        for each in self.variables:
            width = each.end - each.start
            value = values[each.field]
            found = value.split("/") if width > 1 else [value]
            if len(found) != width:
                raise InvalidTemplate(f"{value!r} does not fit {{{each.field}}} of {self.text}")
            segments[each.start : each.end] = [quote(segment, safe="") for segment in found]
        return "".join(f"/{segment}" for segment in segments) + (self.verb and f":{self.verb}")


def parse_template(text: str) -> Template:
    """Take a template apart.

    Raises:
        InvalidTemplate: it uses a form that is not served here, such as **.
    """
    found = _TEMPLATE.match(text)
    if found is None:
        raise InvalidTemplate(f"{text} is not a path template that is served here")
    taken_apart = list(_PART.finditer(found["parts"]))
    if "".join(part[0] for part in taken_apart) != found["parts"]:
        raise InvalidTemplate(f"{text}: a variable is named like a field")
    parts: list[str] = []
    variables: list[Variable] = []
    for part in taken_apart:
        inner = (part["plain"] or part["inner"] or ANY).split("/")
        if part["field"]:
            start = len(parts)
            variables.append(Variable(field=part["field"], start=start, end=start + len(inner)))
        parts += inner
    if not all(part == ANY or _LITERAL.match(part) for part in parts):
        raise InvalidTemplate(f"{text}: a part is a plain word or *")
    return Template(
        text=text, parts=tuple(parts), variables=tuple(variables), verb=found["verb"] or ""
    )


def _split_verb(path: str) -> tuple[str, str]:
    """The path and its custom verb; a colon in the last segment always starts one."""
    head, slash, last = path.rpartition("/")
    name, _, verb = last.partition(":")
    return f"{head}{slash}{name}", verb


def _fits(part: str, segment: str) -> bool:
    return bool(segment) if part == ANY else part == segment


def _value(segments: Sequence[str]) -> str:
    """One segment decoded whole; of several the slashes inside a segment stay encoded."""
    try:
        if len(segments) == 1:
            return unquote(segments[0], errors="strict")
        return "/".join(map(_decoded, segments))
    except UnicodeDecodeError as error:
        raise UndecodablePath("the path must be percent-encoded UTF-8") from error


def _decoded(segment: str) -> str:
    return "%2F".join(unquote(part, errors="strict") for part in _SLASH.split(segment))
