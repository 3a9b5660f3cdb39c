"""A new character takes the shipped one's place only where its measured figures are better."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.demo.adopt import adopt_checkpoint, find_objections, read_figures
from echoexport.runtime.errors import InputError

LIMITS = {"correlation": 0.85, "ssim": 0.95, "psnr": 28.0, "flicker": 1.5}
SHIPPED = {"correlation": 0.92, "ssim": 0.98, "psnr": 36.0, "flicker": 1.4}


def figures(**values: float) -> dict[str, Any]:
    found = {**SHIPPED, **values}
    lines = [
        {
            "name": name,
            "value": value,
            "passed": value <= LIMITS[name] if name == "flicker" else value >= LIMITS[name],
        }
        for name, value in found.items()
    ]
    return {"settings": {"clips": 44, "steps": 6}, "lines": lines}


@pytest.mark.parametrize(
    "better", [{"correlation": 0.93}, {"ssim": 0.985}, {"psnr": 36.5}, {"flicker": 1.3}]
)
def test_one_figure_that_is_better_is_enough(better: dict[str, float]) -> None:
    assert find_objections(figures(**better), figures()) == []


def test_a_difference_within_the_noise_is_none() -> None:
    (told,) = find_objections(figures(correlation=0.923, psnr=36.2), figures())
    assert told == "no figure is better by more than its noise"


def test_a_figure_that_is_worse_outweighs_any_gain() -> None:
    (told,) = find_objections(figures(correlation=0.95, ssim=0.97), figures())
    assert told == "ssim: 0.970 is worse than 0.980"


def test_a_gate_that_was_met_may_not_be_missed() -> None:
    told = find_objections(figures(correlation=0.95, flicker=1.51), figures(flicker=1.49))
    assert told == ["flicker: 1.510 misses a gate that 1.490 met"]


def test_a_gate_newly_met_is_an_improvement() -> None:
    assert find_objections(figures(flicker=1.49), figures(flicker=1.52)) == []


def test_figures_of_other_settings_are_not_compared() -> None:
    other = copy.deepcopy(figures(correlation=0.99))
    other["settings"]["clips"] = 4
    assert "other settings" in find_objections(other, figures())[0]


def test_a_checkpoint_is_replaced_whole(tmp_path: Path) -> None:
    new = tmp_path / "new"
    place = tmp_path / "place"
    for folder in (new, place):
        folder.mkdir()
    (new / "echoexport.yaml").write_text("new")
    (place / "left-over.pth").write_text("old")
    adopt_checkpoint(new, place)
    assert [path.name for path in place.iterdir()] == ["echoexport.yaml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "place"]


def test_what_is_no_checkpoint_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with pytest.raises(InputError, match=r"no echoexport\.yaml"):
        adopt_checkpoint(tmp_path, tmp_path / "place")


def test_a_file_without_figures_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"lines": []}')
    with pytest.raises(InputError, match=r"bad\.json: figures are missing: correlation"):
        read_figures(tmp_path / "bad.json")


def test_the_command_says_why_and_changes_nothing(tmp_path: Path) -> None:
    for name, content in (("new.json", figures(correlation=0.9)), ("old.json", figures())):
        (tmp_path / name).write_text(json.dumps(content))
    command = [sys.executable, "-m", "echoexport.export.demo.adopt", str(tmp_path)]
    options = ["--figures", str(tmp_path / "new.json"), "--shipped", str(tmp_path / "old.json")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr.startswith("error: ")
        and "correlation: 0.900 is worse than 0.920" in done.stderr
    )
    assert json.loads((tmp_path / "old.json").read_text()) == figures()
