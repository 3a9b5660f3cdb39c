"""The benchmarks and the GPU's script still find all that they import, though nobody runs them."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
GPU = HERE.parent / "gpu" / "run_gpu_tests.py"
SCRIPTS = [*sorted(path for path in HERE.glob("*.py") if path != Path(__file__)), GPU]


def find_imports(source: str) -> Iterator[tuple[str, str]]:
    """Every (module, name) of ours that is imported, however deep; the name may be empty."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def find_mentions(source: str) -> Iterator[tuple[str, str]]:
    """Imports and dotted names in text, as in a program that a script hands to a process."""
    for module, names in re.findall(r"from (echoexport[\w.]*) import (\w+(?:, \w+)*)", source):
        yield from ((module, name) for name in names.split(", "))
    for dotted in re.findall(r"(?<![\w.])echoexport(?:\.\w+)+", source):
        yield dotted.rpartition(".")[0], dotted.rpartition(".")[2]


def is_there(module: str, name: str) -> bool:
    """Whether a module exists, and has a submodule or an attribute of that name."""
    try:
        loaded = importlib.import_module(module)
    except ImportError:
        return False
    if not name or hasattr(loaded, name):
        return True
    return hasattr(loaded, "__path__") and importlib.util.find_spec(f"{module}.{name}") is not None


def list_missing(source: str) -> list[str]:
    ours = [
        (module, name)
        for module, name in find_imports(source)
        if module.partition(".")[0] == "echoexport"
    ]
    return [
        f"{module}: {name}"
        for module, name in [*ours, *find_mentions(source)]
        if not is_there(module, name)
    ]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_all_that_a_script_imports_of_ours_is_there(path: Path) -> None:
    assert list_missing(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "def late():\n    from echoexport.runtime.bundle.opened import open_nothing",
        "import echoexport.runtime.bundel",
        'PROGRAM = "import sys; from echoexport.runtime import Bundle, Bandle"',
        'COMMAND = ["-m", "echoexport.export.demo.practice"]',
    ],
)
def test_the_checker_sees_what_is_missing(source: str) -> None:
    assert list_missing(source)


def test_every_script_is_loaded_without_running(tmp_path: Path) -> None:
    # One interpreter for all of them: each would load torch anew.
    code = """
import runpy, sys
for path in sys.argv[2:]:
    sys.path[0] = path.rpartition('/')[0]
    try:
        runpy.run_path(path, run_name='loaded')
    except BaseException as error:
        print(f'{path}: {error!r}')
"""
    command = [sys.executable, "-c", code, "", *map(str, SCRIPTS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert list(tmp_path.iterdir()) == []
