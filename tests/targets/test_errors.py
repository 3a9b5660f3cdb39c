"""The root of the error tree: what is unknown is named, with what is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.targets.errors import EchoExportError, TargetError, UnknownNameError


def test_an_unknown_name_is_answered_with_all_known_ones_in_order_and_the_nearest() -> None:
    error = UnknownNameError("backend", "openvno", known=["ort", "openvino", "null"])
    assert str(error) == (
        "unknown backend 'openvno'; known: null, openvino, ort. Did you mean 'openvino'?"
    )
    assert error.name == "openvno"


def test_a_name_that_is_like_no_other_gets_no_hint() -> None:
    error = UnknownNameError("target", "xyz", known=["cpu"])
    assert str(error) == "unknown target 'xyz'; known: cpu."


def test_where_nothing_is_known_the_message_says_so() -> None:
    assert (
        str(UnknownNameError("recipe", "full", known=())) == "unknown recipe 'full'; known: none."
    )


@given(st.sets(st.text("abcdefgh", min_size=5, max_size=9), min_size=1, max_size=6), st.data())
def test_a_known_name_with_its_last_letter_missing_is_always_guessed_as_some_known_one(
    known: set[str], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(known)))
    message = str(UnknownNameError("thing", name[:-1] + "z", known=known))
    hint = message.partition("Did you mean ")[2].rstrip("?").strip("'")
    assert hint in known


@pytest.mark.parametrize("kind", [UnknownNameError, TargetError])
def test_every_error_of_targets_is_one_that_a_user_can_act_on(kind: type[Exception]) -> None:
    assert issubclass(kind, EchoExportError)
