"""A pipe is read once, and its sound twice."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.errors import AudioError
from echoexport.runtime.inputs.sound import stored
from echoexport.runtime.inputs.sound.stored import store_sound
from echoexport.runtime.inputs.voice import read_voice


@contextmanager
def pipe_of(data: bytes, path: Path) -> Iterator[Path]:
    """A FIFO that gives the data once."""
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(data,), daemon=True)
    writer.start()
    yield path
    writer.join(10)
    assert not writer.is_alive()


@pytest.mark.parametrize("most", [64 * 2**20, 1000])
def test_a_pipe_gives_the_voice_that_a_file_gives(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_wav: Callable[..., bytes],
    make_noise: Callable[..., np.ndarray],
    most: int,
) -> None:
    monkeypatch.setattr(stored, "_IN_MEMORY", most)
    samples = make_noise(0)
    with pipe_of(make_wav(samples), tmp_path / "voice") as path:
        voice = read_voice(path)
    assert np.array_equal(voice.samples * 32768, samples)
    assert voice.path == path


@pytest.mark.parametrize("most", [64 * 2**20, 1000])
def test_what_a_pipe_gave_can_be_read_again_and_goes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    data = bytes(range(256)) * 900
    monkeypatch.setattr(stored, "_IN_MEMORY", most)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pipe_of(data, tmp_path / "voice") as path, store_sound(path) as sound:
        assert list(tmp_path.iterdir()) == [path]
        with sound.open() as one, sound.open() as other:
            assert one.read(5000) + one.read() == data
            assert other.seek(-10, os.SEEK_END) == len(data) - 10
            assert other.read() == data[-10:]
            assert other.seek(0) == 0
            assert other.read() == data
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_IN_MEMORY", 1000)
    monkeypatch.setattr(stored, "_MOST", 5000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(AudioError, match="/dev/zero: more than"), store_sound("/dev/zero"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_pipe_that_gives_nothing_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(AudioError, match="voice: the pipe gives nothing"),
        pipe_of(b"", tmp_path / "voice") as path,
        store_sound(path),
    ):
        pass
