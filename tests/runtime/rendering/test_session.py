"""A session renders: clips padded and cut, portraits computed once, frames one at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime import Bundle, Rendering, RenderInputs, RenderSettings, Session, open_bundle
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions
from echoexport.runtime.errors import PortraitError, PoseError, SettingError
from echoexport.runtime.sampling.noise import initial_latents

SIDE = 32


WINDOW = 4


class EchoEngine(Engine):
    """Gives back what it is given, so far as shapes allow; frames show their latents.

    Keeps what the denoiser got.
    """

    precision = "fp32"

    def __init__(self, spec: SubnetSpec, given: list[dict[str, np.ndarray]]) -> None:
        self.spec = spec
        self.given = given

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        if self.spec.name == "denoising_unet":
            self.given.append({name: array.copy() for name, array in inputs.items()})
            return {"velocity": np.zeros_like(inputs["latents"])}
        if self.spec.name == "vae_decoder":
            enlarged = np.repeat(np.repeat(inputs["latents"][:, :3], 8, axis=2), 8, axis=3)
            return {"picture": enlarged}
        if self.spec.name == "audio_encoder":
            rows = np.arange(1500, dtype=np.float32)  # a row of features is its own number
            return {
                "audio_states": np.broadcast_to(rows[None, None, :, None], (1, 5, 1500, 4)).copy()
            }
        return {t.name: np.ones(t.shape, np.float32) for t in self.spec.outputs}

    def close(self) -> None:
        """Nothing to close."""


class EchoBackend(Backend):
    """Opens echoing engines."""

    name = "echo"

    def __init__(self) -> None:
        self.given: list[dict[str, np.ndarray]] = []

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "echoes"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> EchoEngine:
        return EchoEngine(spec, self.given)


def echo_bundle(folder: Path) -> tuple[Bundle, EchoBackend]:
    backend = EchoBackend()
    return Bundle(folder, read_manifest(folder), backend=backend, options=EngineOptions()), backend


def test_a_rendering_gives_as_many_frames_as_it_says(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs], render: Callable[..., Rendering]
) -> None:
    with open_bundle(null_bundle) as bundle:
        rendering = render(bundle, inputs_for(0.5))
        frames = list(rendering)
    assert len(rendering) == len(frames) == rendering.frames == 12
    assert all((frame.shape, frame.dtype) == ((SIDE, SIDE, 3), np.uint8) for frame in frames)
    assert rendering.latents.shape == (1, 4, 12, 4, 4)


def test_frames_can_be_gone_through_twice(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs], render: Callable[..., Rendering]
) -> None:
    rendering = render(echo_bundle(null_bundle)[0], inputs_for(0.2))
    np.testing.assert_array_equal(np.stack(list(rendering)), np.stack(list(rendering)))


def test_a_clip_shorter_than_the_window_holds_its_last_tokens_and_is_cut(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs], render: Callable[..., Rendering]
) -> None:
    bundle, backend = echo_bundle(null_bundle)
    rendering = render(bundle, inputs_for(0.5), frames=2)
    first = backend.given[0]
    assert first["latents"].shape[2] == WINDOW
    tokens = first["audio_tokens"][0, :, 0, 0]
    assert (
        tokens[1] != tokens[0] or (first["audio_tokens"][0, 0] != first["audio_tokens"][0, 1]).any()
    )
    for padding in range(2, WINDOW):
        np.testing.assert_array_equal(
            first["audio_tokens"][0, padding], first["audio_tokens"][0, 1]
        )
    assert rendering.latents.shape[2] == 2


def test_a_clip_of_one_frame_is_rendered(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs], render: Callable[..., Rendering]
) -> None:
    bundle, backend = echo_bundle(null_bundle)
    rendering = render(bundle, inputs_for(0.5), frames=1)
    assert [frame.shape for frame in rendering] == [(SIDE, SIDE, 3)]
    assert (backend.given[0]["audio_tokens"][0] == backend.given[0]["audio_tokens"][0, 0]).all()


def test_the_same_seed_gives_the_same_frames_and_another_seed_others(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs], render: Callable[..., Rendering]
) -> None:
    bundle, _ = echo_bundle(null_bundle)
    first, same, other = (
        np.stack(list(render(bundle, inputs_for(0.3), seed=seed))) for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).mean() > 0.5


def test_a_frames_noise_does_not_depend_on_the_clips_length(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs], render: Callable[..., Rendering]
) -> None:
    bundle, _ = echo_bundle(null_bundle)
    short, long = (render(bundle, inputs_for(seconds), seed=3).latents for seconds in (0.2, 0.9))
    np.testing.assert_array_equal(short, long[:, :, : short.shape[2]])


def test_seeded_noise_is_clamped_as_the_bundle_says(
    null_bundle: Path,
    make_null_bundle: Callable[..., Path],
    inputs_for: Callable[..., RenderInputs],
    render: Callable[..., Rendering],
) -> None:
    poses = np.zeros((12, 3, SIDE, SIDE), np.float32)
    for folder, clamped in ((null_bundle, True), (make_null_bundle("pose", face="pose"), False)):
        bundle, backend = echo_bundle(folder)
        render(bundle, inputs_for(0.5, poses=poses), steps=1)
        largest = max(float(np.abs(given["latents"]).max()) for given in backend.given)
        assert (largest == 1.5) if clamped else (largest > 2)


def test_given_noise_is_used_as_it_is_unclamped(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs], render: Callable[..., Rendering]
) -> None:
    noise = initial_latents(9, frames=12, shape=(4, 4, 4), clamp=None)
    bundle, backend = echo_bundle(null_bundle)
    render(bundle, inputs_for(0.5, noise=noise), steps=1, overlap=0)
    np.testing.assert_array_equal(
        np.concatenate([given["latents"] for given in backend.given], axis=2), noise
    )


def test_noise_for_a_short_clip_stands_in_its_first_frames_or_fills_the_window(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs], render: Callable[..., Rendering]
) -> None:
    noise = initial_latents(9, frames=WINDOW, shape=(4, 4, 4), clamp=None)
    for part in (noise[:, :, :2], noise):
        bundle, backend = echo_bundle(null_bundle)
        render(bundle, inputs_for(0.5, noise=part), frames=2, steps=1)
        found = backend.given[0]["latents"]
        np.testing.assert_array_equal(found[:, :, : part.shape[2]], part)
        assert found.any(axis=(0, 1, 3, 4)).all()


def test_given_noise_is_left_as_it_was(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs], render: Callable[..., Rendering]
) -> None:
    noise = initial_latents(9, frames=12, shape=(4, 4, 4), clamp=None)
    kept = noise.copy()
    render(echo_bundle(null_bundle)[0], inputs_for(0.5, noise=noise))
    np.testing.assert_array_equal(noise, kept)


@pytest.mark.parametrize(
    "shape", [(1, 4, 11, 4, 4), (1, 4, 12, 4, 5), (4, 12, 4, 4), (1, 3, 12, 4, 4)]
)
def test_noise_of_another_shape_is_refused_with_the_shape_that_is_wanted(
    null_bundle: Path,
    shape: tuple[int, ...],
    inputs_for: Callable[..., RenderInputs],
    render: Callable[..., Rendering],
) -> None:
    with (
        open_bundle(null_bundle) as bundle,
        pytest.raises(SettingError, match=r"wanted \(1, 4, 12, 4, 4\)"),
    ):
        render(bundle, inputs_for(0.5, noise=np.zeros(shape, np.float32)))


def test_a_picture_or_mask_of_another_size_is_refused(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs], render: Callable[..., Rendering]
) -> None:
    small = np.zeros((16, 16, 3), np.uint8)
    with open_bundle(null_bundle) as bundle:
        with pytest.raises(PortraitError, match=r"the portrait is \(16, 16, 3\)"):
            render(bundle, inputs_for(picture=small))
        with pytest.raises(PortraitError, match=r"the face mask is \(16, 16\)"):
            render(bundle, inputs_for(mask=small[..., 0]))


def test_a_bundle_for_masks_needs_a_mask_and_one_for_poses_poses(
    null_bundle: Path,
    make_null_bundle: Callable[..., Path],
    inputs_for: Callable[..., RenderInputs],
    render: Callable[..., Rendering],
) -> None:
    with (
        open_bundle(null_bundle) as bundle,
        pytest.raises(SettingError, match=r"variant 'acc' needs a mask"),
    ):
        render(bundle, inputs_for(mask=None, poses=np.zeros((99, 3, SIDE, SIDE))))
    folder = make_null_bundle("pose", face="pose")
    with (
        open_bundle(folder) as bundle,
        pytest.raises(SettingError, match=r"variant 'pose_acc' needs a pose"),
    ):
        render(bundle, inputs_for())


def test_too_few_poses_are_refused_with_both_counts(
    make_null_bundle: Callable[..., Path],
    inputs_for: Callable[..., RenderInputs],
    render: Callable[..., Rendering],
) -> None:
    poses = [np.zeros((3, SIDE, SIDE), np.float32)] * 11
    with open_bundle(make_null_bundle(face="pose")) as bundle:
        with pytest.raises(PoseError, match=r"11 pose maps for 12 frames"):
            render(bundle, inputs_for(0.5, poses=poses))
        assert render(bundle, inputs_for(0.5, poses=poses), frames=11).frames == 11


def test_pose_maps_of_another_size_are_refused(
    make_null_bundle: Callable[..., Path],
    inputs_for: Callable[..., RenderInputs],
    render: Callable[..., Rendering],
) -> None:
    poses = np.zeros((12, 3, 16, 16), np.float32)
    with (
        open_bundle(make_null_bundle(face="pose")) as bundle,
        pytest.raises(PoseError, match=r"pose map 0 is \(3, 16"),
    ):
        render(bundle, inputs_for(0.5, poses=poses))


def test_a_short_clip_holds_its_last_pose(
    make_null_bundle: Callable[..., Path],
    inputs_for: Callable[..., RenderInputs],
    render: Callable[..., Rendering],
) -> None:
    class Counted(list[np.ndarray]):
        """Poses that remember which of them were asked for."""

        asked: set[int]

        def __getitem__(self, index: Any) -> Any:
            self.asked.add(index)
            return super().__getitem__(index)

    poses = Counted([np.zeros((3, SIDE, SIDE), np.float32)] * 3)
    poses.asked = set()
    with open_bundle(make_null_bundle(face="pose")) as bundle:
        assert render(bundle, inputs_for(0.5, poses=poses), frames=2).frames == 2
    assert poses.asked == {0, 1}


def test_guidance_doubles_the_calls_of_the_denoiser(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs], render: Callable[..., Rendering]
) -> None:
    counts = []
    for guidance in (1.0, 1.5):
        with open_bundle(null_bundle) as bundle:
            session = Session(bundle)
            render(session, inputs_for(), guidance=guidance)
            counts.append(session.networks.calls()["denoising_unet"])
    assert counts[1] == 2 * counts[0]


def test_a_second_run_with_the_same_portrait_makes_no_reference_call(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs]
) -> None:
    with open_bundle(null_bundle) as bundle:
        session = Session(bundle, cache=ReferenceCache(None))
        for _ in range(2):
            session.render(inputs_for())
        calls = session.networks.calls()
    assert (calls["vae_encoder"], calls["reference_unet"], calls["landmark_encoder"]) == (1, 1, 1)


def test_another_session_finds_the_portrait_on_disk(
    null_bundle: Path, tmp_path: Path, inputs_for: Callable[..., RenderInputs]
) -> None:
    for expected in (1, 0):
        with open_bundle(null_bundle) as bundle:
            session = Session(bundle, cache=ReferenceCache(tmp_path / "cache"))
            session.render(inputs_for())
            calls = session.networks.calls()
        assert (calls["vae_encoder"], calls["reference_unet"], calls["landmark_encoder"]) == (
            expected,
        ) * 3


def test_another_portrait_is_computed_anew(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs]
) -> None:
    with open_bundle(null_bundle) as bundle:
        session = Session(bundle, cache=ReferenceCache(None))
        session.render(inputs_for())
        session.render(inputs_for(picture=np.zeros((SIDE, SIDE, 3), np.uint8)))
        assert session.networks.calls()["reference_unet"] == 2


def test_a_cached_reference_gives_the_same_latents(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs]
) -> None:
    cache = ReferenceCache(None)
    bundle, backend = echo_bundle(null_bundle)
    for _ in range(2):
        Session(bundle, cache=cache).render(inputs_for(), RenderSettings(frames=1, steps=1))
    first, second = backend.given
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_a_session_may_use_a_lease_that_was_taken_before(
    null_bundle: Path, inputs_for: Callable[..., RenderInputs]
) -> None:
    with open_bundle(null_bundle) as bundle, bundle.lease(frugal=True) as lease:
        with Session(bundle, networks=lease) as session:
            session.render(inputs_for())
            assert session.networks is lease
        assert lease.calls()["denoising_unet"] > 0
