"""The guide to a Jetson: what was not tried, tables, mounts and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fixtures.deploy_files import (
    DOCKERFILES,
    GUIDE,
    ROOT,
    UNITS,
)

from echoexport.runtime.device.jetson import (
    DEVICE_TREE,
    JETPACKS,
    MODULES,
    POWER_MODES,
    POWER_STATUS,
    RELEASE,
)


@pytest.mark.parametrize("path", [*DOCKERFILES, *UNITS], ids=lambda path: path.name)
def test_what_was_not_run_on_hardware_says_so(path: Path) -> None:
    assert "# NOT RUN ON HARDWARE." in path.read_text("utf-8")
    assert f"(deploy/{path.name})" in GUIDE


def test_the_guide_begins_with_what_was_not_tried() -> None:
    assert GUIDE.splitlines()[2].startswith("**Nothing on this page was run on a Jetson.**")


def test_the_guides_tables_are_those_of_the_program() -> None:
    releases = dict(re.findall(r"^\| (\d+\.\d+\.\d+) \| ([\d.]+) \|$", GUIDE, re.MULTILINE))
    assert releases == JETPACKS
    rows = re.findall(r"^\| [^|]+ \| (p3[^|]+) \| ([^|]+) \|$", GUIDE, re.MULTILINE)
    told = {
        number: target.strip("` ")
        for numbers, target in rows
        for number in re.findall(r"p\d{4}-\d{4}", numbers)
    }
    assert {number: target or "none: too small" for number, (_, target) in MODULES.items()} == told


def test_the_guides_container_mounts_every_file_that_names_the_board() -> None:
    mounts = set(re.findall(r"-v (\S+):(\S+):ro", GUIDE))
    assert (DEVICE_TREE[0], DEVICE_TREE[1]) in mounts
    for file in (RELEASE, POWER_MODES, str(Path(POWER_STATUS).parent)):
        assert (file, file) in mounts


def test_links_of_the_guide_lead_somewhere() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", GUIDE)
    assert len(linked) >= 4
    assert [link for link in linked if not (ROOT / "docs" / link).exists()] == []
