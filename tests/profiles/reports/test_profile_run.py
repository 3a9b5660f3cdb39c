"""Profiling: both ways of rendering are told, and a slowed network is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from echoexport.profiles.measuring.modes import IN_TURNS, OVERLAPPED
from echoexport.profiles.reports.profile import (
    ProfileReport,
)
from echoexport.profiles.reports.profile_compare import find_culprits
from echoexport.profiles.reports.profile_run import Profiled, ProfileEffort
from echoexport.runtime.errors import SettingError


def test_both_ways_of_rendering_are_told_with_all_their_networks(
    null_report: ProfileReport,
) -> None:
    assert [mode.name for mode in null_report.modes] == [OVERLAPPED, IN_TURNS]
    for mode in null_report.modes:
        assert mode.frames == 24
        assert {network.name for network in mode.networks} >= {
            "denoising_unet",
            "vae_decoder",
            "audio_encoder",
        }
        decoder = mode.network("vae_decoder")
        assert decoder is not None and decoder.calls == 24
        assert [len(repeat) for repeat in decoder.host.samples] == [24] * 3
        assert mode.wall.figures.count == mode.first_frame.figures.count == 3
        assert 0 < mode.first_frame.figures.p50 < mode.wall.figures.p50
        assert set(mode.load) == set(null_report.bundle.arithmetic)


@pytest.mark.parametrize("slowed", ["denoising_unet", "vae_decoder", "reference_unet"])
def test_a_slowed_network_is_the_one_that_the_comparison_names(
    profile_null: Callable[..., Profiled], slowed: str
) -> None:
    own = dict.fromkeys(("denoising_unet", "vae_decoder", "reference_unet"), 0.002)
    plain = profile_null(own).report
    slow = profile_null({**own, slowed: 0.012}).report
    assert [line.partition(":")[0] for line in find_culprits(plain, slow)] == [
        f"{slowed} is slower"
    ]
    before = plain.modes[-1].network(slowed)
    after = slow.modes[-1].network(slowed)
    assert before is not None and after is not None
    assert after.host.figures.p50 - before.host.figures.p50 == pytest.approx(0.01)


def test_layers_are_left_out_unless_they_are_asked_for(
    profile_null: Callable[..., Profiled], null_report: ProfileReport
) -> None:
    plain = profile_null(repeats=1, frames=4).report
    assert (plain.layers, plain.layers_note.partition(":")[0]) == ((), "not asked for")
    assert {summary.network for summary in null_report.layers} == set(null_report.bundle.arithmetic)
    assert all(summary.count == 1 for summary in null_report.layers)


@pytest.mark.parametrize(("warmup", "repeats"), [(-1, 1), (0, 0)])
def test_a_profile_without_a_repeat_is_refused(warmup: int, repeats: int) -> None:
    with pytest.raises(SettingError, match="repeats"):
        ProfileEffort(warmup=warmup, repeats=repeats)
