"""The UNets' stage: noise as the sampler's, readers as the denoiser's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from echoexport.export.demo.training.pictures import PicturePair
from echoexport.export.demo.training.recipe import Recipe
from echoexport.export.demo.training.scenes import (
    ScenePlan,
    Scenes,
    WindowBatches,
    draw_masks,
    hear_rows,
    plan_scenes,
    portrait_states,
)
from echoexport.export.demo.training.session import Session, StopTrainingError
from echoexport.export.demo.training.sounds import Sound, encode_sounds, states_at
from echoexport.export.demo.training.talking import (
    NOISE_CLAMP,
    Noising,
    Talker,
    draw_noise,
    sample_window,
)
from echoexport.export.demo.world.geometry import face_box
from echoexport.export.demo.world.person import draw_person, stack_people
from echoexport.export.subnets.transformer import DenoisingBlock, ReferenceBlock
from echoexport.runtime.conditioning.audio_tokens import AudioTokens
from echoexport.runtime.errors import CheckpointError
from echoexport.runtime.inputs.portrait import crop_face
from echoexport.runtime.sampling.ddim import DDIMScheduler, sinusoid

MakeSession = Callable[..., Session]
pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture
def pair(micro_recipe: Recipe) -> PicturePair:
    torch.manual_seed(2)
    return PicturePair(micro_recipe.architecture.vae).eval()


@pytest.fixture
def scenes(
    micro_recipe: Recipe, micro_sounds: list[Sound], pair: PicturePair, make_session: MakeSession
) -> Scenes:
    return Scenes(micro_recipe, micro_sounds, pair=pair, session=make_session())


def random_features(sounds: list[Sound], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(sound.rows, 2, 12, generator=generator).half() for sound in sounds]


def test_shared_noise_is_one_for_all_frames_and_independent_noise_is_not() -> None:
    like = torch.zeros(64, 4, 5, 8, 8)
    shared = draw_noise(like, torch.Generator().manual_seed(1), independent=0.0)
    own = draw_noise(like, torch.Generator().manual_seed(1), independent=1.0)
    assert torch.equal(shared, shared[:, :, :1].expand_as(shared))
    assert torch.equal(own[:, :, 0], shared[:, :, 0])
    first = own[:, :, 0].flatten()
    second = own[:, :, 1].flatten()
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 5 / len(first) ** 0.5


def test_a_window_has_either_kind_of_noise_by_the_recipes_share() -> None:
    noise = draw_noise(
        torch.zeros(2000, 1, 2, 1, 1), torch.Generator().manual_seed(2), independent=0.2
    )
    assert float((noise[:, :, 0] != noise[:, :, 1]).float().mean()) == pytest.approx(
        0.2 * 0.98, abs=0.04
    )


def test_noise_is_normal_up_to_the_samplers_clamp() -> None:
    noise = draw_noise(
        torch.zeros(50, 4, 4, 8, 8), torch.Generator().manual_seed(3), independent=1.0
    )
    assert float(noise.abs().max()) == NOISE_CLAMP == 1.5
    assert float((noise.abs() == NOISE_CLAMP).float().mean()) == pytest.approx(0.1336, abs=0.005)
    assert abs(float(noise.mean())) < 0.01


@pytest.mark.parametrize(("steps", "last"), [(4, None), (6, 0)])
def test_the_sampler_comes_back_to_the_latents_along_the_trained_velocity(
    steps: int, last: int | None
) -> None:
    # 6 steps end at timestep 0, where a trace of the noise is left; 4 end at the clean
    # latents.
    scheduler = DDIMScheduler()
    noising = Noising(width=8, device=CPU)
    generator = torch.Generator().manual_seed(4)
    clean, noise = (torch.randn(2, 4, 3, 5, 5, generator=generator) for _ in range(2))
    for step in map(int, scheduler.timesteps(steps)):
        noisy, velocity = noising.mix(clean, noise, torch.full((2,), step))
        latents, original = scheduler.step(velocity.numpy(), step, noisy.numpy(), steps=steps)
        np.testing.assert_allclose(original, clean.numpy(), atol=2e-5)
        if step == 999:
            torch.testing.assert_close(noisy, noise, rtol=0, atol=1e-6)
    signal = 1.0 if last is None else float(scheduler.alphas_cumprod[last])
    wanted = np.sqrt(signal) * clean.numpy() + np.sqrt(1 - signal) * noise.numpy()
    np.testing.assert_allclose(latents, wanted, atol=2e-5)


def test_the_schedule_is_the_runtimes() -> None:
    noising = Noising(width=8, device=CPU)
    scheduler = DDIMScheduler()
    np.testing.assert_array_equal(noising.alphas.numpy(), scheduler.alphas_cumprod)
    np.testing.assert_array_equal(
        noising.sinusoids[[0, 499, 999]].numpy(), sinusoid([0, 499, 999], 8)
    )


def test_timesteps_are_the_samplers_for_the_most_part_and_the_noisiest_for_a_third() -> None:
    steps = Noising(width=8, device=CPU).draw_timesteps(torch.Generator().manual_seed(5), 6000)
    listed = {int(t) for count in (4, 6) for t in DDIMScheduler().timesteps(count)}
    assert 1 <= int(steps.min()) <= int(steps.max()) == 999
    assert float((steps == 999).float().mean()) == pytest.approx(1 / 3, abs=0.03)
    others = [int(step) not in listed for step in steps]
    assert sum(others) / len(others) == pytest.approx(0.15, abs=0.02)


def test_reference_readers_are_the_denoisers_own_projections(micro_recipe: Recipe) -> None:
    talker = Talker(micro_recipe.architecture)
    readers = {
        m.path: m.reader for m in talker.reference_unet.modules() if isinstance(m, ReferenceBlock)
    }
    blocks = {
        m.path: m.attn1 for m in talker.denoising_unet.modules() if isinstance(m, DenoisingBlock)
    }
    assert readers.keys() == blocks.keys() != set()
    for path, block in blocks.items():
        assert readers[path].to_k is block.to_k
        assert readers[path].to_v is block.to_v


def test_a_new_talker_says_nothing_yet_and_its_motion_modules_change_nothing(
    micro_recipe: Recipe, scenes: Scenes, micro_sounds: list[Sound], make_session: MakeSession
) -> None:
    batches = WindowBatches(
        scenes, [random_features(micro_sounds, 1)], recipe=micro_recipe, session=make_session()
    )
    window = batches.draw(torch.Generator().manual_seed(1), 2)
    talker = Talker(micro_recipe.architecture)
    noising = Noising(width=8, device=CPU)
    with torch.no_grad():
        velocity = talker(window.latents, noising.sinusoids[torch.tensor([999, 5])], window)
    bias = talker.denoising_unet.conv_out.bias
    assert bias is not None
    torch.testing.assert_close(velocity, bias[None, :, None, None, None].expand_as(velocity))


def test_a_frame_hears_what_the_runtime_lets_it_hear() -> None:
    features = np.random.default_rng(1).standard_normal((37, 2, 3)).astype(np.float32)
    for fps in (24, 25, 30):
        wanted = AudioTokens(features, fps, frames=40).window(range(24))
        rows = hear_rows(ScenePlan(1, 0, 0.0, fps), 24, len(features))
        np.testing.assert_array_equal(features[rows].reshape(1, 24, 20, 3), wanted)


def test_a_clip_that_starts_later_hears_what_the_same_frame_of_the_whole_hears() -> None:
    whole, later = (hear_rows(ScenePlan(1, 0, start, 25), 24, 500) for start in (0.0, 0.4))
    np.testing.assert_array_equal(later[:14], whole[10:])


def test_windows_hold_the_tokens_of_their_own_clip(
    micro_recipe: Recipe, scenes: Scenes, micro_sounds: list[Sound], make_session: MakeSession
) -> None:
    readings = [random_features(micro_sounds, seed) for seed in (1, 2, 3)]
    batches = WindowBatches(scenes, readings, recipe=micro_recipe, session=make_session())
    window = batches.draw(torch.Generator().manual_seed(7), 20)
    assert window.tokens.shape == (20, 3, 20, 12)
    assert window.latents.shape == (20, 4, 3, 8, 8)
    assert window.mask.shape == (20, 1, 16, 16)
    assert window.weights.shape == (20, 1, 1, 8, 8)
    heard = set()
    for latents, reference, tokens in zip(
        window.latents, window.reference, window.tokens, strict=True
    ):
        clip = next(
            i for i, known in enumerate(scenes.references) if torch.equal(known.float(), reference)
        )
        plan = scenes.plans[clip]
        starts = [
            s
            for s in range(3)
            if torch.equal(scenes.latents[clip, s : s + 3].float().transpose(0, 1), latents)
        ]
        rows = hear_rows(plan, micro_recipe.clip_frames, micro_sounds[plan.sound].rows)
        found = [
            reading
            for reading, features in enumerate(readings)
            if any(
                torch.equal(features[plan.sound][rows[s : s + 3]].float().flatten(1, 2), tokens)
                for s in starts
            )
        ]
        assert len(found) == 1
        heard.update(found)
    assert heard == {0, 1, 2}


@pytest.mark.parametrize("seed", range(1_000_000, 1_000_012))
def test_masks_are_the_pipelines_for_a_box_where_it_is(seed: int) -> None:
    people = stack_people([draw_person(seed)])
    box = face_box(people, size=128)
    ours = draw_masks(torch.from_numpy(box), torch.zeros(1, 4), size=128)[0, 0].numpy()
    crop = crop_face(np.zeros((128, 128, 3), np.uint8), box[0], size=(128, 128))
    x0, y0, x1, y1 = crop.rect
    theirs = crop.mask / 255.0
    spread = [(2 + abs(low)) + (2 + abs(high)) for low, high in ((x0, 128 - x1), (y0, 128 - y1))]
    for axis, pixels in ((0, spread[0]), (1, spread[1])):
        edges = [np.flatnonzero(mask.max(axis=axis) > 0.5)[[0, -1]] for mask in (ours, theirs)]
        assert np.abs(edges[0] - edges[1]).max() <= pixels


def test_jitter_moves_each_side_of_a_mask_by_its_share() -> None:
    boxes = torch.tensor([[40.0, 40.0, 90.0, 90.0]])
    mask = draw_masks(boxes, torch.tensor([[0.04, 0.0, -0.04, 0.1]]), size=128)[0, 0]
    columns = mask.amax(0).nonzero().flatten()
    rows = mask.amax(1).nonzero().flatten()
    assert (int(columns[0]), int(columns[-1]) + 1) == (33, 93)
    assert (int(rows[0]), int(rows[-1]) + 1) == (35, 100)


def test_scenes_are_planned_within_their_sounds(
    micro_recipe: Recipe, micro_sounds: list[Sound]
) -> None:
    plans = plan_scenes(micro_recipe, micro_sounds)
    assert plans == plan_scenes(micro_recipe, micro_sounds)
    assert len({plan.person for plan in plans}) == micro_recipe.clips
    for plan in plans:
        assert 0 <= plan.times(5)[0] <= plan.times(5)[-1] <= micro_sounds[plan.sound].rows / 50


def test_most_portraits_are_at_rest() -> None:
    states = portrait_states([ScenePlan(person, 0, 0.0, 25) for person in range(500)])
    assert (states.any(axis=1)).mean() == pytest.approx(0.2, abs=0.06)
    assert states[:, 0].max() <= 0.7
    assert not states[:, 2:].any()


def test_states_between_samples_lie_between_them(micro_sounds: list[Sound]) -> None:
    sound = micro_sounds[0]
    np.testing.assert_array_equal(states_at(sound, np.array([0.0, 0.05])), sound.states[[0, 5]])
    middle = states_at(sound, np.array([0.055]))
    np.testing.assert_allclose(middle[0], (sound.states[5] + sound.states[6]) / 2, rtol=1e-5)


def test_scenes_stopped_while_they_are_drawn_are_gone_on_with(
    micro_recipe: Recipe,
    micro_sounds: list[Sound],
    pair: PicturePair,
    make_session: MakeSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("echoexport.export.demo.training.scenes._CHUNK", 2)
    straight = Scenes(micro_recipe, micro_sounds, pair=pair, session=make_session("straight"))
    session = make_session("stopped")
    encode = Scenes._encode
    calls = []

    def stop_later(self: Scenes, *arguments: object) -> torch.Tensor:
        calls.append(1)
        session.stop = len(calls) == 4
        return encode(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Scenes, "_encode", stop_later)
    with pytest.raises(StopTrainingError, match="scenes: stopped at 4 of 6"):
        Scenes(micro_recipe, micro_sounds, pair=pair, session=session)
    again = Scenes(micro_recipe, micro_sounds, pair=pair, session=make_session("stopped"))
    assert len(calls) == 6  # two a part, and no part twice
    for name in ("latents", "references", "boxes", "regions"):
        assert torch.equal(getattr(again, name), getattr(straight, name))
    assert not list(session.folder.glob("*.parts"))


def test_damaged_scenes_are_refused_with_their_path(
    micro_recipe: Recipe, micro_sounds: list[Sound], pair: PicturePair, make_session: MakeSession
) -> None:
    session = make_session()
    path: Path = session.folder / f"scenes-{micro_recipe.digest}.pt"
    path.write_bytes(b"no scenes")
    with pytest.raises(CheckpointError, match=f"{path.name}: damaged; remove it"):
        Scenes(micro_recipe, micro_sounds, pair=pair, session=session)


def test_sampling_a_window_is_repeatable_and_clean_for_a_perfect_talker(
    micro_recipe: Recipe, scenes: Scenes, micro_sounds: list[Sound], make_session: MakeSession
) -> None:
    batches = WindowBatches(
        scenes, [random_features(micro_sounds, 1)], recipe=micro_recipe, session=make_session()
    )
    window = batches.draw(torch.Generator().manual_seed(9), 2)
    noising = Noising(width=8, device=CPU)

    class Perfect(Talker):
        def forward(self, noisy: torch.Tensor, sinusoids: torch.Tensor, _: object) -> torch.Tensor:
            alpha = noising.alphas[(noising.sinusoids == sinusoids[0]).all(dim=1)].reshape(-1)[0]
            noise = (noisy - alpha.sqrt() * window.latents) / (1 - alpha).sqrt()
            return alpha.sqrt() * noise - (1 - alpha).sqrt() * window.latents

    talker = Perfect(micro_recipe.architecture)
    sampled = sample_window(talker, window, steps=4, seed=3)
    torch.testing.assert_close(sampled, window.latents, rtol=0, atol=1e-4)
    assert torch.equal(sampled, sample_window(talker, window, steps=4, seed=3))


def test_a_clip_is_heard_the_same_alone_and_later_but_for_its_place(
    micro_recipe: Recipe, micro_sounds: list[Sound], make_session: MakeSession
) -> None:
    from echoexport.export.demo.training.sounds import Listener

    torch.manual_seed(1)
    encoder = Listener(micro_recipe.architecture.audio).audio_encoder
    given = {"session": make_session(), "varied": False}
    short = [Sound(sound.mel[:, :60], sound.states[:61]) for sound in micro_sounds]
    alone, later = (
        encode_sounds(encoder, short, shifts=shifts, **given) for shifts in (False, True)
    )  # type: ignore[arg-type]
    assert [tuple(features.shape) for features in alone] == [(30, 2, 12)] * 4
    assert alone[0].dtype == torch.float16
    assert not torch.equal(alone[0], later[0])
