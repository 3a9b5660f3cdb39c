"""The script that tries the ends of the ranges, and that what it tries is what is declared."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NOT_TRIED = {"onnxruntime-gpu", "tensorrt-rtx", "export", "docs", "dev"}
"""Extras that need a GPU, or are not the runtime's."""


def load_script() -> ModuleType:
    found = importlib.util.spec_from_file_location(
        "script_run_range_tests", HERE / "run_range_tests.py"
    )
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> Any:
    return load_script()


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """What pyproject.toml says of the project."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return dict(told["project"])


@pytest.fixture
def write_junit(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the result of a run of cases, each a name and what is in it."""

    def write(**cases: str) -> Path:
        inside = "".join(
            f'<testcase classname="tests.a" name="{name}">{content}</testcase>'
            for name, content in cases.items()
        )
        counts = (
            f'tests="{len(cases)}" failures="{inside.count("<failure")}" '
            f'errors="{inside.count("<error")}" skipped="{inside.count("<skipped")}"'
        )
        (tmp_path / "tests.xml").write_text(
            f"<testsuites><testsuite {counts}>{inside}</testsuite></testsuites>"
        )
        return tmp_path / "tests.xml"

    return write


@pytest.fixture
def make_python(tmp_path: Path) -> Callable[[str, str], Path]:
    """A function that writes a program that answers as an interpreter would, or does not."""

    def make(name: str, program: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{program}\n")
        path.chmod(0o755)
        return path

    return make


def test_every_extra_of_the_runtime_is_tried(script: Any, project: dict[str, Any]) -> None:
    assert set(script.EXTRAS) == set(project["optional-dependencies"]) - NOT_TRIED


def test_the_pythons_begin_with_the_oldest_that_is_declared(
    script: Any, project: dict[str, Any]
) -> None:
    assert project["requires-python"] == f">={script.PYTHONS[0]}"


def test_every_range_has_a_lower_end_and_holds_what_the_checks_run_with(
    script: Any, project: dict[str, Any]
) -> None:
    extras = [line for extra in script.EXTRAS for line in project["optional-dependencies"][extra]]
    ranges = [Requirement(line) for line in (*project["dependencies"], *extras)]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = {
        canonicalize_name(pin.name): next(iter(pin.specifier)).version
        for pin in (Requirement(line) for line in lines if re.match(r"[\w-]+==", line))
    }
    for each in ranges:
        assert ">=" in {one.operator for one in each.specifier}, each
        assert each.specifier.contains(Version(pins[canonicalize_name(each.name)])), each


def test_what_is_run_is_there(script: Any) -> None:
    for name in (*script.TESTS, *script.BUILDING):
        assert (ROOT / name).exists(), name


def test_corners_are_read_and_own_is_the_python_that_runs(script: Any) -> None:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    read = script.parse_corners("3.13-newest own-lowest")
    assert [str(corner) for corner in read] == ["3.13-newest", f"{own}-lowest"]


@pytest.mark.parametrize("text", ["3.10", "3.10-oldest", "2.7-lowest", "lowest"])
def test_a_corner_that_is_none_is_refused(
    script: Any, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        script.main(["--corners", text])
    assert f"{text!r} is none such as 3.10-lowest" in capsys.readouterr().err


def test_a_python_that_does_not_start_or_is_another_is_passed_over(
    script: Any, make_python: Callable[[str, str], Path]
) -> None:
    shim = make_python("shim", "echo not installed >&2; exit 127")
    other = make_python("other", "echo 3.9")
    right = make_python("right", "echo 3.12")
    places = [shim.with_name("none"), shim, other, right]
    assert script.find_python(places, version="3.12") == str(right)
    assert script.find_python(places[:-1], version="3.12") is None


def test_where_no_python_is_found_each_is_named_and_nothing_passes(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "list_pythons", lambda version: [])
    monkeypatch.setattr(script, "find_uv", lambda folder: "uv")
    monkeypatch.setenv(script.BUNDLES, str(tmp_path))
    assert script.main(["--folder", str(tmp_path), "--corners", "3.10-lowest 3.11-newest"]) == 1
    told = capsys.readouterr().out
    assert "3.10-lowest: not run, no Python 3.10 was found" in told
    assert "3.11-newest: not run, no Python 3.11 was found" in told


def test_failures_and_reasons_of_what_was_skipped_are_told(
    script: Any, write_junit: Callable[..., Path]
) -> None:
    path = write_junit(a="", b="<failure/>", c="<error/>", d='<skipped message="no GPU here"/>')
    verdict = script.read_verdict(path)
    assert verdict.faults == ["tests.a::b", "tests.a::c"]
    assert script.describe_verdict(script.Corner("3.10", "lowest"), verdict) == [
        "3.10-lowest: 1 passed, 2 failed, 1 skipped",
        "  skipped 1: no GPU here",
        "  FAILED tests.a::b",
        "  FAILED tests.a::c",
    ]


@pytest.mark.parametrize(
    "reason",
    [
        "could not import 'openvino': No module named 'openvino'",
        "could not import 'onnxruntime.quantization': No module named 'onnxruntime'",
        "onnxruntime is not installed: pip install 'echoexport[onnxruntime]'",
    ],
)
def test_a_test_skipped_for_want_of_what_should_be_there_is_a_fault(
    script: Any, write_junit: Callable[..., Path], reason: str
) -> None:
    verdict = script.read_verdict(write_junit(a=f'<skipped message="{reason}"/>'))
    assert verdict.faults == [f"tests.a::a was skipped: {reason}"]


@pytest.mark.parametrize(
    "reason",
    [
        "could not import 'torch': No module named 'torch'",
        "this onnxruntime records no placement",
        "cuda-python is not installed: pip install cuda-python",
    ],
)
def test_what_a_range_does_not_promise_may_be_missing(
    script: Any, write_junit: Callable[..., Path], reason: str
) -> None:
    verdict = script.read_verdict(write_junit(a=f'<skipped message="{reason}"/>'))
    assert verdict.faults == []
    assert verdict.skipped == {reason: 1}


def test_a_run_that_finds_no_test_is_a_fault(script: Any, write_junit: Callable[..., Path]) -> None:
    assert script.read_verdict(write_junit()).faults == ["no test was found"]


def test_an_environment_is_kept_from_what_leads_python_elsewhere(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONPATH", "PYTEST_ADDOPTS", "ECHOEXPORT_CACHE", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "elsewhere")
    kept = script.clean_environment()
    assert "elsewhere" not in kept.values()
    assert "PATH" in kept


def test_a_command_that_fails_is_told_with_its_last_words(script: Any) -> None:
    with pytest.raises(script.RangeError, match=r"(?s)ended with 3:\nno such version"):
        script.run([sys.executable, "-c", "import sys; print('no such version'); sys.exit(3)"])
