"""A WAV file's recordings are found where they are, whatever its headers count."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.runtime.errors import AudioError
from echoexport.runtime.inputs.sound.riff import WavReader, find_wav_parts

NOTE = b"LIST" + struct.pack("<I", 12) + b"INFOISFT" + b"none"
UNKNOWN = (0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_F000, 2_000_000_000, 10**9, 2**30)


def read_parts(data: bytes) -> list[np.ndarray] | None:
    """Each recording's samples by our reader, None where the header is right."""
    file = io.BytesIO(data)
    parts = find_wav_parts(file, name="a.wav")
    if parts is None:
        return None
    found = []
    for part in parts:
        whole = b"".join(iter(WavReader(file, part).read, b""))
        head, _, samples = whole.partition(b"data")
        assert head[:4] == b"RIFF"
        assert struct.unpack("<I", samples[:4]) == (len(samples) - 4,)
        found.append(np.frombuffer(samples[4:], "<i2"))
    return found


@given(
    seeds=st.lists(st.integers(0, 2**31), min_size=1, max_size=4),
    count=st.integers(1, 3000),
    unknown=st.sampled_from([None, *UNKNOWN]),
    before=st.sampled_from([b"", NOTE]),
    behind=st.sampled_from([b"", NOTE]),
)
@settings(max_examples=80, deadline=None)
def test_files_in_one_file_are_all_found(
    make_wav: Callable[..., bytes],
    seeds: list[int],
    count: int,
    unknown: int | None,
    before: bytes,
    behind: bytes,
) -> None:
    spoken = [np.random.default_rng(seed).integers(-9000, 9000, count) for seed in seeds]
    behind = b"" if unknown else behind
    files = [
        make_wav(samples, counted=unknown, riff=unknown, before=before, behind=behind)
        for samples in spoken
    ]
    found = read_parts(b"".join(files))
    if unknown is None and len(seeds) == 1:
        assert found is None
    else:
        assert found is not None
        assert [part.tolist() for part in found] == [samples.tolist() for samples in spoken]


def test_samples_beyond_what_the_header_counts_are_part_of_it(
    make_wav: Callable[..., bytes], make_noise: Callable[..., np.ndarray]
) -> None:
    whole = make_noise(0, count=9000)
    found = read_parts(make_wav(whole, counted=6000, riff=6036))
    assert found is not None
    assert np.array_equal(found[0], whole)
    assert len(found) == 1


@pytest.mark.parametrize(
    "behind",
    [
        bytes(20_000),
        b"TAG" + b"x" * 125,
        b"ID3\4\0" + bytes(range(256)) * 40,
        b"<html>the page goes on</html>\n" * 400,
        NOTE * 3,
        bytes(range(128, 256)),
    ],
    ids=["padding", "ID3v1", "ID3v2", "text", "chunks", "a few bytes"],
)
def test_what_is_no_sound_behind_it_is_left_out(
    make_wav: Callable[..., bytes], make_noise: Callable[..., np.ndarray], behind: bytes
) -> None:
    assert read_parts(make_wav(make_noise(1)) + behind) is None


def test_few_stray_bytes_do_not_hide_the_next_file(
    make_wav: Callable[..., bytes], make_noise: Callable[..., np.ndarray]
) -> None:
    spoken = [make_noise(2), make_noise(3)]
    found = read_parts(make_wav(spoken[0]) + b"\xfe\xed\xfa" + make_wav(spoken[1]))
    assert found is not None
    assert [part.tolist() for part in found] == [samples.tolist() for samples in spoken]


def test_a_count_of_zero_means_unknown_where_samples_follow(
    make_wav: Callable[..., bytes], make_noise: Callable[..., np.ndarray]
) -> None:
    samples = make_noise(4)
    found = read_parts(make_wav(samples, counted=0, riff=0))
    assert found is not None
    assert np.array_equal(found[0], samples)


def test_a_64_bit_count_is_read(
    make_wav: Callable[..., bytes], make_noise: Callable[..., np.ndarray]
) -> None:
    samples = make_noise(5)
    sizes = struct.pack("<QQQI", samples.nbytes + 80, samples.nbytes, samples.size, 0)
    long = b"ds64" + struct.pack("<I", len(sizes)) + sizes
    plain = make_wav(samples, counted=0xFFFF_FFFF, riff=0xFFFF_FFFF)
    data = b"RF64" + plain[4:12] + long + plain[12:]
    assert read_parts(data) is None
    with pytest.raises(AudioError, match="cut short"):
        find_wav_parts(io.BytesIO(data[:-9000]), name="a.wav")


@given(st.binary(max_size=400), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_no_header_is_too_odd_to_be_read_or_refused(
    make_wav: Callable[..., bytes], noise: bytes, place: int
) -> None:
    data = bytearray(make_wav(np.arange(500)))
    data[place : place + len(noise)] = noise
    try:
        parts = find_wav_parts(io.BytesIO(data), name="a.wav")
    except AudioError as error:
        assert "cut short" in str(error)
    else:
        assert all(0 < part.start <= part.stop <= len(data) for part in parts or ())


def test_a_recording_that_lacks_half_is_refused_and_says_how_much(
    make_wav: Callable[..., bytes], make_noise: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    data = make_wav(make_noise(6))
    with pytest.raises(AudioError, match=rf"a\.wav: cut short, 16000 of {len(data)} bytes"):
        find_wav_parts(io.BytesIO(data[:16_000]), name="a.wav")
