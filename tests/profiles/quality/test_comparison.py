"""Two bundles compared.

Figures that can be worked out by hand, from engines that err by a known amount.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.profiles.quality.clips import ComparisonClip
from echoexport.profiles.quality.comparison import ComparisonSettings, compare_bundles
from echoexport.profiles.quality.recording import CallReservoir, RecordedCall, RecordingBundle
from echoexport.profiles.quality.report import QualityBudget, QualityReport, format_quality_json
from echoexport.profiles.quality.signals import MOST_DECIBELS, ClosenessSums, measure_closeness
from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import FileEntry, read_manifest, write_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import (
    BackendError,
    BundleError,
    InputError,
    SettingError,
    UnknownNameError,
)
from echoexport.runtime.inputs.voice import voice_from_samples
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderInputs, RenderSettings

SIDE = 32


class WaveEngine:
    """Gives each output the sine of its inputs' mean and its own places, plus so much."""

    precision = "fp32"

    def __init__(self, spec: SubnetSpec, *, error: float) -> None:
        self._spec = spec
        self._error = error

    def __call__(self, inputs: Any) -> dict[str, np.ndarray]:
        base = float(np.mean([np.mean(value, dtype=np.float64) for value in inputs.values()]))
        found = {}
        for tensor in self._spec.outputs:
            places = np.arange(np.prod(tensor.shape)).reshape(tensor.shape)
            found[tensor.name] = (np.sin(places * 0.37 + base) + self._error).astype(tensor.dtype)
        return found

    def close(self) -> None:
        """Nothing to give back."""


class WaveBackend:
    """Networks that err by a constant; ``errors`` by name."""

    name = "wave"

    def __init__(self, **errors: float) -> None:
        self._errors = errors

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "sines, for testing comparisons"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> WaveEngine:
        return WaveEngine(spec, error=self._errors.get(spec.name, 0.0))


def open_waves(folder: Path, **errors: float) -> Bundle:
    return Bundle(
        folder, read_manifest(folder), backend=WaveBackend(**errors), options=EngineOptions("fp32")
    )


def make_clip(name: str = "one", *, frames: int = 5, **more: Any) -> ComparisonClip:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    voice = voice_from_samples(random.integers(-3000, 3000, 8000).astype(np.int16))
    return ComparisonClip(name, RenderInputs(picture, voice, mask=mask), frames=frames, **more)


QUICK = ComparisonSettings(calls=4, warmup=0, repeats=1)


def compare(
    reference: Bundle, candidate: Bundle, *clips: ComparisonClip, **settings: Any
) -> QualityReport:
    return compare_bundles(
        reference,
        candidate,
        clips or (make_clip(),),
        settings=dataclasses.replace(QUICK, **settings),
    )


def add_plan(folder: Path, plan: Any) -> Path:
    """Put a plan into a bundle and its manifest."""
    (folder / "quantization.json").write_text(plan if isinstance(plan, str) else json.dumps(plan))
    manifest = read_manifest(folder)
    path = folder / "quantization.json"
    files = {**manifest.files, "quantization.json": FileEntry(hash_file(path), path.stat().st_size)}
    write_manifest(dataclasses.replace(manifest, files=files), folder)
    return folder


PLAN = {
    "schema": 1,
    "method": "percentile",
    "calibration": "0" * 64,
    "networks": {
        "denoising_unet": {
            "precision": "int8",
            "layers": {
                "conv_in": {"mode": "float", "amax": None, "reason": "policy: conv_in"},
                "mid": {"mode": "int8", "amax": 2.5, "reason": ""},
            },
            "smoothing": {"x": {"alpha": 0.5, "factors": [1.0, 2.0]}},
            "float32_nodes": [],
            "skips": {},
        }
    },
}


def test_a_bundle_against_itself_is_equal_in_everything(null_bundle: Path) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle) as other:
        report = compare(one, other)
    assert [network.name for network in report.networks] == list(FAMILY.networks)
    assert {network.closeness.snr for network in report.networks} == {MOST_DECIBELS}
    assert {network.closeness.largest for network in report.networks} == {0}
    head = report.headline
    assert (head.psnr, head.ssim, head.size, head.weights) == (60, 1, 1, 1)
    assert head.latents_snr == MOST_DECIBELS
    assert (report.origin, report.holds, report.notes) == ("measured", True, ())


def test_an_error_in_one_network_is_found_there_and_in_the_frames(null_bundle: Path) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle, vae_decoder=0.1) as other:
        report = compare(one, other)
    found = {network.name: network.closeness for network in report.networks}
    assert {name for name, closeness in found.items() if closeness.snr < MOST_DECIBELS} == {
        "vae_decoder"
    }
    # A sine's mean square is a half, the error's is a hundredth.
    assert found["vae_decoder"].snr == pytest.approx(10 * np.log10(0.5 / 0.01), abs=0.05)
    assert found["vae_decoder"].largest == pytest.approx(0.1, abs=1e-4)
    assert report.headline.latents_snr == MOST_DECIBELS
    # A tenth of [-1, 1] is 12.75 of 255 levels, less where it is clipped, cut to whole
    # ones.
    assert 26 < report.headline.psnr < 28
    clip = report.clips[0]
    assert clip.psnr_worst == pytest.approx(min(clip.psnr_frames), abs=0.006)
    assert clip.psnr_frames[clip.worst_frame] == min(clip.psnr_frames)


def test_an_early_error_reaches_only_what_comes_after_it(null_bundle: Path) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle, denoising_unet=0.02) as other:
        report = compare(one, other)
    assert report.headline.latents_snr < 60
    # The decoder got the reference's latents and is not blamed.
    assert {n.name for n in report.networks if n.closeness.snr < MOST_DECIBELS} == {
        "denoising_unet"
    }


def test_calls_that_are_kept_are_bounded_and_counted(null_bundle: Path) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle) as other:
        report = compare(one, other, make_clip("one", frames=6), make_clip("two", frames=7))
    counts = {network.name: (network.calls, network.seen) for network in report.networks}
    assert counts["vae_decoder"] == (4, 13)
    assert counts["vae_encoder"] == (2, 2)


def test_the_same_inputs_give_the_same_report_but_for_time(null_bundle: Path) -> None:
    def run() -> dict[str, Any]:
        with open_waves(null_bundle) as one, open_waves(null_bundle, denoising_unet=0.05) as other:
            report = compare(one, other)
        data: dict[str, Any] = json.loads(format_quality_json(report))
        del data["conditions"], data["headline"]["speed"]
        for network in data["networks"]:
            del network["speed"]
            for side in ("reference", "candidate"):
                del network[side]["median"], network[side]["p90"]
        return {**data, "strips": [row.picture for strip in report.strips for row in strip.rows]}

    assert run() == run()


def test_small_changes_are_not_held_while_frames_are_compared(null_bundle: Path) -> None:
    manifest = read_manifest(null_bundle)
    write_manifest(
        dataclasses.replace(manifest, picture=dataclasses.replace(manifest.picture, hold=255)),
        null_bundle,
    )
    seen = []
    with open_waves(null_bundle) as one, open_waves(null_bundle) as other:
        compare(one, other, make_clip(score=lambda frames, reference: seen.append(frames) or {}))  # type: ignore[func-returns-value]
        wanted = np.stack(
            list(Session(one).render(make_clip().inputs, RenderSettings(frames=5, hold=0)))
        )
    assert np.array_equal(seen[0], wanted)


def test_scores_are_asked_of_both_and_their_loss_is_judged(null_bundle: Path) -> None:
    def brightness(frames: np.ndarray, reference: np.ndarray) -> dict[str, float]:
        return {"brightness": float(reference.mean() - frames.mean())}

    budget = QualityBudget(losses={"brightness": 1.0})
    with open_waves(null_bundle) as one, open_waves(null_bundle, vae_decoder=0.1) as other:
        report = compare(
            one, other, make_clip(score=brightness), make_clip("unscored"), budget=budget
        )
    (score,) = report.headline.scores
    assert (score.name, score.reference) == ("brightness", 0)
    assert score.candidate == pytest.approx(score.difference) and score.difference < -5
    assert not report.holds
    assert report.misses[0].startswith("brightness lost ")
    assert report.clips[1].scores == ()


def test_the_share_of_weights_in_int8_and_the_size_against_fp32_are_given(
    make_null_bundle: Callable[..., Path],
) -> None:
    plain = make_null_bundle("plain")
    small = make_null_bundle("small")
    manifest = read_manifest(small)
    denoiser = dataclasses.replace(
        manifest.networks["denoising_unet"], precision="int8", int8_parameters=6
    )
    write_manifest(
        dataclasses.replace(manifest, networks={**manifest.networks, "denoising_unet": denoiser}),
        small,
    )
    with open_waves(plain) as one, open_waves(small) as other:
        report = compare(one, other)
    found = {network.name: network for network in report.networks}
    assert denoiser.parameters == 7
    size = manifest.files[denoiser.weights].bytes / 28
    side = found["denoising_unet"].candidate
    assert (side.int8_share, side.of_fp32) == (
        pytest.approx(6 / 7, abs=1e-4),
        pytest.approx(size, abs=1e-4),
    )
    assert (
        found["denoising_unet"].reference.int8_share
        == found["vae_decoder"].candidate.int8_share
        == 0
    )
    assert report.candidate.int8_share == pytest.approx(1 / 7, abs=1e-4)
    assert report.reference.int8_share == 0
    data = json.loads(format_quality_json(report))
    assert data["candidate"]["int8_share"] == report.candidate.int8_share


def test_an_int8_network_whose_bundle_does_not_say_how_much_of_it_is_has_no_share(
    make_null_bundle: Callable[..., Path],
) -> None:
    plain = make_null_bundle("plain")
    small = make_null_bundle("small")
    manifest = read_manifest(small)
    entries = {
        name: dataclasses.replace(entry, precision="int8")
        for name, entry in manifest.networks.items()
    }
    write_manifest(dataclasses.replace(manifest, networks=entries), small)
    with open_waves(plain) as one, open_waves(small) as other:
        report = compare(one, other)
    assert report.candidate.int8_share is None
    assert {network.candidate.int8_share for network in report.networks} == {None}


def test_a_budget_is_kept_or_missed_by_what_was_measured(null_bundle: Path) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle, vae_decoder=0.1) as other:
        assert compare(one, other, budget=QualityBudget(psnr=25, ssim=0.5)).misses == ()
        misses = compare(one, other, budget=QualityBudget(psnr=35, ssim=0.9999)).misses
    assert len(misses) == 2 and "35 dB are wanted" in misses[0] and "0.9999 is wanted" in misses[1]


def test_a_budget_for_a_score_that_nobody_took_is_refused(null_bundle: Path) -> None:
    with (
        open_waves(null_bundle) as one,
        open_waves(null_bundle) as other,
        pytest.raises(InputError, match="'lips'"),
    ):
        compare(one, other, budget=QualityBudget(losses={"lips": 0.1}))


def test_layers_come_from_the_plan_that_travels_with_the_candidate(
    make_null_bundle: Callable[..., Path],
) -> None:
    plain = make_null_bundle("plain")
    planned = add_plan(make_null_bundle("planned"), PLAN)
    with open_waves(plain) as one, open_waves(planned) as other:
        report = compare(one, other, damage={"denoising_unet": {"mid": 1.25}})
    assert (report.reference.label, report.candidate.label) == ("fp32", "int8")
    assert [(one.layer, one.mode, one.reason, one.damage) for one in report.layers] == [
        ("conv_in", "float", "policy: conv_in", None),
        ("mid", "int8", "", 1.25),
    ]
    precisions = {network.name: network.candidate.precision for network in report.networks}
    assert precisions["denoising_unet"] == "int8" and precisions["vae_decoder"] == "fp32"


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ("{", "not a readable quantization plan"),
        ({**PLAN, "more": 1}, "unknown key 'more'"),
        ({**PLAN, "schema": 9}, "schema 9"),
        (json.dumps(PLAN).replace('"int8", "amax"', '"int4", "amax"'), "layer mid: mode 'int4'"),
    ],
)
def test_a_plan_that_breaks_its_schema_is_named(
    make_null_bundle: Callable[..., Path], plan: Any, told: str
) -> None:
    plain = make_null_bundle("plain")
    planned = add_plan(make_null_bundle("planned"), plan)
    with (
        open_waves(plain) as one,
        open_waves(planned) as other,
        pytest.raises(BundleError, match=told),
    ):
        compare(one, other)


def test_damage_of_a_layer_that_the_plan_lacks_is_refused(
    make_null_bundle: Callable[..., Path],
) -> None:
    plain = make_null_bundle("plain")
    planned = add_plan(make_null_bundle("planned"), PLAN)
    with (
        open_waves(plain) as one,
        open_waves(planned) as other,
        pytest.raises(UnknownNameError, match="'midd'"),
    ):
        compare(one, other, damage={"denoising_unet": {"midd": 1.0}})


def test_bundles_that_cannot_render_the_same_clip_are_refused(
    make_null_bundle: Callable[..., Path],
) -> None:
    small = make_null_bundle("small")
    large = make_null_bundle("large", side=64)
    with (
        open_bundle(small) as one,
        open_bundle(large) as other,
        pytest.raises(InputError, match="picture size"),
    ):
        compare(one, other)
    longer = make_null_bundle("longer", frames=5)
    with (
        open_bundle(small) as one,
        open_bundle(longer) as other,
        pytest.raises(InputError, match="window"),
    ):
        compare(one, other)


def test_another_checkpoint_is_noted(make_null_bundle: Callable[..., Path]) -> None:
    plain = make_null_bundle("plain")
    other_folder = make_null_bundle("other")
    manifest = read_manifest(other_folder)
    made = dataclasses.replace(
        manifest.provenance, checkpoint_files={"a.pth": FileEntry("0" * 64, 1)}
    )
    write_manifest(dataclasses.replace(manifest, provenance=made), other_folder)
    with open_waves(plain) as one, open_waves(other_folder) as other:
        assert "different checkpoints" in compare(one, other).notes[0]


def test_nan_in_a_network_is_an_error_that_names_it(null_bundle: Path) -> None:
    with (
        open_waves(null_bundle) as one,
        open_waves(null_bundle, denoising_unet=float("nan")) as other,
        pytest.raises(BackendError, match="ends in latents that are NaN"),
    ):
        compare(one, other)


def test_no_clips_and_two_of_one_name_are_refused(null_bundle: Path) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle) as other:
        with pytest.raises(InputError, match="no clips"):
            compare_bundles(one, other, [])
        with pytest.raises(InputError, match="two clips are called 'one'"):
            compare(one, other, make_clip(), make_clip())


@pytest.mark.parametrize(
    "spoilt", [{"calls": 0}, {"repeats": 0}, {"warmup": -1}, {"strip_clips": -1}]
)
def test_settings_that_measure_nothing_are_refused(spoilt: dict[str, int]) -> None:
    with pytest.raises(SettingError, match="are wanted"):
        ComparisonSettings(**spoilt)  # type: ignore[arg-type]


def test_progress_goes_from_nothing_to_all(null_bundle: Path) -> None:
    told: list[tuple[str, int, int]] = []
    with open_waves(null_bundle) as one, open_waves(null_bundle) as other:
        compare_bundles(
            one, other, [make_clip()], settings=QUICK, report=lambda *line: told.append(line)
        )
    assert told[0] == ("rendering", 0, 1) and told[1] == ("rendering", 1, 1)
    assert told[-1] == ("networks", 6, 6)


def test_strips_show_bundles_between_and_one_frame_large(null_bundle: Path) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle, vae_decoder=0.1) as other:
        found = compare_bundles(one, other, [make_clip()], settings=QUICK, also={"fp16": one})
    labels = [[row.label for row in strip.rows] for strip in found.strips]
    assert labels == [["reference", "fp16", "candidate", "candidate less reference, x 16"]] * 2
    assert [strip.closely for strip in found.strips] == [False, True]
    assert found.strips[1].frames == (found.clips[0].worst_frame,)


def test_recording_leaves_the_bundle_open_and_its_results_as_they_are(null_bundle: Path) -> None:
    clip = make_clip()
    with open_waves(null_bundle) as bundle:
        recording = RecordingBundle(bundle, most=3)
        seen = np.stack(list(Session(recording).render(clip.inputs, RenderSettings(frames=5))))
        recording.close()
        plain = np.stack(list(Session(bundle).render(clip.inputs, RenderSettings(frames=5))))
    assert np.array_equal(seen, plain)
    assert {name: len(kept.calls) for name, kept in recording.reservoirs.items()}[
        "denoising_unet"
    ] == 3


def test_every_call_has_the_same_chance_to_be_kept() -> None:
    counts = np.zeros(10)
    for seed in range(600):
        reservoir = CallReservoir(3, seed=seed)
        for index in range(10):
            reservoir.offer(RecordedCall({"i": np.array([index])}, {}))
        kept = [int(call.inputs["i"][0]) for call in reservoir.calls]
        assert kept == sorted(kept) and len(kept) == 3
        counts[kept] += 1
    assert np.abs(counts / 600 - 0.3).max() < 0.08  # four standard deviations


@given(
    st.lists(
        st.tuples(st.floats(-100, 100, width=32), st.floats(-100, 100, width=32)),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 40),
)
def test_blocks_add_up_to_the_formula(pairs: list[tuple[float, float]], split: int) -> None:
    found, wanted = (np.array(side, np.float32) for side in zip(*pairs, strict=True))
    sums = ClosenessSums()
    for part in (slice(None, split), slice(split, None)):
        sums.add(found[part], wanted[part])
    result = sums.result()
    assert result == measure_closeness(found, wanted) or result.snr == pytest.approx(
        measure_closeness(found, wanted).snr, abs=0.002
    )
    one = found.astype(np.float64)
    other = wanted.astype(np.float64)
    assert result.largest == pytest.approx(np.abs(one - other).max(), rel=1e-4)
    signal = float(other @ other)
    error = float((one - other) @ (one - other))
    if signal > 0 and error > 0 and abs(10 * np.log10(signal / error)) < MOST_DECIBELS:
        assert result.snr == pytest.approx(10 * np.log10(signal / error), abs=0.002)


def test_shapes_that_differ_are_not_compared() -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        measure_closeness(np.zeros(3), np.zeros(4))
