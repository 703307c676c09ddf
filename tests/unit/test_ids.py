"""Ids are addresses: they come back whole, sort within their bucket and refuse what is foreign."""

from __future__ import annotations

import base64
import struct
from dataclasses import astuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeball_server.core.ids import (
    ID_CHARACTERS,
    KIND_SCHEDULE,
    KIND_TASK,
    MAX_MINUTE,
    MAX_PART,
    MAX_SHARD,
    Bucket,
    IdParts,
    InvalidId,
    Minute,
    ShardId,
    TaskId,
    decode_id,
    encode_id,
    home_of,
    request_time_ms,
    unique_from_request,
    unique_of_occurrence,
)

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
UNIQUE = st.binary(min_size=16, max_size=16)
BUCKETS = st.builds(
    Bucket,
    st.integers(0, MAX_MINUTE).map(Minute),
    st.integers(0, MAX_SHARD).map(ShardId),
    st.integers(0, MAX_PART),
)
PARTS = st.builds(IdParts, BUCKETS, UNIQUE, st.sampled_from([KIND_TASK, KIND_SCHEDULE]))
NAMESPACES = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)
HOME = Bucket(Minute(29_000_000), ShardId(7), 2)
GOOD = encode_id(IdParts(HOME, bytes(range(16))))


def version_7(time_ms: int, rest: bytes) -> bytes:
    """A request id as clients make it."""
    raw = bytearray(time_ms.to_bytes(6, "big") + rest)
    raw[6] = 0x70 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return bytes(raw)


VERSION_7 = st.builds(version_7, st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))


@given(parts=PARTS)
def test_an_id_comes_back(parts: IdParts) -> None:
    text = encode_id(parts)
    assert len(text) == ID_CHARACTERS
    assert set(text) <= set(ALPHABET)
    assert decode_id(text) == parts
    assert home_of(text) == parts.home


@given(text=st.text(ALPHABET, min_size=ID_CHARACTERS, max_size=ID_CHARACTERS))
def test_no_two_texts_are_one_id(text: str) -> None:
    try:
        parts = decode_id(text)
    except InvalidId:
        return
    assert encode_id(parts) == text


@given(home=BUCKETS, one=UNIQUE, two=UNIQUE)
def test_ids_of_a_bucket_sort_by_their_unique_number(home: Bucket, one: bytes, two: bytes) -> None:
    first, second = encode_id(IdParts(home, one)), encode_id(IdParts(home, two))
    assert (first < second) == (one < two)


@given(one=BUCKETS, two=BUCKETS, unique=UNIQUE)
def test_ids_sort_by_minute_shard_and_part_first(one: Bucket, two: Bucket, unique: bytes) -> None:
    first, second = encode_id(IdParts(one, unique)), encode_id(IdParts(two, unique))
    assert (first < second) == (one < two)


def test_the_format_stays() -> None:
    # Stored ids outlive every version: this text must mean the same for ever.
    assert GOOD == "040vn0a0003g00g0041061050r3gg28a1c60t3gf"
    assert decode_id(GOOD) == IdParts(HOME, bytes(range(16)), KIND_TASK)


@given(parts=PARTS)
def test_the_text_is_crockford_base_32_of_25_bytes(parts: IdParts) -> None:
    numbers = struct.pack(">BIHH", parts.kind, *astuple(parts.home))
    standard = base64.b32encode(numbers + parts.unique).decode()
    rfc_4648 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    assert encode_id(parts) == standard.translate(str.maketrans(rfc_4648, ALPHABET))


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD[:-1],
        GOOD + "0",
        GOOD.upper(),
        GOOD[:-1] + "l",
        GOOD[:-1] + "i",
        GOOD[:-1] + "o",
        GOOD[:-1] + "u",
        GOOD[:-1] + "é",
        GOOD[:-1] + "\n",
        " " + GOOD[1:],
        "0" * ID_CHARACTERS,
        "z" * ID_CHARACTERS,
    ],
)
def test_foreign_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidId):
        decode_id(text)


@given(text=st.text())
def test_any_text_is_an_id_or_refused(text: str) -> None:
    with pytest.raises(InvalidId):
        decode_id(text)


@pytest.mark.parametrize(
    ("minute", "shard", "part", "unique", "kind"),
    [
        (-1, 0, 0, 16, KIND_TASK),
        (MAX_MINUTE + 1, 0, 0, 16, KIND_TASK),
        (0, -1, 0, 16, KIND_TASK),
        (0, MAX_SHARD + 1, 0, 16, KIND_TASK),
        (0, 0, -1, 16, KIND_TASK),
        (0, 0, MAX_PART + 1, 16, KIND_TASK),
        (0, 0, 0, 15, KIND_TASK),
        (0, 0, 0, 17, KIND_TASK),
        (0, 0, 0, 16, 0),
        (0, 0, 0, 16, 3),
    ],
)
def test_numbers_out_of_range_are_refused(
    minute: int, shard: int, part: int, unique: int, kind: int
) -> None:
    home = Bucket(Minute(minute), ShardId(shard), part)
    with pytest.raises(InvalidId):
        encode_id(IdParts(home, bytes(unique), kind))


@given(namespace=NAMESPACES, request_id=UNIQUE)
def test_a_request_makes_one_unique_number(namespace: str, request_id: bytes) -> None:
    unique = unique_from_request(namespace, request_id)
    assert unique == unique_from_request(namespace, request_id)
    assert UUID(bytes=unique).version == (7 if request_id[6] >> 4 == 7 else 8)
    assert unique[8] >> 6 == 0b10


@given(one=NAMESPACES, two=NAMESPACES, request_id=UNIQUE)
def test_namespaces_do_not_meet(one: str, two: str, request_id: bytes) -> None:
    first, second = unique_from_request(one, request_id), unique_from_request(two, request_id)
    assert (first == second) == (one == two)


@given(one=UNIQUE, two=UNIQUE)
def test_requests_do_not_meet(one: bytes, two: bytes) -> None:
    first, second = unique_from_request("bank", one), unique_from_request("bank", two)
    assert (first == second) == (one == two)


@given(request_id=VERSION_7)
def test_a_version_7_request_keeps_its_time(request_id: bytes) -> None:
    unique = unique_from_request("bank", request_id)
    assert unique[:6] == request_id[:6]
    assert request_time_ms(request_id) == request_time_ms(unique)
    assert request_time_ms(request_id) == int.from_bytes(request_id[:6], "big")


@given(request_id=UNIQUE.filter(lambda raw: raw[6] >> 4 != 7))
def test_other_requests_carry_no_time(request_id: bytes) -> None:
    assert request_time_ms(request_id) is None
    assert request_time_ms(unique_from_request("bank", request_id)) is None


INSTANTS = st.integers(-(2**62), 2**62)


@given(one=INSTANTS, two=INSTANTS)
def test_an_occurrence_is_named_by_schedule_and_nominal_time(one: int, two: int) -> None:
    other = TaskId(GOOD[:-1] + "4")
    first, second = unique_of_occurrence(GOOD, one), unique_of_occurrence(GOOD, two)
    assert (first == second) == (one == two)
    assert unique_of_occurrence(other, one) != first
    assert UUID(bytes=first).version == 8
