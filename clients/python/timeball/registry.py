"""The handlers of this process by name, and how their arguments travel.

Arguments travel as one JSON object of named arguments; positional ones are bound to their names
at submit. Both sides check them against the signature's type hints, strictly. Only registered
names can be called; nothing is ever unpickled.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Union, get_type_hints

import msgspec

from timeball.context import Context
from timeball.errors import InvalidRequest, refused
from timeball.payload import CONTENT_TYPE, encode_arguments

NAME_LIMIT = 200
# The rule of Task.handler in proto/timeball/v1/task.proto.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_AT = re.compile(r"^(?P<text>.*) - at `(?P<path>[^`]*)`$", re.DOTALL)
_FIELD = re.compile(r"(?:missing required|contains unknown) field `(?P<name>[^`]*)`")
_UNNAMED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Call:
    """Arguments ready for the function. `context_name` names the parameter that takes a Context."""

    positional: tuple[object, ...]
    named: dict[str, object]


class Handler:
    """A function that tasks can name.

    Args:
        name: explicit, so that renames and moves of the function never orphan work.
        function: sync or async; every parameter has a name of its own (no *args, **kwargs).
        max_concurrent: attempts at once on one executor; None = as many as it has slots.

    Raises:
        InvalidRequest: the name or the number is not acceptable.
        TypeError: the signature is not.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], *, max_concurrent: int | None = None
    ) -> None:
        if len(name) > NAME_LIMIT or not _NAME.fullmatch(name):
            raise refused("name", f"{name!r} is not a handler name such as 'billing.charge'")
        if max_concurrent is not None and max_concurrent < 1:
            raise refused("max_concurrent", "at least 1; None = as many as there are slots")
        self.name = name
        self.max_concurrent = max_concurrent
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.signature = inspect.signature(function)
        for parameter in self.signature.parameters.values():
            if parameter.kind in _UNNAMED:
                raise TypeError(f"{name}: arguments travel by name, *{parameter.name} has none")

    @cached_property
    def hints(self) -> dict[str, Any]:
        """The types of the parameters and, as "return", of the result."""
        return get_type_hints(self.function, include_extras=True)

    @property
    def result_type(self) -> Any:
        """What the function returns; Any if it does not say."""
        return self.hints.get("return", Any)

    @cached_property
    def context_name(self) -> str | None:
        """The parameter annotated with Context, if there is one."""
        return next((n for n in self.signature.parameters if self.hints.get(n) is Context), None)

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[msgspec.Struct]:
        """Reads the arguments; optional ones that are absent stay UNSET."""
        fields: list[Any] = []
        for parameter in self.signature.parameters.values():
            hint = self.hints.get(parameter.name, Any)
            if parameter.name == self.context_name:
                continue
            if parameter.default is parameter.empty:
                fields.append((parameter.name, hint))
            else:
                # A hint may be any object, so it may know no `|`.
                absent: Any = Union[hint, msgspec.UnsetType]  # noqa: UP007
                fields.append((parameter.name, absent, msgspec.UNSET))
        arguments = msgspec.defstruct(
            "Arguments", fields, kw_only=True, forbid_unknown_fields=True, gc=False
        )
        return msgspec.json.Decoder(arguments)

    def encode(self, *args: Any, **kwargs: Any) -> bytes:
        """The arguments of a call, checked as the executor will check them.

        Raises:
            TypeError: the call does not fit the signature.
            InvalidRequest: an argument is not of its type; violations name the path.
        """
        bound = self._submittable.bind(*args, **kwargs)
        data = encode_arguments(bound.arguments)
        self._parse(data)
        return data

    def decode(self, data: bytes, content_type: str = CONTENT_TYPE) -> Call:
        """The call that a payload asks for; the context is left out.

        Raises:
            InvalidRequest: not JSON, or an argument is not of its type; violations name the path.
        """
        if content_type.partition(";")[0].strip() != CONTENT_TYPE:
            raise refused("$", f"the payload is {content_type!r}, this handler takes JSON")
        arguments = self._parse(data or b"{}")
        positional: list[object] = []
        named: dict[str, object] = {}
        for name in arguments.__struct_fields__:
            value = getattr(arguments, name)
            if value is msgspec.UNSET:
                continue
            if self.signature.parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY:
                positional.append(value)
            else:
                named[name] = value
        return Call(tuple(positional), named)

    def call(self, call: Call, context: Context) -> Any:
        """Call the function; an async one answers its coroutine."""
        if self.context_name is None:
            return self.function(*call.positional, **call.named)
        return self.function(*call.positional, **call.named, **{self.context_name: context})

    @cached_property
    def _submittable(self) -> inspect.Signature:
        """The signature as callers see it: without the context."""
        kept = [p for n, p in self.signature.parameters.items() if n != self.context_name]
        return self.signature.replace(parameters=kept)

    def _parse(self, data: bytes) -> msgspec.Struct:
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _explain(error) from error


def _explain(error: Exception) -> InvalidRequest:
    """The vendor's sentence, with the path where it belongs."""
    text, path = str(error), "$"
    if (located := _AT.match(text)) is not None:
        text, path = located["text"], located["path"]
    if (unnamed := _FIELD.search(text)) is not None:
        path = f"{path}.{unnamed['name']}"
    return refused(path, text)


_HANDLERS: dict[str, Handler] = {}
registry: Final = MappingProxyType(_HANDLERS)
"""Every registered handler by name; read only."""


def register(handler: Handler) -> Handler:
    """Make a handler callable by tasks of this process. Importing a module again is fine.

    Raises:
        ValueError: another function has this name.
    """
    known = _HANDLERS.get(handler.name)
    if known is not None and _origin(known) != _origin(handler):
        raise ValueError(
            f"two handlers are called {handler.name!r}: {_origin(known)} and {_origin(handler)}"
        )
    _HANDLERS[handler.name] = handler
    return handler


def _origin(handler: Handler) -> str:
    function = handler.function
    return f"{function.__module__}.{function.__qualname__}"
