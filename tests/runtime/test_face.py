"""The runtime's public face: whole, and all that one needs to use what it offers."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fixtures.house import ROOT, files_of

import echoexport.runtime as face
from echoexport.runtime import errors

# Public classes that a signature names though nobody outside makes or takes one.
BEHIND_THE_FACE = {
    # A Rendering is made of these by a Session alone.
    "PictureDecoder",
    "Sampling",
    # And a Conversation of these by open_live.
    "LiveHost",
    "LiveNumbers",
    "LivePortrait",
}


def list_public_classes() -> set[str]:
    """Names of the classes that the runtime's modules define."""
    trees = [ast.parse(path.read_text("utf-8")) for path in files_of("runtime")]
    names = {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    return {name for name in names if not name.startswith("_")}


def list_annotations(offered: Any) -> Iterator[str]:
    """The types that one meets in using what the face offers, as they are written."""
    if not inspect.isclass(offered):
        yield from map(str, getattr(offered, "__annotations__", {}).values())
        return
    for name, member in {**vars(offered)}.items():
        if name == "__annotations__":
            yield from map(str, member.values())
        elif not name.startswith("_") or name == "__init__":
            function = getattr(member, "fget", member)
            yield from map(str, getattr(function, "__annotations__", {}).values())


def test_the_face_names_what_it_offers_and_all_of_it_is_there() -> None:
    assert list(face.__all__) == sorted(set(face.__all__))
    assert [name for name in face.__all__ if not hasattr(face, name)] == []


def test_what_the_face_imports_it_offers() -> None:
    tree = ast.parse((ROOT / "runtime" / "__init__.py").read_text("utf-8"))
    typed = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("echoexport")
        for alias in node.names
    }
    found = {name: f"echoexport.runtime.{module}" for name, module in face._MODULE_OF.items()}
    assert found == typed
    assert found.keys() == set(face.__all__)


def test_a_name_that_the_face_has_not_is_refused() -> None:
    with pytest.raises(AttributeError, match=r"'echoexport\.runtime' has no attribute 'nothing'"):
        _ = face.nothing


def test_every_error_that_a_call_may_raise_can_be_caught_by_name() -> None:
    assert set(errors.__all__) - set(face.__all__) == set()


@pytest.mark.parametrize("name", face.__all__)
def test_the_types_in_a_signature_of_the_face_are_on_the_face_too(name: str) -> None:
    words = {
        word for text in list_annotations(getattr(face, name)) for word in re.findall(r"\w+", text)
    }
    hidden = words & list_public_classes() - set(face.__all__) - BEHIND_THE_FACE
    assert hidden == set()


def test_a_type_that_is_missing_from_the_face_would_be_seen() -> None:
    words = {word for text in list_annotations(face.Rendering) for word in re.findall(r"\w+", text)}
    assert words & list_public_classes() - set(face.__all__) == {"PictureDecoder", "Sampling"}
