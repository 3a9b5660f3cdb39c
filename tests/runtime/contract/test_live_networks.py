"""The shapes of the networks for live, as a manifest's tensors have them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from echoexport.runtime.contract.live_networks import (
    LiveAudio,
    choose_rows,
    describe_clips_audio,
    find_live_audio,
    find_live_denoiser,
)
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.errors import BundleError


@pytest.fixture
def live_manifest(make_null_bundle: Callable[..., Path]) -> Manifest:
    """Of a bundle with windows of six frames and the networks for live."""
    return read_manifest(make_null_bundle(frames=6, live=True))


def rename_outputs(manifest: Manifest, name: str, old: str) -> Manifest:
    entry = manifest.networks[name]
    outputs = tuple(
        replace(tensor, name=tensor.name.replace(old, "other")) for tensor in entry.outputs
    )
    networks = {**manifest.networks, name: replace(entry, outputs=outputs)}
    return replace(manifest, networks=networks)


def test_a_bundle_without_them_has_neither(null_bundle: Path) -> None:
    manifest = read_manifest(null_bundle)
    assert find_live_audio(manifest) is None
    assert find_live_denoiser(manifest) is None


def test_the_audio_encoder_hears_some_seconds_and_one_column(live_manifest: Manifest) -> None:
    audio = find_live_audio(live_manifest)
    assert audio == LiveAudio(columns=451, rows=10, chooses=True)
    assert (audio.heard, audio.fixed) == (451, False)


def test_one_without_a_choice_of_rows_is_fixed_to_its_last(live_manifest: Manifest) -> None:
    name = "audio_encoder_live"
    entry = live_manifest.networks[name]
    older = replace(entry, inputs=tuple(t for t in entry.inputs if t.name == "log_mel"))
    manifest = replace(live_manifest, networks={**live_manifest.networks, name: older})
    audio = find_live_audio(manifest)
    assert audio is not None
    assert (audio.chooses, audio.fixed) == (False, True)


def test_the_clips_encoder_gives_all_rows_of_what_it_hears(live_manifest: Manifest) -> None:
    audio = describe_clips_audio(live_manifest)
    assert audio == LiveAudio(columns=3000, rows=1500, chooses=False)
    assert (audio.heard, audio.fixed) == (2999, False)


def test_the_denoiser_keeps_a_window_of_which_a_third_is_new(live_manifest: Manifest) -> None:
    denoiser = find_live_denoiser(live_manifest)
    assert denoiser is not None
    assert (denoiser.new_frames, denoiser.past_frames) == (2, 4)
    tap = "mid_block.motion_modules.0.0"
    assert {kept: past.name for kept, past in denoiser.state.items()} == {
        f"kept.{tap}": f"past.{tap}"
    }


def test_a_state_that_does_not_come_back_is_refused(live_manifest: Manifest) -> None:
    broken = rename_outputs(live_manifest, "denoising_unet_live", "kept.mid_block")
    with pytest.raises(BundleError, match=r"its outputs kept\.\* are not its inputs past\.\*"):
        find_live_denoiser(broken)


def test_an_encoder_without_states_is_refused(live_manifest: Manifest) -> None:
    broken = rename_outputs(live_manifest, "audio_encoder_live", "audio_states")
    with pytest.raises(BundleError, match="no tensor 'audio_states' with an axis 'rows'"):
        find_live_audio(broken)


def test_rows_are_chosen_by_a_one_at_each() -> None:
    chosen = choose_rows([0, 0, 2], 4)
    assert chosen.dtype == "float32"
    assert chosen.tolist() == [[[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]]
