"""Finds what is wrong with bytes that protobuf refuses to parse.

Only asked after the real parser has said no, so that a caller learns which field to look at.
Never used to read a valid message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

MAX_DEPTH: Final = 32
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Truncated(Exception):
    """The bytes end inside a field, or are no protobuf at all."""


def first_bad_text(raw: bytes, descriptor: Descriptor, depth: int = 0) -> str | None:
    """Path of the first string that is not UTF-8; None when there is none to be found.

    Args:
        raw: a serialised message.
        descriptor: its type.
        depth: how deep in the outermost message; ends the search in hostile nestings.
    """
    try:
        for number, value in _chunks(raw):
            field = descriptor.fields_by_number.get(number)
            if field is None:
                continue
            if field.type == FieldDescriptor.TYPE_STRING and not _is_text(value):
                return str(field.name)
            if field.message_type is not None and depth < MAX_DEPTH:
                inner = first_bad_text(value, field.message_type, depth + 1)
                if inner is not None:
                    return f"{field.name}.{inner}"
    except Truncated:
        return None
    return None


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _chunks(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of every length-delimited field."""
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        kind = tag & 7
        if kind == _VARINT:
            _, position = _varint(raw, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            size, position = _varint(raw, position)
            if position + size > len(raw):
                raise Truncated
            yield tag >> 3, raw[position : position + size]
            position += size
        else:
            raise Truncated


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = 0
    for count in range(10):
        if position + count >= len(raw):
            raise Truncated
        byte = raw[position + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, position + count + 1
    raise Truncated
