"""The model's pace: factors worked out by hand, bounds, real time and efficiency."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoexport.profiles.modelling.pace import (
    BAND,
    Case,
    call_real_time,
    find_efficiency,
    model_pace,
)
from echoexport.profiles.modelling.roofline import (
    Roof,
    Roofline,
    draw_roofline,
)
from echoexport.runtime.contract.manifest import Manifest
from echoexport.targets.spec import list_targets

# Seconds to make one second at 25 frames a second, worked out by hand at 45 % of the
# dense peak: pixels, steps, lean (no overlap and TAESD's decoder), A100 fp16, H200
# fp16, AGX Orin 64 fp16, the same with everything in int8.
REAL_TIME_FACTORS = [
    (512, 6, False, (2.24, 0.70, 16.4, 8.2)),
    (512, 4, False, (1.64, 0.52, 12.1, 6.0)),
    (512, 4, True, (0.90, 0.28, 6.6, 3.3)),
    (256, 6, False, (0.49, 0.16, 3.6, 1.8)),
    (256, 4, False, (0.37, 0.12, 2.7, 1.34)),
    (256, 4, True, (0.19, 0.06, 1.42, 0.71)),
    (256, 2, True, (0.10, 0.03, 0.74, 0.37)),
]
BOARDS = (
    ("a100", "fp16"),
    ("h200", "fp16"),
    ("jetson-orin", "fp16"),
    ("jetson-orin", "int8 bound"),
)


@pytest.mark.parametrize(("side", "steps", "lean", "factors"), REAL_TIME_FACTORS)
def test_the_model_gives_the_factors_that_were_worked_out_by_hand(
    side: int,
    steps: int,
    lean: bool,
    factors: tuple[float, ...],
    full_size: Callable[[int], Manifest],
    make_case: Callable[..., Case],
    roof_of: Callable[[str], Roof],
) -> None:
    case = make_case(full_size(side), steps=steps)
    if lean:
        taesd = 141e9 * (side / 512) ** 2
        case = case.changed(overlap=0, decoder=taesd / case.works["vae_decoder"].total.mac_flops)
    for (board, mode), factor in zip(BOARDS, factors, strict=True):
        pace = model_pace(case.changed(mode=mode), roof_of(board))
        assert pace is not None
        found = case.fps / (pace.fps * 0.45)
        # 2 % of the denoiser are not ours to do: keys and values of the reference come
        # in; and the table is rounded
        assert abs(found - factor) <= 0.03 * factor + 0.005, f"{board} {mode}: {found}"


def test_a_roof_without_what_is_needed_gives_no_pace(case: Case) -> None:
    assert model_pace(case, Roof(1e12, None)) is None
    assert model_pace(case, Roof(None, 1e12)) is None
    assert model_pace(case.changed(mode="int8"), Roof(1e12, 1e12)) is None
    assert model_pace(case, Roof(1e12, 1e12)) is not None


def test_a_narrow_memory_becomes_the_bound(case: Case) -> None:
    wide, narrow = (model_pace(case, Roof(1e14, bandwidth)) for bandwidth in (1e13, 1e10))
    assert wide is not None and narrow is not None
    assert (wide.bound, narrow.bound) == ("compute", "memory")
    assert narrow.fps < wide.fps


@given(faster=st.floats(1.01, 100))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_faster_board_is_never_slower(case: Case, faster: float) -> None:
    roof = Roof(1e13, 1e11)
    slow = model_pace(case, roof)
    quick = model_pace(case, Roof(1e13 * faster, 1e11 * faster))
    assert slow is not None and quick is not None
    assert quick.fps == pytest.approx(slow.fps * faster)


@pytest.mark.parametrize(
    ("headroom", "verdict"), [(1.01, "yes"), (0.99, "perhaps"), (0.51, "perhaps"), (0.49, "no")]
)
def test_real_time_is_told_by_both_ends_of_the_band(
    case: Case, headroom: float, verdict: str, roof_of: Callable[[str], Roof]
) -> None:
    pace = model_pace(case, roof_of("a100"))
    assert pace is not None
    assert call_real_time(pace, fps=pace.fps * BAND[0] / headroom) == verdict
    assert call_real_time(None, fps=25.0) == "unknown"


def test_full_size_networks_have_kernels_that_are_worth_their_launch(
    case: Case, roof_of: Callable[[str], Roof]
) -> None:
    for name in list_targets():
        pace = model_pace(case, roof_of(name))
        assert pace is None or not pace.launch_bound, name


def test_efficiency_is_that_of_the_calls_of_a_frame(
    case: Case, unknown_roof: Roof, empty_roofline: Roofline
) -> None:
    probe = Roof(1e14, 1e13)
    alone = draw_roofline(
        case.manifest, dict.fromkeys(case.works, 1.0), peak=unknown_roof, probe=probe
    )
    medians = {placed.name: (placed.roof_seconds or 0) / 0.4 for placed in alone.by_probe}
    roofline = draw_roofline(case.manifest, medians, peak=unknown_roof, probe=probe)
    assert find_efficiency(roofline, case.calls) == pytest.approx(0.4)
    medians.pop("vae_decoder")
    assert (
        find_efficiency(
            draw_roofline(case.manifest, medians, peak=unknown_roof, probe=probe), case.calls
        )
        is None
    )
    assert find_efficiency(empty_roofline, case.calls) is None
