"""What is heard of a file: all its recordings, its pauses, and the track that was meant."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.errors import AudioError
from echoexport.runtime.inputs.sound.decoding import decode_sound
from echoexport.runtime.inputs.voice import SAMPLE_RATE, Voice, read_voice

Make = Callable[..., np.ndarray]
Encode = Callable[..., Path]

ID3V1 = b"TAG" + b"a song".ljust(125, b"\0")
FAULTS = Path(__file__).parents[5] / "shared" / "faults"


def measure_loudness(voice: Voice, begin: float, *, end: float) -> float:
    """Root mean square of a stretch given in seconds."""
    part = voice.samples[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    return float(np.sqrt(np.mean(np.square(part))))


@pytest.fixture(scope="module")
def mp3(tmp_path_factory: pytest.TempPathFactory, make_noise: Make, encode_tracks: Encode) -> bytes:
    """Two seconds of sound."""
    path = tmp_path_factory.mktemp("mp3") / "a.mp3"
    return encode_tracks(path, make_noise(0, count=32_768), codec="libmp3lame").read_bytes()


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "aac"), ("a.m4a", "aac"), ("b.mkv", "pcm_s16le")]
)
def test_a_gap_in_the_time_stamps_is_silence(
    tmp_path: Path, make_noise: Make, encode_tracks: Encode, name: str, codec: str
) -> None:
    path = encode_tracks(
        tmp_path / name,
        make_noise(0, count=32_768),
        codec=codec,
        starts=lambda piece: Fraction(3) if piece == 16 else None,
    )
    voice = read_voice(path)
    assert abs(float(voice.duration) - 4.024) < 0.1
    assert abs(len(voice.samples) - voice.duration * SAMPLE_RATE) < 2
    assert measure_loudness(voice, 0.1, end=1.0) > 0.03
    assert measure_loudness(voice, 1.2, end=2.9) < 1e-3
    assert measure_loudness(voice, 3.1, end=4.0) > 0.03


def test_stamps_that_jitter_change_nothing(
    tmp_path: Path, make_noise: Make, encode_tracks: Encode
) -> None:
    samples = make_noise(1, count=32_768)
    jitter = np.random.default_rng(0).integers(-15, 16, 32)
    starts = [Fraction(64 * piece + int(jitter[piece]), 1000) for piece in range(32)]
    path = encode_tracks(
        tmp_path / "a.mkv", samples, codec="pcm_s16le", starts=lambda piece: starts[piece] + 1
    )
    assert np.array_equal(read_voice(path).samples * 32768, samples)


def test_a_pause_that_nobody_recorded_is_refused(
    tmp_path: Path, make_noise: Make, encode_tracks: Encode
) -> None:
    path = encode_tracks(
        tmp_path / "a.mkv",
        make_noise(1, count=32_768),
        codec="pcm_s16le",
        starts=lambda piece: Fraction(90_000) if piece == 16 else None,
    )
    with pytest.raises(AudioError, match=r"a\.mkv: its time stamps jump by 89999 s, 1\.02 s in"):
        read_voice(path)


@pytest.mark.parametrize("default", [0, 1, 2])
def test_the_default_track_is_heard(
    tmp_path: Path, make_noise: Make, encode_tracks: Encode, default: int
) -> None:
    tracks = [make_noise(number) for number in range(3)]
    path = encode_tracks(tmp_path / "a.mkv", *tracks, codec="pcm_s16le", default=default)
    heard = read_voice(path).samples * 32768
    assert np.array_equal(heard, tracks[default][: heard.size])


def test_a_track_that_nobody_decodes_is_passed_over(
    tmp_path: Path, make_noise: Make, encode_tracks: Encode
) -> None:
    tracks = [make_noise(0, count=32_768), make_noise(1, count=32_768)]
    path = encode_tracks(tmp_path / "a.mp4", *tracks)
    data = path.read_bytes()
    strange = data.replace(b"mp4a", b"apac").replace(b"esds", b"free")
    half = data.rindex(b"mp4a")
    path.write_bytes(strange[:half] + data[half:])
    voice = read_voice(path)
    assert np.corrcoef(voice.samples[: tracks[1].size], tracks[1])[0, 1] > 0.9
    path.write_bytes(strange)
    with pytest.raises(AudioError, match=r"a\.mp4: its sound is of a codec that cannot be decoded"):
        read_voice(path)


@pytest.mark.parametrize("between", [b"", ID3V1, bytes(3000)], ids=["nothing", "tag", "padding"])
def test_mp3_files_in_one_file_are_all_heard(tmp_path: Path, mp3: bytes, between: bytes) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3)
    alone = read_voice(path)
    path.write_bytes(mp3 + between + mp3[:-100] + mp3)
    joined = read_voice(path)
    assert abs(joined.duration - 3 * alone.duration) < Fraction(1, 5)
    assert measure_loudness(joined, 4.5, end=5.8) == pytest.approx(
        measure_loudness(alone, 0.5, end=1.8), rel=0.2
    )


@pytest.mark.parametrize(
    "behind",
    [ID3V1, bytes(20_000), b"<html></html>\n" * 999, np.random.default_rng(0).bytes(20_000)],
    ids=["tag", "padding", "page", "noise"],
)
def test_what_is_no_sound_behind_an_mp3_is_left_out(
    tmp_path: Path, mp3: bytes, behind: bytes
) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3)
    alone = read_voice(path)
    path.write_bytes(mp3 + behind)
    assert 0 <= read_voice(path).duration - alone.duration < Fraction(1, 10)


def test_decoding_can_be_broken_off(tmp_path: Path, make_wav: Callable[..., bytes]) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(make_wav(np.arange(30_000) % 999) * 2)
    frames = decode_sound(path)
    assert next(frames).samples
    frames.close()
    path.unlink()
    with pytest.raises(StopIteration):
        next(frames)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("apac_first.mov", 3.41),
        ("gap.m4a", 5.41),
        ("gap.mkv", 5.41),
        ("mp3_rate_changes.mp3", 2.15),
        ("mp3_two_files_in_one.mp3", 2.09),
        ("obs_tracks.mkv", 3.46),
        ("wav_60_channels.wav", 0.1),
        ("wav_opposite_phase.wav", 1),
        ("wav_placeholder_2e9.wav", 1),
        ("wav_two_files_in_one.wav", 2),
    ],
)
def test_files_from_the_field_are_heard_whole(name: str, seconds: float) -> None:
    if not FAULTS.is_dir():
        pytest.skip(f"{FAULTS} is not here: files that the project does not ship")
    voice = read_voice(FAULTS / name)
    # older FFmpegs give an AAC track in Matroska with its encoder's delay, a packet more
    assert float(voice.duration) == pytest.approx(seconds, abs=0.03)
    assert len(voice.samples) == pytest.approx(seconds * SAMPLE_RATE, abs=480)
    assert measure_loudness(voice, 0, end=seconds / 2) > 0.02
    assert measure_loudness(voice, seconds * 0.6, end=seconds) > 0.02
