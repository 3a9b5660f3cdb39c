"""The DDIM arithmetic against the original's arrays, and the step counts it must refuse."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.contract.noise_schedule import SchedulerConfig
from echoexport.runtime.errors import SettingError
from echoexport.runtime.sampling.ddim import DDIMScheduler, sinusoid

STEP_COUNTS_WITH_ONE_TOO_MANY = (61, 103, 121, 122)


@pytest.fixture(scope="module")
def echo_reference(reference_dir: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "echo_reference_of_scheduler", reference_dir / "echo_reference.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sample(echo_reference: ModuleType) -> np.ndarray:
    return np.asarray(echo_reference.reference_input("sched_sample", (1, 4, 2, 3, 5)))


@pytest.fixture(scope="module")
def velocity(echo_reference: ModuleType) -> np.ndarray:
    return np.asarray(echo_reference.reference_input("sched_velocity", (1, 4, 2, 3, 5)))


def deviation(actual: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference as a share of the wanted array's maximum."""
    return float(np.abs(actual - wanted).max() / np.abs(wanted).max())


def test_the_noise_schedule_is_the_originals(goldens_tiny: Any) -> None:
    alphas = DDIMScheduler().alphas_cumprod
    wanted = goldens_tiny["scheduler/alphas_cumprod"]
    assert alphas.dtype == np.float32
    np.testing.assert_allclose(alphas[:900], wanted[:900], rtol=1.2e-6)
    # The last ones are differences of nearly equal float32 numbers: one bit of those is
    # 4e-6 of the result, and PyTorch itself differs by so much from one machine to the
    # next.
    np.testing.assert_allclose(alphas[900:], wanted[900:], rtol=4e-6)


def test_the_last_alpha_is_exactly_zero_so_sampling_starts_from_pure_noise() -> None:
    assert DDIMScheduler().alphas_cumprod[-1] == 0.0


def test_the_schedule_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        DDIMScheduler().alphas_cumprod[0] = 0.5


def test_without_rescaling_some_signal_is_left_at_the_end() -> None:
    alphas = DDIMScheduler(SchedulerConfig(rescale_zero_snr=False)).alphas_cumprod
    betas = np.linspace(0.00085, 0.012, 1000)
    np.testing.assert_allclose(alphas, np.cumprod(1 - betas), rtol=1e-5)


def test_the_scaled_linear_schedule_is_linear_in_the_roots_of_beta() -> None:
    config = SchedulerConfig(beta_schedule="scaled_linear", rescale_zero_snr=False)
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    np.testing.assert_allclose(
        DDIMScheduler(config).alphas_cumprod, np.cumprod(1 - betas), rtol=1e-5
    )


@pytest.mark.parametrize("steps", [4, 6, 20, 30])
def test_timesteps_are_exactly_the_originals(steps: int, goldens_tiny: Any) -> None:
    timesteps = DDIMScheduler().timesteps(steps)
    assert timesteps.dtype == np.int64
    np.testing.assert_array_equal(timesteps, goldens_tiny[f"scheduler/timesteps/{steps}"])


@pytest.mark.parametrize("run", ["acc", "acc_cfg", "base", "pose", "pose_acc"])
def test_timesteps_of_the_pipeline_runs_are_exactly_the_originals(
    run: str, goldens_pipeline: Any
) -> None:
    wanted = goldens_pipeline[f"pipeline/{run}/timesteps"]
    np.testing.assert_array_equal(DDIMScheduler().timesteps(len(wanted)), wanted)


@pytest.mark.parametrize("steps", [6, 30])
def test_every_step_of_a_run_is_the_originals(
    steps: int, goldens_tiny: Any, sample: np.ndarray, velocity: np.ndarray
) -> None:
    scheduler = DDIMScheduler()
    for index, timestep in enumerate(scheduler.timesteps(steps)):
        name = f"scheduler/ddim_step/{steps}/{index}"
        previous, original = scheduler.step(velocity, int(timestep), sample, steps=steps)
        assert deviation(previous, goldens_tiny[f"{name}/prev_sample"]) < 1e-6
        if index in (0, steps - 1):
            assert deviation(original, goldens_tiny[f"{name}/pred_original_sample"]) < 1e-6


@pytest.mark.parametrize("timestep", [999, 832, 500, 166, 0])
def test_the_clean_estimate_is_the_originals(
    timestep: int, goldens_tiny: Any, sample: np.ndarray, velocity: np.ndarray
) -> None:
    _, original = DDIMScheduler().step(velocity, timestep, sample, steps=6)
    assert deviation(original, goldens_tiny[f"scheduler/origin/t{timestep}"]) < 1e-6


def test_a_step_that_ends_below_zero_ends_at_the_clean_sample(
    sample: np.ndarray, velocity: np.ndarray
) -> None:
    previous, original = DDIMScheduler().step(velocity, 249, sample, steps=4)
    np.testing.assert_array_equal(previous, original)


def test_six_steps_end_at_timestep_zero_and_so_keep_a_trace_of_noise(
    sample: np.ndarray, velocity: np.ndarray
) -> None:
    previous, original = DDIMScheduler().step(velocity, 166, sample, steps=6)
    assert 1e-3 < np.abs(previous - original).max() < 0.2


def test_half_precision_inputs_are_computed_in_float32(
    sample: np.ndarray, velocity: np.ndarray
) -> None:
    half_v = velocity.astype(np.float16)
    half_x = sample.astype(np.float16)
    actual = DDIMScheduler().step(half_v, 500, half_x, steps=6)
    wanted = DDIMScheduler().step(
        half_v.astype(np.float32), 500, half_x.astype(np.float32), steps=6
    )
    assert actual[0].dtype == np.float32
    np.testing.assert_array_equal(actual[0], wanted[0])


@given(st.integers(0, 999), st.integers(1, 60))
def test_a_step_with_the_true_velocity_lands_on_the_true_path(timestep: int, steps: int) -> None:
    scheduler = DDIMScheduler()
    clean = np.float32([0.3, -1.2, 0.0])
    noise = np.float32([-0.7, 0.4, 2.0])
    alpha = scheduler.alphas_cumprod.astype(np.float64)
    a = np.sqrt(alpha[timestep])
    b = np.sqrt(1 - alpha[timestep])
    previous = timestep - 1000 // steps
    c, d = (np.sqrt(alpha[previous]), np.sqrt(1 - alpha[previous])) if previous >= 0 else (1.0, 0.0)
    actual, original = scheduler.step(
        a * noise - b * clean, timestep, a * clean + b * noise, steps=steps
    )
    np.testing.assert_allclose(original, clean, atol=1e-6)
    np.testing.assert_allclose(actual, c * clean + d * noise, atol=2e-6)


@pytest.mark.parametrize("steps", STEP_COUNTS_WITH_ONE_TOO_MANY)
def test_a_step_count_that_gives_one_timestep_too_many_is_refused_with_the_nearest(
    steps: int,
) -> None:
    with pytest.raises(
        SettingError,
        match=rf"{steps} sampling steps do not work; the nearest count that does: \d+ ",
    ):
        DDIMScheduler().timesteps(steps)


@pytest.mark.parametrize(
    ("steps", "nearest"), [(0, 1), (-3, 1), (1001, 1000), (61, 60), (122, 123), (2.5, 2), (True, 1)]
)
def test_an_impossible_step_count_is_refused_naming_the_nearest_that_works(
    steps: Any, nearest: int
) -> None:
    with pytest.raises(SettingError, match=f"nearest count that does: {nearest} "):
        DDIMScheduler().timesteps(steps)


@given(st.integers(1, 1000))
def test_timesteps_fall_from_999_and_are_as_many_as_asked_or_refused(steps: int) -> None:
    try:
        timesteps = DDIMScheduler().timesteps(steps)
    except SettingError:
        assert steps not in range(1, 61)
    else:
        assert len(timesteps) == steps
        assert timesteps[0] == 999 and timesteps[-1] >= 0
        assert np.all(np.diff(timesteps) < 0)


def test_shapes_that_differ_are_refused(sample: np.ndarray) -> None:
    with pytest.raises(SettingError, match="same shape"):
        DDIMScheduler().step(sample[:, :2], 999, sample, steps=6)


@pytest.mark.parametrize("timestep", [-1, 1000])
def test_a_timestep_outside_the_schedule_is_refused(timestep: int, sample: np.ndarray) -> None:
    with pytest.raises(SettingError, match=r"outside 0\.\.999"):
        DDIMScheduler().step(sample, timestep, sample, steps=6)


def test_the_timestep_embedding_has_cosines_first() -> None:
    embedding = sinusoid([0, 1], 4)
    wanted = [[1, 1, 0, 0], [np.cos(1), np.cos(0.01), np.sin(1), np.sin(0.01)]]
    np.testing.assert_allclose(embedding, wanted, atol=1e-7)


@pytest.mark.parametrize("dim", [32, 64, 320])
def test_the_timestep_embedding_follows_its_formula_up_to_the_rounding_of_float32_angles(
    dim: int,
) -> None:
    timesteps = DDIMScheduler().timesteps(30)
    angles = timesteps[:, None] * np.exp(-np.log(10000) * np.arange(dim // 2) / (dim // 2))
    embedding = sinusoid(timesteps, dim)
    assert embedding.shape == (30, dim) and embedding.dtype == np.float32
    # A frequency w = exp(-x) carries the rounding of x (9e-7 at most) and its own.
    limit = np.tile(angles * 8e-7, 2) + 1e-7
    assert np.all(
        np.abs(embedding - np.concatenate([np.cos(angles), np.sin(angles)], axis=1)) < limit
    )


def test_the_timestep_embedding_equals_torchs_float32_but_for_the_last_bit_of_its_frequencies() -> (
    None
):
    torch = pytest.importorskip("torch")
    half = 160
    exponents = -float(np.log(10000)) * torch.arange(half, dtype=torch.float32) / half
    angles = torch.arange(1000)[:, None].float() * torch.exp(exponents)[None]
    wanted = torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1).numpy()
    difference = np.abs(sinusoid(np.arange(1000), 2 * half) - wanted)
    assert np.median(difference) < 1e-7
    assert np.quantile(difference, 0.98) < 1e-6
    assert difference.max() < 7e-5


@pytest.mark.parametrize("dim", [0, 3, -2, 4.0])
def test_an_odd_or_empty_embedding_is_refused(dim: Any) -> None:
    with pytest.raises(SettingError, match="even width"):
        sinusoid([1], dim)


def test_a_single_timestep_gives_one_row_and_a_table_is_refused() -> None:
    assert sinusoid(5, 8).shape == (1, 8)
    with pytest.raises(SettingError, match="row"):
        sinusoid(np.zeros((2, 2)), 8)
