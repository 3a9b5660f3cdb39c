"""What drives a face is told apart by name in one module alone; all others ask the drive."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from echoexport.runtime.contract.families import find_family, list_families

ROOT = Path(__file__).parent.parent
ROOMS = ("calibration", "export", "profiles", "runtime", "targets")
ONE_PLACE = Path("runtime/conditioning/drives.py")
DRIVES = {drive.name for name in list_families() for drive in find_family(name).drives}


def names_drive(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in DRIVES


def holds_drive(node: ast.expr) -> bool:
    """The ``face`` of a manifest or a variant, where a drive's name stands."""
    return isinstance(node, ast.Attribute) and node.attr == "face"


def find_comparisons(source: str) -> list[int]:
    """Lines in which something is compared with a drive's name, or looked up by it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            parts = [part for side in sides for part in getattr(side, "elts", [side])]
            if any(names_drive(part) for part in parts):
                found.append(node.lineno)
        elif isinstance(node, ast.Subscript) and holds_drive(node.slice):
            found.append(node.lineno)
    return found


def test_drives_are_compared_in_one_module() -> None:
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    found = {
        path.relative_to(ROOT): lines
        for path in paths
        if (lines := find_comparisons(path.read_text("utf-8")))
    }
    assert set(found) == {ONE_PLACE}


@pytest.mark.parametrize(
    "fault",
    [
        "posed = manifest.face == 'pose'",
        "if 'mask' != bundle.manifest.face: pass",
        "if manifest.face in ('pose', 'hands'): pass",
        "if manifest.drive.name == 'mask': pass",
        "channels = {'mask': 1, 'pose': 3}[variant.face]",
    ],
)
def test_a_comparison_elsewhere_would_be_found(fault: str) -> None:
    assert find_comparisons(fault) == [1]


@pytest.mark.parametrize(
    "source",
    ["moves = manifest.drive.every_frame", "size_networks(a, face='mask')", "x, y = scene.face"],
)
def test_what_a_drive_says_of_itself_is_no_comparison(source: str) -> None:
    assert find_comparisons(source) == []
