"""Texts are found in messages, and what is none is told with an example."""

from __future__ import annotations

from typing import Any

import pytest

from echoexport.runtime.serve.refusals import RefusedError
from echoexport.runtime.serve.voice.items import (
    describe_item,
    find_item_text,
    find_response_text,
    find_text,
)


def item(*texts: str, kind: str = "input_text") -> dict[str, Any]:
    content = [{"type": kind, "text": text} for text in texts]
    return {"type": "message", "role": "user", "content": content}


@pytest.mark.parametrize("kind", ["input_text", "output_text", "text"])
def test_the_texts_of_an_item_are_joined(kind: str) -> None:
    assert find_item_text({"item": item("one", "two", kind=kind)}) == "one two"


def test_a_response_may_bring_its_own_items() -> None:
    assert find_response_text({"response": {"input": [item("one"), item("two")]}}) == "one\ntwo"
    assert find_response_text({}) is None
    assert find_response_text({"response": {"instructions": "Be kind."}}) is None


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"item": 3},
        {"item": {}},
        {"item": {"content": []}},
        {"item": {"content": ["Hello."]}},
        {"item": {"content": [{"type": "input_audio", "audio": ""}]}},
        {"item": {"content": [{"type": "input_text", "text": 5}]}},
    ],
)
def test_an_item_without_a_text_is_told(message: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="input_text"):
        find_item_text(message)


@pytest.mark.parametrize("response", [3, {"input": []}, {"input": "Hello."}, {"input": [3]}])
def test_a_response_of_another_shape_is_told(response: object) -> None:
    with pytest.raises(RefusedError):
        find_response_text({"response": response})


@pytest.mark.parametrize("body", [None, [], {}, {"text": 3}])
def test_a_body_without_a_text_is_told(body: object) -> None:
    with pytest.raises(RefusedError, match="text"):
        find_text(body)
    assert find_text({"text": "Hello."}) == "Hello."


@pytest.mark.parametrize("name", ["mine", None, 5, "", "a" * 65])
def test_an_item_is_told_back_under_its_name_or_one_of_ours(name: object) -> None:
    told = describe_item({"item": {**item("Hello."), "id": name}})
    assert (told["id"] == "mine") == (name == "mine")
    assert told["id"].startswith("item_" if name != "mine" else "mine")
    assert told["role"] == "user"
