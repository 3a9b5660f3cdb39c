"""A plan on disk: it comes back as it was, edited or not, and what it may not say is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.calibration.plan import (
    PLAN_SCHEMA,
    LayerPlan,
    NetworkPlan,
    QuantizationPlan,
    Smoothing,
    read_plan,
    write_plan,
)
from echoexport.runtime.errors import CalibrationError

PLAN = QuantizationPlan(
    PLAN_SCHEMA,
    "minmax, mean over steps",
    "ab" * 32,
    {
        "denoising_unet": NetworkPlan(
            "int8",
            {
                "conv_in": LayerPlan("float", None, "policy: conv_in"),
                "mid": LayerPlan("int8", 2.5),
                "out": LayerPlan("weights"),
            },
            {"x": Smoothing(0.5, (1.0, 2.0))},
            ("softmax_1",),
            {"residual": 4.0},
        )
    },
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_plan(PLAN, tmp_path / "plan.json")
    return tmp_path / "plan.json"


def edit(path: Path, change: Any) -> None:
    """Change what the file says of the denoiser."""
    data = json.loads(path.read_text())
    change(data["networks"]["denoising_unet"])
    path.write_text(json.dumps(data))


def test_a_plan_comes_back_as_it_was_in_the_same_bytes(path: Path, tmp_path: Path) -> None:
    found = read_plan(path)
    assert found == PLAN
    write_plan(found, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_an_edited_range_is_read(path: Path) -> None:
    edit(path, lambda network: network["layers"]["mid"].update(amax=3.5))
    assert read_plan(path).networks["denoising_unet"].layers["mid"].amax == 3.5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda n: n["layers"]["mid"].update(mode="int4"), "layer mid: mode 'int4'; known: int8"),
        (lambda n: n["layers"]["mid"].update(amax=0.0), "needs an amax above 0, found 0.0"),
        (lambda n: n["layers"]["mid"].update(amax=None), "needs an amax above 0, found None"),
        (lambda n: n["smoothing"]["x"].update(factors=[1.0, 0.0]), "smoothing of x: factors"),
        (lambda n: n.update(more=1), "unknown key 'more'"),
        (lambda n: n.pop("precision"), "precision"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_with_the_file_and_the_place(
    path: Path, change: Any, told: str
) -> None:
    edit(path, change)
    with pytest.raises(CalibrationError, match=told) as error:
        read_plan(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("content", "told"), [("", "not readable JSON"), ("[", "not readable JSON"), ("[]", "plan")]
)
def test_what_is_no_plan_is_refused(path: Path, content: str, told: str) -> None:
    path.write_text(content)
    with pytest.raises(CalibrationError, match=told):
        read_plan(path)
    path.unlink()
    with pytest.raises(CalibrationError, match="cannot be read: No such file"):
        read_plan(path)


def test_a_plan_of_another_release_says_which_this_one_reads(path: Path) -> None:
    data = json.loads(path.read_text()) | {"schema": PLAN_SCHEMA + 1}
    path.write_text(json.dumps(data))
    with pytest.raises(CalibrationError, match=f"schema {PLAN_SCHEMA + 1}; this release reads"):
        read_plan(path)


@given(
    st.dictionaries(st.text(max_size=9), st.floats(1e-30, 1e30), max_size=4),
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5),
)
def test_any_ranges_and_factors_survive_the_file(
    ranges: dict[str, float], factors: list[float]
) -> None:
    import tempfile

    layers = {name: LayerPlan("int8", amax) for name, amax in ranges.items()}
    network = NetworkPlan("int8", layers, {"x": Smoothing(0.5, tuple(factors))})
    plan = QuantizationPlan(PLAN_SCHEMA, "m", "c", {"net": network})
    with tempfile.TemporaryDirectory() as folder:
        write_plan(plan, Path(folder) / "plan.json")
        assert read_plan(Path(folder) / "plan.json") == plan
