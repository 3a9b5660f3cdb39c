"""The tree of errors is the one that its module draws, and each error says what would work."""

from __future__ import annotations

import re

import pytest

from echoexport.runtime import errors
from echoexport.runtime.errors import BackendError, EchoExportError, MissingPackageError


def drawn_tree() -> dict[str, str]:
    """Each drawn error's name, and that of the error that it hangs from."""
    above: list[str] = []
    parents = {}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r" {4}((?:│   |    )*)(?:├── |└── )(\w+) ", line)
        if found is not None:
            depth = len(found[1]) // 4
            parents[found[2]] = above[depth - 1] if depth else "EchoExportError"
            above[depth:] = [found[2]]
    return parents


def real_tree(parent: type[EchoExportError] = EchoExportError) -> dict[str, str]:
    """The same of the classes that exist."""
    found = {}
    for child in parent.__subclasses__():
        if child.__module__ in (errors.__name__, "echoexport.targets.errors"):
            found |= {child.__name__: parent.__name__, **real_tree(child)}
    return found


def test_the_drawn_tree_is_that_of_the_classes() -> None:
    assert drawn_tree() == real_tree()


def test_all_of_it_can_be_imported_from_one_place() -> None:
    assert set(errors.__all__) == {"EchoExportError", *real_tree()}
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), EchoExportError)


@pytest.mark.parametrize("name", sorted(errors.__all__))
def test_each_error_says_what_it_is_for(name: str) -> None:
    first = (getattr(errors, name).__doc__ or "").splitlines()[0]
    assert first.endswith(".")


def test_a_missing_package_names_the_command_that_brings_it() -> None:
    error = MissingPackageError("openvino", extra="openvino", purpose="backend 'openvino'")
    assert str(error) == "backend 'openvino' needs openvino: pip install 'echoexport[openvino]'"
    assert (error.package, error.extra) == ("openvino", "openvino")
    assert isinstance(error, BackendError)
