from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timeball.errors import FailedPrecondition, InvalidRequest
from timeball.payload import CONTENT_TYPE, decode_result, encode_arguments

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1), values, max_size=4))
def test_arguments_survive_the_journey(arguments: dict[str, object]) -> None:
    assert decode_result(encode_arguments(arguments), CONTENT_TYPE, Any) == arguments


def test_the_argument_without_a_json_form_is_named() -> None:
    for wrong in (object(), "\ud800", {1: object()}):
        with pytest.raises(InvalidRequest) as caught:
            encode_arguments({"fine": 1, "amount": wrong})
        assert caught.value.violations[0].field == "$.amount"


def test_results() -> None:
    assert decode_result(b"", "", int) is None
    assert decode_result(b"5", "application/json; charset=utf-8", int) == 5
    assert decode_result(b"raw", "application/pdf", bytes) == b"raw"


@pytest.mark.parametrize(
    ("data", "content_type"),
    [(b'"five"', CONTENT_TYPE), (b"5", "text/plain"), (b"{", CONTENT_TYPE)],
)
def test_a_result_of_another_type_is_refused(data: bytes, content_type: str) -> None:
    with pytest.raises(FailedPrecondition):
        decode_result(data, content_type, int)
