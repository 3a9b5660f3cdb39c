"""Texts in messages: the ``say`` of the REST twin, and the items of the OpenAI Realtime events."""

from __future__ import annotations

import secrets
from typing import Any

from echoexport.runtime.serve.refusals import RefusedError, refuse

_PARTS = ("input_text", "output_text", "text")
"""Kinds of content that hold a text; a user's own, a model's, and the older spelling."""
_LONGEST_NAME = 64


def find_text(body: object) -> str:
    """The text of ``{"text": ...}``.

    Raises:
        RefusedError: there is none.
    """
    text = body.get("text") if isinstance(body, dict) else None
    if not isinstance(text, str):
        raise RefusedError(refuse(400, """the body is {"text": "what is to be said"}"""))
    return text


def find_item_text(message: dict[str, Any]) -> str:
    """What the item of a ``conversation.item.create`` says, whoever's it is.

    Raises:
        RefusedError: it is no message with a text.
    """
    return _join_parts(message.get("item"))


def describe_item(message: dict[str, Any]) -> dict[str, Any]:
    """The item that was kept, as it is told back: under the client's id, or one of ours."""
    sent = message["item"]
    name = sent.get("id")
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
        name = f"item_{secrets.token_hex(8)}"
    told = {"id": name, "object": "realtime.item", "type": "message", "status": "completed"}
    return {**told, "role": str(sent.get("role", "user"))[:_LONGEST_NAME]}


def find_response_text(message: dict[str, Any]) -> str | None:
    """What a ``response.create`` brings itself, in ``response.input``; None without.

    Raises:
        RefusedError: it is no list of messages with a text.
    """
    response = message.get("response", {})
    items = response.get("input") if isinstance(response, dict) else response
    if items is None:
        return None
    if not isinstance(items, list) or not items:
        raise RefusedError(refuse(400, "'response.input' is a list of items of type message"))
    return "\n".join(_join_parts(item) for item in items)


def _join_parts(item: object) -> str:
    parts = item.get("content") if isinstance(item, dict) else None
    if not isinstance(parts, list) or not parts:
        raise _refuse_item()
    found = []
    for part in parts:
        if not isinstance(part, dict) or part.get("type") not in _PARTS:
            raise _refuse_item()
        text = part.get("text")
        if not isinstance(text, str):
            raise _refuse_item()
        found.append(text)
    return " ".join(found)


def _refuse_item() -> RefusedError:
    told = """an item is {"type": "message", "content": [{"type": "input_text", "text": "..."}]}"""
    return RefusedError(refuse(400, told))
