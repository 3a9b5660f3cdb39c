"""An mp4 holds every frame and its sound in step, or is not there at all."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from echoexport.runtime.errors import AudioError, OutputError, SettingError
from echoexport.runtime.inputs.rates import covering_frame_count
from echoexport.runtime.inputs.sound.stored import store_sound
from echoexport.runtime.inputs.voice import read_voice
from echoexport.runtime.sinks.open import open_sink

SIZE = (64, 48)


def probe(path: Path) -> dict[str, object]:
    """What a player would find: codecs, counts and lengths."""
    import av

    with av.open(str(path)) as container:
        video = container.streams.video[0]
        found: dict[str, object] = {
            "video": video.codec_context.name,
            "pixels": video.codec_context.pix_fmt,
            "size": (video.width, video.height),
            "rate": video.average_rate,
            "frames": video.frames,
            "decoded": sum(1 for _ in container.decode(video)),
            "seconds": video.duration * video.time_base,
            "colour": (video.codec_context.colorspace, video.codec_context.color_range),
            "sounds": len(container.streams.audio),
        }
        for sound in container.streams.audio:
            found |= {
                "sound": sound.codec_context.name,
                "sound_rate": sound.rate,
                "channels": sound.channels,
            }
            found["sound_seconds"] = sound.duration * sound.time_base
    return found


def list_boxes(path: Path) -> list[str]:
    """Names of an mp4's top-level boxes, in order."""
    data = path.read_bytes()
    start = 0
    names = []
    while start < len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        names.append(data[start + 4 : start + 8].decode())
        start += size
    return names


@pytest.mark.parametrize("fps", [24, 25, 29.97, Fraction(30_000, 1001)])
def test_an_mp4_holds_every_frame_and_the_sound_to_within_a_frame(
    tmp_path: Path,
    fps: Fraction | float | int,
    make_frames: Callable[..., list[np.ndarray]],
    write_voice: Callable[..., Path],
    write_all: Callable[..., None],
) -> None:
    voice = write_voice(tmp_path / "voice.wav", seconds=1.11)
    count = covering_frame_count(read_voice(voice).duration, fps)
    write_all(
        open_sink(tmp_path / "a.mp4", size=SIZE, fps=fps, voice_path=voice), make_frames(count)
    )
    found = probe(tmp_path / "a.mp4")
    rate = Fraction(fps).limit_denominator(1001)
    assert (found["video"], found["pixels"], found["size"]) == ("h264", "yuv420p", SIZE)
    assert found["frames"] == found["decoded"] == count
    assert found["rate"] == rate
    assert abs(found["seconds"] - count / rate) < Fraction(1, 10_000)
    assert (found["sound"], found["sound_rate"], found["channels"]) == ("aac", 24_000, 1)
    assert abs(found["seconds"] - found["sound_seconds"]) <= 1 / rate


def test_the_index_comes_before_the_pictures(
    tmp_path: Path, make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    write_all(open_sink(tmp_path / "a.mp4", size=SIZE, fps=24), make_frames(5))
    boxes = list_boxes(tmp_path / "a.mp4")
    assert boxes[0] == "ftyp"
    assert boxes.index("moov") < boxes.index("mdat")


def test_the_speech_beside_the_checkout_ends_with_the_picture(
    tmp_path: Path,
    media_dir: Path,
    make_frames: Callable[..., list[np.ndarray]],
    write_all: Callable[..., None],
) -> None:
    speech = media_dir / "speech_en.wav"
    count = covering_frame_count(read_voice(speech).duration, 24)
    write_all(
        open_sink(tmp_path / "a.mp4", size=SIZE, fps=24, voice_path=speech), make_frames(1) * count
    )
    found = probe(tmp_path / "a.mp4")
    assert found["decoded"] == count == 126
    assert 0 <= found["seconds"] - found["sound_seconds"] < Fraction(1, 24)


def test_a_longer_voice_is_cut_at_the_pictures_end(
    tmp_path: Path,
    make_frames: Callable[..., list[np.ndarray]],
    write_voice: Callable[..., Path],
    write_all: Callable[..., None],
) -> None:
    voice = write_voice(tmp_path / "voice.wav", seconds=3)
    write_all(open_sink(tmp_path / "a.mp4", size=SIZE, fps=25, voice_path=voice), make_frames(20))
    found = probe(tmp_path / "a.mp4")
    assert found["seconds"] == Fraction(20, 25)
    assert found["sound_seconds"] == Fraction(20, 25)


def test_a_single_frame_makes_a_video(
    tmp_path: Path,
    make_frames: Callable[..., list[np.ndarray]],
    write_voice: Callable[..., Path],
    write_all: Callable[..., None],
) -> None:
    voice = write_voice(tmp_path / "voice.wav")
    write_all(open_sink(tmp_path / "a.mp4", size=SIZE, fps=24, voice_path=voice), make_frames(1))
    found = probe(tmp_path / "a.mp4")
    assert found["decoded"] == 1
    assert found["seconds"] == Fraction(1, 24)


@pytest.mark.parametrize(
    ("rate", "channels", "wanted"),
    [
        (16_000, 1, (16_000, 1)),
        (44_100, 2, (44_100, 2)),
        (37_800, 1, (48_000, 1)),
        (48_000, 6, (48_000, 2)),
    ],
)
def test_the_sound_keeps_its_rate_where_aac_has_it(
    tmp_path: Path,
    rate: int,
    channels: int,
    wanted: Any,
    make_frames: Callable[..., list[np.ndarray]],
    write_voice: Callable[..., Path],
    write_all: Callable[..., None],
) -> None:
    voice = write_voice(tmp_path / "voice.wav", rate=rate, channels=channels)
    write_all(open_sink(tmp_path / "a.mp4", size=SIZE, fps=24, voice_path=voice), make_frames(24))
    found = probe(tmp_path / "a.mp4")
    assert (found["sound_rate"], found["channels"]) == wanted
    assert abs(found["sound_seconds"] - 1) < Fraction(1, 1000)


def test_the_sound_of_an_array_is_muxed_in_step(
    tmp_path: Path,
    make_frames: Callable[..., list[np.ndarray]],
    write_voice: Callable[..., Path],
    write_all: Callable[..., None],
) -> None:
    voice = read_voice(write_voice(tmp_path / "voice.wav", rate=16_000))
    write_all(
        open_sink(tmp_path / "a.mp4", size=SIZE, fps=24, voice_samples=voice.samples),
        make_frames(24),
    )
    heard = read_voice(tmp_path / "a.mp4").samples[: voice.samples.size]
    assert np.corrcoef(heard, voice.samples)[0, 1] > 0.98


def test_the_sound_of_a_pipe_and_of_two_rates_is_muxed_whole(
    tmp_path: Path,
    make_frames: Callable[..., list[np.ndarray]],
    write_voice: Callable[..., Path],
    write_all: Callable[..., None],
) -> None:
    parts = [
        write_voice(tmp_path / "a.wav", rate=24_000).read_bytes(),
        write_voice(tmp_path / "b.wav", rate=44_100, channels=2).read_bytes(),
    ]
    os.mkfifo(tmp_path / "voice")
    threading.Thread(
        target=(tmp_path / "voice").write_bytes, args=(b"".join(parts),), daemon=True
    ).start()
    with store_sound(tmp_path / "voice") as sound:
        voice = read_voice(sound)
        sink = open_sink(tmp_path / "a.mp4", size=SIZE, fps=24, voice_path=sound)
        write_all(sink, make_frames(48))
    heard = read_voice(tmp_path / "a.mp4").samples[: voice.samples.size]
    assert voice.samples.size == 32_000
    assert np.corrcoef(heard, voice.samples)[0, 1] > 0.98


def test_a_sound_far_beyond_full_scale_is_limited_before_it_is_encoded(
    tmp_path: Path,
    make_frames: Callable[..., list[np.ndarray]],
    write_all: Callable[..., None],
) -> None:
    tone = 1000 * np.sin(np.arange(16_000) / 9).astype("<f4")
    head = struct.pack(
        "<4sI8sIHHIIHH4sI",
        b"RIFF",
        64_036,
        b"WAVEfmt ",
        16,
        3,
        1,
        16_000,
        64_000,
        4,
        32,
        b"data",
        64_000,
    )
    (tmp_path / "a.wav").write_bytes(head + tone.tobytes())
    write_all(
        open_sink(tmp_path / "a.mp4", size=SIZE, fps=24, voice_path=tmp_path / "a.wav"),
        make_frames(24),
    )
    with av.open(str(tmp_path / "a.mp4")) as video:
        loudest = max(np.abs(frame.to_ndarray()).max() for frame in video.decode(audio=0))
    assert 3 < loudest < 6


def test_without_a_voice_the_video_is_silent(
    tmp_path: Path, make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    write_all(open_sink(tmp_path / "a.mov", size=SIZE, fps=24), make_frames(3))
    assert probe(tmp_path / "a.mov")["sounds"] == 0


def show_middle(frame: Any) -> np.ndarray:
    """Red, green and blue of a frame's middle pixel, by ITU-R BT.709 in limited range.

    Not by PyAV, which before 17 converts by another matrix than the frame's tags say.
    """
    stored = frame.to_ndarray().astype(float)  # rows of luma, then both chroma planes
    height, width = SIZE[1], SIZE[0]
    blue, red = stored[height:].reshape(2, height // 2, width // 2)[:, height // 4, width // 4]
    luma = (stored[height // 2, width // 2] - 16) / 219
    red, blue = luma + 1.5748 * (red - 128) / 224, luma + 1.8556 * (blue - 128) / 224
    green = (luma - 0.2126 * red - 0.0722 * blue) / 0.7152
    return np.array([red, green, blue]) * 255


def test_colours_survive_and_are_tagged_bt709(
    tmp_path: Path, write_all: Callable[..., None]
) -> None:
    import av

    colours = [(200, 30, 40), (20, 180, 60), (30, 60, 220), (128, 128, 128)]
    frames = [np.broadcast_to(np.uint8(colour), (SIZE[1], SIZE[0], 3)) for colour in colours]
    write_all(open_sink(tmp_path / "a.mp4", size=SIZE, fps=24), frames)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        shown = [show_middle(frame) for frame in container.decode(video=0)]
    assert tags == (1, 1, 1, 1)
    assert np.abs(np.array(shown) - colours).max() <= 6


def test_an_older_video_is_replaced_only_when_the_new_one_is_whole(
    tmp_path: Path, make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    target = tmp_path / "a.mp4"
    target.write_bytes(b"older")
    with pytest.raises(RuntimeError), open_sink(target, size=SIZE, fps=24) as sink:
        sink.write(make_frames(1)[0])
        raise RuntimeError("the network failed")
    assert target.read_bytes() == b"older"
    write_all(open_sink(target, size=SIZE, fps=24), make_frames(2))
    assert probe(target)["decoded"] == 2


def test_a_video_named_as_a_folder_is_refused(
    tmp_path: Path, make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_all(open_sink(tmp_path / "a.mp4", size=SIZE, fps=24), make_frames(1))


def test_the_voice_is_never_overwritten(
    tmp_path: Path,
    make_frames: Callable[..., list[np.ndarray]],
    write_voice: Callable[..., Path],
    write_all: Callable[..., None],
) -> None:
    talk = tmp_path / "talk.mp4"
    write_all(
        open_sink(talk, size=SIZE, fps=24, voice_path=write_voice(tmp_path / "v.wav")),
        make_frames(24),
    )
    with pytest.raises(SettingError, match="the voice itself"):
        write_all(open_sink(talk, size=SIZE, fps=24, voice_path=talk), make_frames(24))
    assert probe(talk)["decoded"] == 24


def test_a_missing_voice_is_refused_before_anything_is_written(
    tmp_path: Path, write_all: Callable[..., None]
) -> None:
    with pytest.raises(AudioError, match=r"nobody\.wav"):
        write_all(
            open_sink(tmp_path / "a.mp4", size=SIZE, fps=24, voice_path=tmp_path / "nobody.wav"), []
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_a_full_disk_is_named_and_leaves_nothing_behind(
    tmp_path: Path,
    share: float,
    make_frames: Callable[..., list[np.ndarray]],
    write_voice: Callable[..., Path],
    write_all: Callable[..., None],
) -> None:
    voice = write_voice(tmp_path / "voice.wav")
    write_all(
        open_sink(tmp_path / "whole.mp4", size=SIZE, fps=24, voice_path=voice), make_frames(24)
    )
    limit = int((tmp_path / "whole.mp4").stat().st_size * share)
    script = """
        import resource, signal, sys
        import numpy as np
        from echoexport.runtime.errors import OutputError
        from echoexport.runtime.sinks.open import open_sink
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
        rng = np.random.default_rng(0)
        try:
            with open_sink(sys.argv[1], size=(64, 48), fps=24, voice_path=sys.argv[2]) as sink:
                for _ in range(24):
                    sink.write(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        except OutputError as error:
            print(error)
    """
    arguments = [str(tmp_path / "cut.mp4"), str(voice), str(limit)]
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cut.mp4: cannot be written (File too large)" in run.stdout
    assert run.stdout.count("\n") == 1
    assert not run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["voice.wav", "whole.mp4"]


@pytest.mark.parametrize("size", [(63, 48), (64, 47), (0, 48)])
def test_a_size_that_h264_cannot_have_is_refused(tmp_path: Path, size: Any) -> None:
    with pytest.raises(SettingError, match="even sizes"):
        open_sink(tmp_path / "a.mp4", size=size, fps=24)
