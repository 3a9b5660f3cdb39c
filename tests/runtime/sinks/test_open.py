"""Frames reach a video, a folder of PNGs or a pipe whole, and a failure leaves nothing behind."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import textwrap
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echoexport.runtime.errors import OutputError, SettingError
from echoexport.runtime.sinks.mp4 import Mp4Sink
from echoexport.runtime.sinks.open import open_sink
from echoexport.runtime.sinks.png_folder import PngFolderSink
from echoexport.runtime.sinks.raw import RawSink

SIZE = (64, 48)


def make_frames(count: int, *, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8) for _ in range(count)]


def write_voice(path: Path, *, seconds: float = 1.0, rate: int = 24_000, channels: int = 1) -> Path:
    rng = np.random.default_rng(0)
    slow = np.repeat(rng.integers(-9000, 9000, int(seconds * rate) // 20 + 1), 20)[
        : int(seconds * rate)
    ]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(slow, channels).astype("<i2").tobytes())
    return path


def write_all(sink, frames) -> None:
    with sink:
        for frame in frames:
            sink.write(frame)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "frames"])
@pytest.mark.parametrize("count", [0, 1, 60])
def test_an_interruption_leaves_nothing_behind(tmp_path, name, count):
    voice = write_voice(tmp_path / "voice.wav")
    frame = make_frames(1)[0]
    with (
        pytest.raises(KeyboardInterrupt),
        open_sink(tmp_path / name, size=SIZE, fps=24, voice_path=voice) as sink,
    ):
        for _ in range(count):
            sink.write(frame)
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["voice.wav"]  # noqa: PTH208 - hidden names count


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_without_a_frame_there_is_no_output(tmp_path, name):
    with pytest.raises(OutputError, match="no frame was written"):
        write_all(open_sink(tmp_path / name, size=SIZE, fps=24), [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_a_folder_that_does_not_exist_is_named(tmp_path, name):
    with pytest.raises(OutputError, match=rf"nowhere/{name}.*mkdir -p .*nowhere"):
        write_all(open_sink(tmp_path / "nowhere" / name, size=SIZE, fps=24), make_frames(1))


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_a_file_in_place_of_the_folder_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be written"):
        write_all(open_sink(tmp_path / "file" / name, size=SIZE, fps=24), make_frames(1))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_a_read_only_folder_is_refused(tmp_path, name):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_all(open_sink(locked / name, size=SIZE, fps=24), make_frames(1))


def test_pngs_are_numbered_and_lossless(tmp_path):
    frames = make_frames(3)
    write_all(open_sink(tmp_path / "frames", size=SIZE, fps=24), frames)
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == ["frame_00000.png", "frame_00001.png", "frame_00002.png"]
    for name, frame in zip(names, frames, strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "frames" / name)), frame)
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "frames").mkdir()
    write_all(PngFolderSink(tmp_path / "frames"), make_frames(1))
    assert (tmp_path / "frames" / "frame_00000.png").is_file()


def test_a_folder_with_something_in_it_is_refused_and_kept(tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"frames: the folder is not empty; remove it"):
        write_all(PngFolderSink(tmp_path / "frames"), make_frames(1))
    assert (tmp_path / "frames" / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_a_file_with_the_folders_name_is_refused_and_kept(tmp_path):
    (tmp_path / "frames").write_text("mine")
    with pytest.raises(OutputError, match="a file is in the way"):
        write_all(PngFolderSink(tmp_path / "frames"), make_frames(1))
    assert (tmp_path / "frames").read_text() == "mine"


def test_raw_frames_are_bytes_in_order():
    stream = io.BytesIO()
    frames = make_frames(3)
    write_all(
        RawSink(stream), [frames[0], frames[1][::-1], frames[2]]
    )  # the second is not contiguous
    assert (
        stream.getvalue() == frames[0].tobytes() + frames[1][::-1].tobytes() + frames[2].tobytes()
    )
    assert not stream.closed


class StingyStream(io.RawIOBase):
    """Takes at most 1000 bytes a time, as a pipe may."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        self.taken += bytes(data[:1000])
        return len(data[:1000])


def test_a_pipe_that_takes_parts_gets_everything():
    stream = StingyStream()
    frames = make_frames(2)
    write_all(RawSink(stream), frames)
    assert stream.taken == frames[0].tobytes() + frames[1].tobytes()


def test_a_reader_that_has_gone_is_said_so():
    reader, writer = os.pipe()
    os.close(reader)
    with (
        io.FileIO(writer, "wb") as stream,
        pytest.raises(OutputError, match="reading it has ended"),
    ):
        write_all(RawSink(stream), make_frames(1))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_raw_output_to_a_full_device_is_refused():
    with io.FileIO("/dev/full", "wb") as stream, pytest.raises(OutputError, match="No space left"):
        write_all(RawSink(stream), make_frames(1))


class LateStream(io.BytesIO):
    """Takes everything and finds the disk full when it is flushed, as a buffered file does."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_found_full_when_flushing_is_refused():
    with pytest.raises(OutputError, match="No space left"):
        write_all(RawSink(LateStream()), make_frames(1))


def test_a_dash_writes_to_standard_output(tmp_path):
    script = """
        import numpy as np
        from echoexport.runtime.sinks import open_sink
        with open_sink("-", size=(4, 2), fps=24) as sink:
            sink.write(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    assert run.stdout == bytes(range(24))
    assert not run.stderr


def test_a_closed_standard_output_gives_one_error_and_no_second_one(tmp_path):
    script = """
        import sys
        import numpy as np
        from echoexport.runtime.errors import OutputError
        from echoexport.runtime.sinks import open_sink
        try:
            with open_sink("-", size=(640, 480), fps=24) as sink:
                for _ in range(100):
                    sink.write(np.zeros((480, 640, 3), np.uint8))
        except OutputError as error:
            sys.exit(str(error))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as run:
        run.stdout.read(1000)
        run.stdout.close()
        assert run.stderr.read().decode() == "raw output: the program reading it has ended\n"
    assert run.returncode == 1


@pytest.mark.parametrize(
    ("out", "kind"),
    [
        ("a.mp4", Mp4Sink),
        ("A.MP4", Mp4Sink),
        ("a.mov", Mp4Sink),
        ("frames", PngFolderSink),
        ("v1.2/", PngFolderSink),
    ],
)
def test_the_name_chooses_the_sink(tmp_path, out, kind):
    assert type(open_sink(f"{tmp_path}/{out}", size=SIZE, fps=24)) is kind
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", " ", ".mp4", "clips/.MOV"])
def test_an_output_without_a_name_is_refused(name):
    with pytest.raises(
        SettingError, match=r"output '.*': has no name; name a file, e\.g\. clip\.mp4"
    ):
        open_sink(name, size=SIZE, fps=24)


@pytest.mark.parametrize("name", ["a.avi", "a.gif", "a.png"])
def test_a_suffix_that_no_sink_writes_is_refused_with_those_that_work(tmp_path, name):
    with pytest.raises(
        SettingError, match=r"no way to write \.\w+; name a \.mp4 or \.mov file, a folder"
    ):
        open_sink(tmp_path / name, size=SIZE, fps=24)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64), np.uint8),
        np.zeros((64, 48, 3), np.uint8),
        np.zeros((48, 64, 3), np.float32),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_a_frame_of_another_shape_or_type_is_refused(tmp_path, name, frame):
    with pytest.raises(SettingError, match=r"\(48, 64, 3\) uint8 RGB is wanted"):
        write_all(open_sink(tmp_path / name, size=SIZE, fps=24), [frame])
    assert not list(tmp_path.iterdir())


def test_frames_of_a_raw_stream_may_not_change_size():
    with pytest.raises(SettingError, match=r"frame of shape \(2, 2, 3\)"):
        write_all(RawSink(io.BytesIO()), [*make_frames(1), np.zeros((2, 2, 3), np.uint8)])
