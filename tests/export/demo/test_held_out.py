"""The shipped held-out clips: what the gates need is in the file, and it survives being packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoexport.export.demo.held_out import HeldOutClip, make_silent_clip, pack_clips, read_held_out
from echoexport.export.demo.speech.sentences import TRAINING_SPEAKERS
from echoexport.runtime.errors import InputError

HELD_OUT = Path(__file__).parent / "data" / "held_out.npz"


@pytest.fixture(scope="module")
def shipped() -> list[HeldOutClip]:
    return read_held_out(HELD_OUT)


def make_clip() -> HeldOutClip:
    draw = np.random.default_rng(0)
    samples = np.rint(8000 * np.sin(np.arange(16_000) * 0.12) * np.linspace(0, 1, 16_000)).astype(
        np.int16
    )
    states = draw.uniform([0, -1, 0, 0, -1, -1, -1, -1], 1, (51, 8)).astype(np.float32)
    return HeldOutClip("one", "voice", "Text", samples, states)


def test_the_shipped_clips_are_as_many_and_as_varied_as_the_gates_need(
    shipped: list[HeldOutClip],
) -> None:
    speaking = [clip for clip in shipped if not clip.is_silent]
    assert len(speaking) >= 40
    assert len(shipped) - len(speaking) >= 3
    assert len({clip.voice for clip in speaking}) >= 8
    assert sum(clip.seconds for clip in speaking) > 60
    assert HELD_OUT.stat().st_size < 2_500_000


def test_no_shipped_voice_is_one_of_training(shipped: list[HeldOutClip]) -> None:
    voices = {clip.voice for clip in shipped}
    assert not voices & {speaker.voice for speaker in TRAINING_SPEAKERS}


def test_a_packed_clip_comes_back_in_time_and_close(tmp_path: Path) -> None:
    clip = make_clip()
    pack_clips(tmp_path / "clips.npz", [clip])
    (found,) = read_held_out(tmp_path / "clips.npz")
    assert (found.name, found.voice, found.text) == (clip.name, clip.voice, clip.text)
    assert len(found.samples) == len(clip.samples)
    assert np.corrcoef(found.samples, clip.samples)[0, 1] > 0.99
    assert np.abs(found.states - clip.states).max() <= 0.5 * 2 / 254 + 1e-6


def test_a_neutral_face_comes_back_exactly(tmp_path: Path) -> None:
    pack_clips(tmp_path / "clips.npz", [make_silent_clip(0.5, name="quiet", noise=3.0)])
    (found,) = read_held_out(tmp_path / "clips.npz")
    assert found.is_silent
    assert not found.states.any()


def test_states_between_rows_are_interpolated() -> None:
    states = make_clip().face_states(100, frames=3).as_matrix()
    np.testing.assert_allclose(states[1], make_clip().states[:2].mean(axis=0), atol=1e-6)


def test_another_file_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "clips.npz").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"clips\.npz"):
        read_held_out(tmp_path / "clips.npz")
