"""A live video holds each frame with its samples, in fragments that play while they come."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from echoexport.runtime.errors import OutputError, SettingError
from echoexport.runtime.sinks.fragmented_mp4 import EncodedPicture, FragmentedMp4Sink

SIZE = (64, 48)
RATE = 16_000
FRAME = RATE // 25


def make_sink(output: Path | io.BytesIO) -> FragmentedMp4Sink:
    return FragmentedMp4Sink(output, size=SIZE, fps=25, sample_rate=RATE)


def draw(level: int) -> np.ndarray:
    return np.full((SIZE[1], SIZE[0], 3), level, np.uint8)


def make_tone(frames: int) -> np.ndarray:
    return (0.5 * np.sin(np.arange(frames * FRAME) * 0.2)).astype(np.float32)


def list_boxes(data: bytes) -> list[str]:
    """Names of the top-level boxes, in order."""
    names = []
    start = 0
    while start < len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        names.append(data[start + 4 : start + 8].decode("ascii"))
        start += size
    return names


def write(sink: FragmentedMp4Sink, *, frames: int, sound: bool = True) -> None:
    tone = make_tone(frames)
    with sink:
        for index in range(frames):
            part = tone[index * FRAME : (index + 1) * FRAME]
            sink.write(draw(4 * index), part if sound else part[:0])


def test_picture_and_sound_are_equally_long_and_in_fragments(tmp_path: Path) -> None:
    target = tmp_path / "live.mp4"
    write(make_sink(target), frames=50)
    boxes = list_boxes(target.read_bytes())
    assert boxes[:2] == ["ftyp", "moov"]
    assert boxes.count("moof") == boxes.count("mdat") >= 2
    with av.open(str(target)) as video:
        pictures = [frame.to_ndarray(format="gray").mean() for frame in video.decode(video=0)]
    with av.open(str(target)) as video:
        sound = np.concatenate([part.to_ndarray()[0] for part in video.decode(audio=0)])
    assert len(pictures) == 50
    assert np.all(np.diff(pictures) > 0)
    # AAC pads its last packet of 1024
    assert 50 * FRAME <= sound.size < 50 * FRAME + 2048
    assert np.abs(sound[2000:30000]).max() == pytest.approx(0.5, abs=0.05)


def test_a_file_ends_with_an_index_and_a_stream_that_never_ends_remembers_none(
    tmp_path: Path,
) -> None:
    target = tmp_path / "live.mp4"
    write(make_sink(target), frames=30)
    assert list_boxes(target.read_bytes())[-1] == "mfra"
    sent = io.BytesIO()
    write(make_sink(sent), frames=30)
    assert list_boxes(sent.getvalue())[-1] == "mdat"


def test_frames_without_sound_are_silent_for_as_long_as_they_are_shown(tmp_path: Path) -> None:
    target = tmp_path / "live.mp4"
    tone = make_tone(10)
    with make_sink(target) as sink:
        for _ in range(25):
            sink.write(draw(10), tone[:0])
        for index in range(10):
            sink.write(draw(200), tone[index * FRAME : (index + 1) * FRAME])
    with av.open(str(target)) as video:
        sound = np.concatenate([part.to_ndarray()[0] for part in video.decode(audio=0)])
    assert np.abs(sound[: 24 * FRAME]).max() < 0.01
    assert np.abs(sound[26 * FRAME : 34 * FRAME]).max() > 0.4


def test_a_stream_can_be_played_before_it_ends() -> None:
    stream = io.BytesIO()
    tone = make_tone(80)
    sink = make_sink(stream)
    with sink:
        for index in range(80):
            sink.write(draw(index), tone[index * FRAME : (index + 1) * FRAME])
        so_far = stream.getvalue()
    with av.open(io.BytesIO(so_far)) as video:
        assert 25 <= sum(1 for _ in video.decode(video=0)) <= 80


@pytest.mark.parametrize("fps", [24, Fraction(30000, 1001)])
def test_no_rate_lets_sound_and_picture_drift(tmp_path: Path, fps: Fraction) -> None:
    target = tmp_path / "live.mp4"
    none = np.zeros(0, np.float32)
    with FragmentedMp4Sink(target, size=SIZE, fps=fps, sample_rate=RATE) as sink:
        for _ in range(200):
            sink.write(draw(9), none)
    with av.open(str(target)) as video:
        sound = sum(part.samples for part in video.decode(audio=0))
    assert abs(sound - 200 * RATE / fps) < 2048


def test_an_error_leaves_no_file_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), make_sink(tmp_path / "live.mp4") as sink:
        sink.write(draw(1), make_tone(1))
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_a_video_without_a_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no frame was written"), make_sink(tmp_path / "a.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_odd_sizes_and_rates_that_aac_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="even sizes"):
        FragmentedMp4Sink(tmp_path / "a.mp4", size=(33, 32), fps=25, sample_rate=RATE)
    with pytest.raises(SettingError, match="AAC has"):
        FragmentedMp4Sink(tmp_path / "a.mp4", size=SIZE, fps=25, sample_rate=17_000)


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingError, match="uint8 RGB"),
        make_sink(tmp_path / "live.mp4") as sink,
    ):
        sink.write(np.zeros((8, 8, 3), np.uint8), make_tone(1))


def test_pictures_are_given_before_the_container_and_play_without_it() -> None:
    given: list[EncodedPicture] = []
    sink = make_sink(io.BytesIO())
    sink.tap = given.append
    write(sink, frames=30)
    assert [picture.index for picture in given] == list(range(30))
    decoder = av.CodecContext.create("h264", "r")
    (shown,) = [
        frame for picture in given[:1] for frame in decoder.decode(av.Packet(picture.data))
    ] or decoder.decode(None)
    assert (shown.width, shown.height) == SIZE


def test_a_key_frame_comes_when_it_is_asked_for() -> None:
    given: list[EncodedPicture] = []
    with make_sink(io.BytesIO()) as sink:
        sink.tap = given.append
        for index in range(10):
            if index == 6:
                sink.ask_key_frame()
            sink.write(draw(10 * index), make_tone(1))
    assert [picture.index for picture in given if picture.is_key] == [0, 6]
