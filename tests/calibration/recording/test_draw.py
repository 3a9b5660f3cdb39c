"""The draw: samples of every step and portrait, within both limits, the same each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.calibration.recording.draw import (
    DrawnCall,
    DrawSettings,
    RenderingShape,
    draw_samples,
    measure_bytes,
    seed_noise,
    share_steps,
)
from echoexport.runtime.contract.manifest import NetworkEntry, read_manifest
from echoexport.runtime.errors import SettingError

SETTINGS = DrawSettings(samples=32, megabytes=100, steps=6, guided=False, posed=False, seed=0)


@pytest.fixture
def networks(null_bundle: Path) -> Mapping[str, NetworkEntry]:
    return read_manifest(null_bundle).networks


def shapes_of(
    portraits: int, voices: int, *, frames: int = 12, windows: int = 4
) -> list[RenderingShape]:
    return [
        RenderingShape(f"{portrait}.png", f"{voice}.wav", frames, windows, 1)
        for portrait in range(portraits)
        for voice in range(voices)
    ]


def of_denoiser(calls: tuple[DrawnCall, ...]) -> list[DrawnCall]:
    return [call for call in calls if call.network == "denoising_unet"]


def test_every_step_has_samples_of_every_portrait_where_the_number_allows(
    networks: Mapping[str, NetworkEntry],
) -> None:
    shapes = shapes_of(4, 3)
    calls = of_denoiser(draw_samples(shapes, networks, replace(SETTINGS, samples=24)).calls)
    assert Counter((call.step, shapes[call.number].portrait) for call in calls) == Counter(
        {(step, f"{portrait}.png"): 1 for step in range(6) for portrait in range(4)}
    )
    assert {shapes[call.number].voice for call in calls} == {"0.wav", "1.wav", "2.wav"}
    assert {call.window for call in calls} == {0, 1, 2, 3}


def test_the_first_samples_alone_are_spread_over_steps_and_portraits(
    networks: Mapping[str, NetworkEntry],
) -> None:
    shapes = shapes_of(8, 2)
    calls = of_denoiser(draw_samples(shapes, networks, SETTINGS).calls)
    assert {call.step for call in calls[:6]} == set(range(6))
    assert len({shapes[call.number].portrait for call in calls[:8]}) == 8


def test_a_call_is_known_by_its_place_in_the_sampling_loop(
    networks: Mapping[str, NetworkEntry],
) -> None:
    for guided, halves in ((False, 1), (True, 2)):
        calls = of_denoiser(
            draw_samples(shapes_of(2, 2), networks, replace(SETTINGS, guided=guided)).calls
        )
        for call in calls:
            assert call.step is not None and call.window is not None
            assert call.index == (call.step * 4 + call.window) * halves + call.half


def test_with_guidance_both_halves_are_drawn_but_no_start_without_its_conditions(
    networks: Mapping[str, NetworkEntry],
) -> None:
    calls = of_denoiser(
        draw_samples(shapes_of(3, 2), networks, replace(SETTINGS, guided=True)).calls
    )
    assert {call.half for call in calls if call.step == 0} == {0}
    halves = Counter(call.half for call in calls)
    assert abs(halves[0] - halves[1]) <= 1


def test_far_more_pairs_than_samples_cost_no_more_renderings_than_portraits(
    networks: Mapping[str, NetworkEntry],
) -> None:
    drawn = draw_samples(shapes_of(6, 6), networks, SETTINGS)
    assert len(drawn.numbers()) == 6


def test_what_a_portrait_or_a_voice_gives_is_taken_where_it_is_first_rendered(
    networks: Mapping[str, NetworkEntry],
) -> None:
    shapes = shapes_of(3, 4)
    drawn = draw_samples(shapes, networks, SETTINGS)
    for network, field in (
        ("vae_encoder", "portrait"),
        ("reference_unet", "portrait"),
        ("audio_encoder", "voice"),
    ):
        taken = {
            getattr(shapes[call.number], field): call.number
            for call in drawn.calls
            if call.network == network
        }
        assert taken == {
            name: min(
                number for number in drawn.numbers() if getattr(shapes[number], field) == name
            )
            for name in {getattr(shapes[number], field) for number in drawn.numbers()}
        }


def test_megabytes_lower_the_number_until_all_fits(networks: Mapping[str, NetworkEntry]) -> None:
    shapes = shapes_of(2, 2)
    whole = draw_samples(shapes, networks, SETTINGS)
    tight = draw_samples(shapes, networks, replace(SETTINGS, megabytes=whole.need / 2e6))
    assert 0 < tight.need <= whole.need / 2
    assert 0 < len(of_denoiser(tight.calls)) < 32
    next_one = draw_samples(
        shapes, networks, replace(SETTINGS, samples=len(of_denoiser(tight.calls)) + 1)
    )
    assert next_one.need > whole.need / 2


def test_a_limit_below_one_sample_names_what_is_wanted(
    networks: Mapping[str, NetworkEntry],
) -> None:
    with pytest.raises(
        SettingError, match=r"0\.001 MB: one sample of each network takes \d\.\d MB at this size"
    ):
        draw_samples(shapes_of(1, 1), networks, replace(SETTINGS, megabytes=0.001))


def test_what_samples_share_is_counted_once(networks: Mapping[str, NetworkEntry]) -> None:
    shapes = shapes_of(1, 1)
    first = DrawnCall("denoising_unet", 0, 0, 0, 0)
    one = measure_bytes([first], shapes, networks, posed=False)
    two = measure_bytes([first, replace(first, index=1, window=1)], shapes, networks, posed=False)
    own = {"latents", "audio_tokens"}
    sizes = {t.name: 128 + 4 * _count(t.shape) for t in networks["denoising_unet"].inputs}
    assert two - one == sum(sizes[name] for name in own)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


@given(
    samples=st.integers(1, 40),
    steps=st.integers(1, 12),
    portraits=st.integers(1, 4),
    voices=st.integers(1, 3),
    windows=st.integers(1, 4),
    guided=st.booleans(),
    seed=st.integers(0, 3),
)
def test_any_draw_is_whole_distinct_repeatable_and_holds_a_start(
    samples: int, steps: int, portraits: int, voices: int, windows: int, guided: bool, seed: int
) -> None:
    shapes = shapes_of(portraits, voices, windows=windows)
    settings = DrawSettings(samples, 1e6, steps, guided, False, seed)
    networks = _bare_networks()
    drawn = draw_samples(shapes, networks, settings)
    assert drawn == draw_samples(shapes, networks, settings)
    calls = of_denoiser(drawn.calls)
    half = 2 if guided else 1
    assert len(calls) == min(samples, portraits * voices * windows * (1 + (steps - 1) * half))
    assert len({(call.number, call.index) for call in calls}) == len(calls)
    assert any(call.step == 0 for call in calls)
    assert {call.step for call in calls} == set(range(steps)) or len(calls) < steps


def _bare_networks() -> dict[str, NetworkEntry]:
    names = (
        "vae_encoder",
        "reference_unet",
        "landmark_encoder",
        "audio_encoder",
        "denoising_unet",
        "vae_decoder",
    )
    return {name: NetworkEntry("", "", "", "fp32", 20, 1, (), (), {}) for name in names}


@given(st.integers(1, 60), st.lists(st.integers(1, 20), min_size=1, max_size=30))
def test_shares_add_up_and_differ_by_one_but_for_the_starts(
    samples: int, available: list[int]
) -> None:
    shares = share_steps(samples, available)
    assert sum(shares) == min(samples, sum(available))
    assert all(0 <= share <= most for share, most in zip(shares, available, strict=True))
    unfilled = [
        share for share, most in zip(shares[1:], available[1:], strict=True) if share < most
    ]
    assert max(unfilled, default=0) - min(unfilled, default=0) <= 1
    assert shares[0] >= min(3, available[0], max(1, samples - len(available) + 1))


def test_fewer_samples_than_steps_are_spread_over_the_trajectory() -> None:
    chosen = [step for step, share in enumerate(share_steps(4, [9] * 32)) if share]
    assert chosen == [0, 8, 16, 24]


def test_renderings_have_noise_of_their_own() -> None:
    seeds = {seed_noise(seed, portrait, "v") for seed in (0, 1) for portrait in ("a", "b")}
    assert len(seeds) == 4 and all(0 <= seed < 2**64 for seed in seeds)
    assert seed_noise(0, "a", "v") == seed_noise(0, "a", "v")
