"""What a set is recorded from.

Folders of portraits and voices, face boxes, the stretch of a voice that is taken.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from echoexport.calibration.recording.recording_inputs import (
    InputSettings,
    cut_voice,
    read_recording_inputs,
)
from echoexport.runtime.errors import AudioError, CalibrationError, PortraitError
from echoexport.runtime.inputs.sound.sample_store import SampleStore
from echoexport.runtime.inputs.voice import Voice


def test_the_loudest_stretch_of_a_voice_is_taken() -> None:
    samples = np.zeros(16000 * 4, np.float32)
    samples[40_000:56_000] = 0.5
    cut = cut_voice(Voice(samples, Fraction(4)), seconds=1)
    assert (cut.samples == 0.5).all() and cut.duration == 1
    assert cut_voice(cut, seconds=1) is cut and cut_voice(cut, seconds=2) is cut


@pytest.mark.parametrize(
    ("length", "seconds"), [(16_000, 0.3), (16_001, 0.33), (40_000, 2.4999), (1_920_123, 70.001)]
)
def test_the_stretch_is_that_of_the_most_energy_wherever_parts_of_the_voice_end(
    length: int, seconds: float
) -> None:
    draw = np.random.default_rng(5)
    samples = np.float32(draw.integers(-9000, 9000, length) / 32768)
    samples *= np.float32(np.repeat(draw.integers(0, 2, length // 100 + 1), 100)[:length])
    count = round(seconds * 16_000)
    energies = [
        np.square(samples[start : start + count], dtype=np.float64).sum()
        for start in range(0, length - count + 1, 800)
    ]
    start = 800 * int(np.argmax(energies))
    found = cut_voice(Voice(samples, Fraction(length, 16_000)), seconds=seconds)
    assert np.array_equal(found.samples, samples[start : start + count])


def test_a_long_voice_is_not_held_whole_to_find_its_loudest_stretch() -> None:
    store = SampleStore()
    for minute in range(40):
        store.add(np.full(960_000, 3000 if minute == 31 else 30, np.int16))
    voice = Voice(store, Fraction(2400))
    tracemalloc.start()
    try:
        cut = cut_voice(voice, seconds=5)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (cut.samples == np.float32(3000 / 32768)).all()
    assert peak < 40 << 20


@pytest.fixture
def folders(
    tmp_path: Path, portrait_file: Path, make_voice: Callable[..., Path]
) -> tuple[Path, Path]:
    """Two portraits and two voices, among files that are neither."""
    faces = tmp_path / "faces"
    voices = tmp_path / "voices"
    faces.mkdir()
    voices.mkdir()
    for name in ("b.png", "a.png"):
        (faces / name).write_bytes(portrait_file.read_bytes())
    make_voice("voices/y.wav", seconds=0.5)
    make_voice("voices/x.wav", seconds=3)
    for stray in (
        faces / "notes.txt",
        voices / "notes.txt",
        faces / ".hidden.png",
        voices / "b.png",
    ):
        stray.write_text("nothing")
    return faces, voices


def test_folders_give_every_portrait_with_every_voice(folders: tuple[Path, Path]) -> None:
    inputs = read_recording_inputs(*folders, InputSettings(seconds=1))
    assert [(item.portrait, item.voice) for item in inputs] == [
        ("a.png", "x.wav"),
        ("a.png", "y.wav"),
        ("b.png", "x.wav"),
        ("b.png", "y.wav"),
    ]
    assert [float(item.sound.duration) for item in inputs] == [1, 0.5, 1, 0.5]
    crop = inputs[0].crop((64, 64))
    assert crop.rect == (0, 0, 96, 96) and (crop.mask == 255).all()


def test_a_face_box_beside_the_portraits_is_used(folders: tuple[Path, Path]) -> None:
    (folders[0] / "boxes.json").write_text(json.dumps({"b.png": [30, 30, 60, 60]}))
    crops = {
        item.portrait: item.crop((32, 32))
        for item in read_recording_inputs(*folders, InputSettings(seconds=1))
    }
    assert crops["a.png"].rect == (0, 0, 96, 96)
    assert crops["b.png"].rect == (15, 15, 75, 75) and not (crops["b.png"].mask == 255).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "wanted {file name"),
        ("{", "wanted {file name"),
        ('{"a.png": [1, 2]}', r"a\.png: wanted four numbers x0, y0, x1, y1, found \[1\.0, 2\.0\]"),
        ('{"a.png": [1, 2, 3, NaN]}', r"a\.png: wanted four numbers"),
        ('{"c.png": [1, 2, 3, 4]}', r"names 'c\.png', which is not there; known: a\.png, b\.png"),
    ],
)
def test_boxes_that_cannot_be_used_are_named(
    folders: tuple[Path, Path], text: str, message: str
) -> None:
    (folders[0] / "boxes.json").write_text(text)
    with pytest.raises(CalibrationError, match=rf"boxes\.json: {message}"):
        read_recording_inputs(*folders, InputSettings(seconds=1))


def test_folders_without_portraits_or_voices_are_refused(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "none").mkdir()
    for empty in (tmp_path / "none", tmp_path / "missing"):
        with pytest.raises(
            PortraitError,
            match=rf"{empty.name}: no portrait there; wanted a folder with files \.png",
        ):
            read_recording_inputs(empty, folders[1], InputSettings(seconds=1))
        with pytest.raises(
            AudioError, match=rf"{empty.name}: no voice there; wanted a folder with files \.wav"
        ):
            read_recording_inputs(folders[0], empty, InputSettings(seconds=1))


def test_files_are_judged_as_run_judges_them_and_leftovers_are_named(
    folders: tuple[Path, Path], portrait_file: Path
) -> None:
    faces, voices = folders
    (faces / "c.jfif").write_bytes(portrait_file.read_bytes())
    (faces / "d").write_bytes(portrait_file.read_bytes())
    (faces / "older").mkdir()
    (voices / "z.voice").write_bytes((voices / "y.wav").read_bytes())
    told = list[str]()
    inputs = read_recording_inputs(*folders, InputSettings(seconds=1, warn=told.append))
    assert sorted({item.portrait for item in inputs}) == ["a.png", "b.png", "c.jfif", "d"]
    assert sorted({item.voice for item in inputs}) == ["x.wav", "y.wav", "z.voice"]
    assert f"{faces}: left out, as run would not take them: notes.txt, older" in told
    assert f"{voices}: left out, as run would not take them: b.png, notes.txt" in told


def test_a_file_in_place_of_a_folder_is_taken_whatever_its_suffix(
    folders: tuple[Path, Path], portrait_file: Path, tmp_path: Path
) -> None:
    portrait_file.rename(tmp_path / "face.picture")
    inputs = read_recording_inputs(
        tmp_path / "face.picture", folders[1] / "x.wav", InputSettings(seconds=1)
    )
    assert [(item.portrait, item.voice) for item in inputs] == [("face.picture", "x.wav")]
