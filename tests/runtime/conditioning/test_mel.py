"""The log-mel is Whisper's, to the last digits that matter, at any length."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.runtime.conditioning import mel as mel_module
from echoexport.runtime.conditioning.mel import HOP, N_FFT, LogMel, log_mel, mel_filters
from echoexport.runtime.errors import AudioError


def as_voice(waveform: np.ndarray) -> np.ndarray:
    return waveform.astype(np.float32) / 32768


def test_the_filters_match_the_golden_ones(goldens_tiny: Any) -> None:
    assert np.allclose(mel_filters(80), goldens_tiny["audio/mel_filters"], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("n_mels", [40, 80, 128])
@pytest.mark.filterwarnings("default")  # librosa's own imports may warn
def test_the_filters_match_librosas(n_mels: int) -> None:
    filters = pytest.importorskip("librosa.filters")
    wanted = filters.mel(sr=16_000, n_fft=N_FFT, n_mels=n_mels)
    assert np.allclose(mel_filters(n_mels), wanted, rtol=1e-4, atol=1e-7)


def test_the_filters_are_shared_and_cannot_be_overwritten() -> None:
    assert mel_filters() is mel_filters()
    with pytest.raises(ValueError, match="read-only"):
        mel_filters()[0, 0] = 1.0


def test_the_log_mel_matches_the_golden_one(goldens_tiny: Any) -> None:
    golden = goldens_tiny["audio/log_mel"]
    made = log_mel(as_voice(goldens_tiny["audio/waveform_int16"]))
    assert made.shape == golden.shape
    assert made.dtype == np.float32
    assert np.abs(made - golden).max() < 1e-4 * np.abs(golden).max()


def test_the_log_mel_of_more_than_30_s_matches_the_golden_columns(goldens_tiny: Any) -> None:
    samples = np.resize(
        goldens_tiny["audio/waveform_int16"], goldens_tiny.meta["conf"]["long_samples"]
    )
    made = log_mel(as_voice(samples))
    golden = goldens_tiny["audio/long/mel_columns"]
    assert np.abs(made[:, [0, 1, 2999, 3000, -1]] - golden).max() < 1e-4 * np.abs(golden).max()


@settings(max_examples=20, deadline=None)
@given(st.integers(N_FFT, 6000), st.integers(1, 40))
def test_the_blocks_do_not_show(count: Any, columns: Any) -> None:
    samples = np.random.default_rng(count).standard_normal(count).astype(np.float32) * 0.1
    whole = log_mel(samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mel_module, "_BLOCK_COLUMNS", columns)
        assert np.allclose(log_mel(samples), whole, rtol=0, atol=1e-5)
    assert whole.shape == (80, count // HOP)


def test_the_floor_is_that_of_the_whole_clip() -> None:
    rng = np.random.default_rng(0)
    quiet = rng.standard_normal(16_000) * 1e-5
    loud = rng.standard_normal(16_000) * 0.5
    alone = log_mel(quiet.astype(np.float32))
    joined = log_mel(np.concatenate([quiet, loud]).astype(np.float32))
    assert joined.min() == pytest.approx(joined.max() - 8 / 4)
    assert joined[:, :90].mean() > alone[:, :90].mean()  # lifted to the loud half's floor


def test_silence_is_flat_and_finite() -> None:
    assert np.array_equal(
        log_mel(np.zeros(1600, np.float32)), np.full((80, 10), (-10 + 4) / 4, np.float32)
    )


def test_work_space_does_not_grow_with_a_three_minute_clip() -> None:
    clip = np.zeros(180 * 16_000, np.float32)
    tracemalloc.start()
    made = log_mel(clip)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.shape == (80, 18_000)
    assert peak < made.nbytes + 40e6  # blocks, whatever the length


@pytest.mark.parametrize("shape", [(0,), (N_FFT - 1,), (2, 1600)])
def test_what_is_no_clip_is_refused(shape: Any) -> None:
    with pytest.raises(AudioError, match="25 ms"):
        log_mel(np.zeros(shape, np.float32))


def draw_clip(kind: str, *, count: int) -> np.ndarray:
    """A clip that is loud in one place, everywhere alike, or nowhere."""
    rng = np.random.default_rng(count)
    if kind == "silence":
        return np.zeros(count, np.float32)
    clip = rng.standard_normal(count) * 0.1
    if kind == "tone":
        clip = 0.5 * np.sin(np.arange(count) * rng.uniform(0.01, 3))
    if kind == "speech":
        clip *= 10 ** rng.uniform(-3, 0, -(-count // 800)).repeat(800)[:count]
    return clip.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["silence", "noise", "tone", "speech"]),
    count=st.integers(N_FFT, 20_000),
    block=st.integers(1, 40),
    data=st.data(),
)
def test_what_is_cut_out_is_that_of_the_whole_clip_to_the_bit(
    kind: str, count: int, block: int, data: st.DataObject
) -> None:
    clip = draw_clip(kind, count=count)
    start = data.draw(st.integers(0, count // HOP))
    stop = data.draw(st.integers(start, count // HOP))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mel_module, "_BLOCK_COLUMNS", block)
        patch.setattr(mel_module, "_KEPT_BLOCKS", 2)  # so that most clips are long
        mel = LogMel(lambda first, last: clip[first:last], count)
        assert np.array_equal(mel.cut(start, stop), log_mel(clip)[:, start:stop])
    assert mel.columns == count // HOP


def test_the_loudest_place_of_a_long_clip_is_found_without_transforming_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip = draw_clip("speech", count=600 * 16_000)
    transformed = []
    measure = mel_module._measure_power
    monkeypatch.setattr(
        mel_module,
        "_measure_power",
        lambda windows: (transformed.append(len(windows)), measure(windows))[1],
    )
    mel = LogMel(lambda first, last: clip[first:last], clip.size)
    peak = mel.peak
    assert sum(transformed) < mel.columns / 3
    assert log_mel(clip).max() == (peak + np.float32(4)) * np.float32(0.25)
