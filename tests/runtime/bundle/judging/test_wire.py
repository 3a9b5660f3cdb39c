"""Messages taken apart: within their bounds, whatever the bytes are."""

from __future__ import annotations

import pytest
from fixtures.graph_bytes import write_field, write_number
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.bundle.judging.wire import ObjectionError, Wire


def test_fields_are_given_in_their_order_with_their_places() -> None:
    content = write_field(1, 300) + write_field(2, b"abc") + write_field(3, 0.5)
    fields = Wire(content).read_fields(0, len(content))
    assert fields == [(1 << 3, 300, -1), (2 << 3 | 2, 5, 8), (3 << 3 | 5, 9, 13)]
    assert content[5:8] == b"abc"


def test_a_field_that_nobody_knows_is_given_like_any_other() -> None:
    content = write_field(4000, b"later") + write_field(1, 7)
    assert Wire(content).read_fields(0, len(content))[1:] == [(1 << 3, 7, -1)]


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_a_signed_number_comes_back(value: int) -> None:
    content = write_number(value)
    assert Wire(content).read_numbers(0, len(content)) == [value]


@given(st.text(max_size=40))
def test_a_name_comes_back(name: str) -> None:
    content = name.encode()
    assert Wire(content).read_text(0, len(content)) == name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (write_field(1, b"abc")[:-1], "ends too early"),
        (b"\x0a", "no end"),
        (b"\x08\x80", "no end"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "no end"),
        (b"\x08" + b"\xff" * 9 + b"\x7f", "no end"),
        (b"\x0b", "kind 3"),
        (b"\x00\x01", "number 0"),
        (b"\x09\x01\x02", "ends too early"),
    ],
)
def test_what_leaves_its_message_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ObjectionError, match=said):
        Wire(content).read_fields(0, len(content))


def test_a_field_ends_with_its_message_and_not_with_the_file() -> None:
    content = write_field(1, b"abc") + b"more"
    with pytest.raises(ObjectionError, match="ends too early"):
        Wire(content).read_fields(0, 4)


def test_a_file_of_too_many_fields_is_refused_wherever_they_are() -> None:
    content = write_field(1, 0) * 6
    wire = Wire(content, most_fields=10)
    assert len(wire.read_fields(0, 12)) == 6
    with pytest.raises(ObjectionError, match="too many fields"):
        wire.read_fields(0, 12)


def test_a_name_and_a_list_beyond_ours_are_refused_unread() -> None:
    with pytest.raises(ObjectionError, match="takes 5000 bytes"):
        Wire(b"a" * 5000).read_text(0, 5000)
    with pytest.raises(ObjectionError, match="takes 70000 bytes"):
        Wire(b"\x01" * 70000).read_numbers(0, 70000)
    with pytest.raises(ObjectionError, match="no text"):
        Wire(b"\xff\xfe").read_text(0, 2)


@given(st.binary(max_size=80))
def test_any_bytes_are_fields_within_them_or_refused(content: bytes) -> None:
    try:
        fields = Wire(content).read_fields(0, len(content))
    except ObjectionError:
        return
    assert all(stop == -1 or 0 < start <= stop <= len(content) for _, start, stop in fields)
    assert len(fields) <= len(content) // 2
