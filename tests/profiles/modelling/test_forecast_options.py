"""Options: each change alone and all together, and the costs that ship."""

from __future__ import annotations

from collections.abc import Callable

from echoexport.profiles.modelling.forecast_options import (
    NOT_MEASURED,
    OptionCosts,
    QualityCost,
    list_options,
    read_option_costs,
)
from echoexport.profiles.modelling.pace import (
    Case,
    model_pace,
)
from echoexport.profiles.modelling.roofline import (
    Roof,
)
from echoexport.runtime.contract.manifest import Manifest


def test_every_option_is_quicker_and_all_together_the_quickest(
    case: Case, roof_of: Callable[[str], Roof]
) -> None:
    roof = roof_of("jetson-orin")
    costs = OptionCosts(1, "", {})
    now = model_pace(case, roof)
    options = list_options(case, roof, efficiency=0.5, costs=costs)
    names = [option.name for option in options]
    assert names[:4] == ["4 steps", "2 steps", "384 x 384 px", "256 x 256 px"]
    assert any("TAESD" in name for name in names) and "denoiser in int8" in names
    assert "windows without overlap" in names and names[-1].startswith(
        "all of: 2 steps, 256 x 256 px"
    )
    assert now is not None
    for option in options:
        assert option.fps_here is not None and option.fps_here > now.fps * 0.5, option.name
        assert option.origin == "modelled" and option.cost.note == NOT_MEASURED
    paces = [option.fps_here or 0 for option in options]
    assert max(paces) == paces[-1]


def test_what_is_used_already_is_no_option(
    full_size: Callable[[int], Manifest],
    make_case: Callable[..., Case],
    roof_of: Callable[[str], Roof],
) -> None:
    case = make_case(full_size(256), steps=2, overlap=0, mode="int8")
    case = case.changed(decoder=0.05)
    names = [
        option.name
        for option in list_options(
            case, roof_of("a100"), efficiency=None, costs=OptionCosts(1, "", {})
        )
    ]
    assert not any(
        "steps" in name or "overlap" in name or "int8" in name
        for name in names
        if "all of" not in name
    )
    assert all(int(name.split()[0]) >= 128 for name in names if name.endswith("px"))


def test_a_cost_belongs_to_one_change_from_one_setting(
    case: Case, roof_of: Callable[[str], Roof]
) -> None:
    known = QualityCost(30.0, 0.9, -0.01, "made up")
    options = list_options(
        case, roof_of("a100"), efficiency=None, costs=OptionCosts(1, "", {"steps 6 to 2": known})
    )
    found = {option.name: option.cost for option in options}
    assert found.pop("2 steps") == known
    assert {cost.psnr for cost in found.values()} == {None}


def test_the_shipped_costs_are_measured_and_say_how() -> None:
    costs = read_option_costs()
    assert {
        "steps 6 to 4",
        "steps 6 to 2",
        "steps 4 to 2",
        "overlap 1 to 0",
        "overlap 3 to 0",
        "int8",
    } <= set(costs.costs)
    assert "built-in character" in costs.note and costs.conditions["machine"]
    for key, cost in costs.costs.items():
        assert cost.psnr is not None and 10 < cost.psnr < 60, key
        assert cost.ssim is not None and 0 < cost.ssim < 1, key
        assert (
            cost.lip_sync_change is not None
            and abs(cost.lip_sync_change) < 1
            and "frames" in cost.note
        ), key
    steps = [costs.costs[f"steps 6 to {after}"].psnr or 0 for after in (4, 2)]
    assert steps[0] > steps[1], "fewer steps move further from the default"
