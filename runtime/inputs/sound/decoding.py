"""Decodes a sound frame by frame, the same for the networks and for the viewer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from echoexport.runtime.errors import AudioError
from echoexport.runtime.inputs.sound.plain import PlainFrames
from echoexport.runtime.inputs.sound.riff import WavReader, find_wav_parts
from echoexport.runtime.inputs.sound.stored import StoredSound, store_sound
from echoexport.runtime.inputs.sound.track_clock import TrackClock
from echoexport.runtime.inputs.sound.tracks import list_tracks, open_container

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet

__all__ = ["decode_sound"]

# Containers whose header counts the samples, so that a shorter decode means damage, and
# the seconds to allow for: AAC's delay and padding, up to two packets. An MP3's length
# is a guess: a cut one is read as it is.
_COUNTED_CONTAINERS = {"flac": Fraction(0), "mov,mp4,m4a,3gp,3g2,mj2": Fraction(1, 4)}
_LONGEST_SOUND = 7 * 86_400  # seconds; a header that says more does not know
# Containers that are frames and nothing else: files can be put together, with tags
# between and anything behind.
_BARE_CONTAINERS = ("mp3", "aac")
_BEGINS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"Xing", b"Info")
_CHANCE = Fraction(1, 4)
"""Seconds; from bytes that are no sound a decoder may make as much by chance."""


class _UndecodableTrackError(Exception):
    """Not a frame of a track can be decoded."""


def decode_sound(source: str | Path | StoredSound) -> Generator[AudioFrame, None, None]:
    """Decode a file's default sound track, else its first, frame by frame.

    Where it pauses, by its time stamps, there is silence. Where the track is of a codec
    that nobody decodes, the next is taken. Recordings that were put together in one file
    follow each other; rates and channels may change between frames.

    Raises ``AudioError`` as ``read_voice`` does, all but the check of the length.
    """
    with store_sound(source) as sound, sound.open() as file:
        parts = find_wav_parts(file, name=sound.name)
        if parts is None:
            yield from _decode_tracks(partial(_rewind, file, sound), name=sound.name)
        for part in parts or ():
            yield from _decode_tracks(partial(WavReader, file, part), name=sound.name)


def _rewind(file: BinaryIO, sound: StoredSound) -> Path | BinaryIO:
    """What a container can be opened from again and again."""
    file.seek(0)
    return sound.content if isinstance(sound.content, Path) else file


def _decode_tracks(open_file: Callable[[], Any], *, name: str) -> Iterator[AudioFrame]:
    """The first track of which anything can be decoded."""
    number = 0
    while True:
        with open_container(open_file(), name=name) as container:
            tracks = list_tracks(container, name=name)
            try:
                yield from _decode_track(container, tracks[number], name=name)
                return
            except _UndecodableTrackError as error:
                number += 1
                if number == len(tracks):
                    raise AudioError(str(error)) from error


def _decode_track(
    container: InputContainer, stream: AudioStream, *, name: str
) -> Iterator[AudioFrame]:
    import av

    clock = TrackClock(container, name=name)
    plain = PlainFrames()
    frames = _FrameReader(container, stream)
    try:
        for frame in frames:
            shown = plain.convert(frame)
            _check_finite(shown, name=name, seconds=clock.seconds)
            yield from clock.place(shown)
    except av.FFmpegError as error:
        told = (
            f"{name}: damaged {float(clock.seconds):.2f} s in ({error.strerror}); mend it: "
            "ffmpeg -i IN OUT.wav"
        )
        if isinstance(error, av.error.PatchWelcomeError):
            told = f"{name}: its sound is of a kind of {stream.codec_context.name} that cannot be "
            told += "decoded here; export it as WAV, MP3, AAC or FLAC"
        raise (AudioError if clock.seconds else _UndecodableTrackError)(told) from error
    yield from _end_track(container, stream, frames=frames, clock=clock)


def _end_track(
    container: InputContainer, stream: AudioStream, *, frames: _FrameReader, clock: TrackClock
) -> Iterator[AudioFrame]:
    """Silence up to a track's end where it ends in a pause.

    Raises ``AudioError`` where sound is missing.
    """
    slack = _COUNTED_CONTAINERS.get(container.format.name)
    if slack is None or not stream.duration or not stream.time_base:
        return  # the header only estimates, if it says anything
    missing = stream.duration * stream.time_base - clock.seconds
    if missing <= slack or stream.duration * stream.time_base > _LONGEST_SOUND:
        return
    if frames.packets != stream.frames:
        raise AudioError(
            f"{clock.name}: damaged or cut short, {float(missing - slack):.2f} s are missing; "
            "copy it again"
        )
    yield from clock.pause(missing)


class _FrameReader:
    """Frames of one track; what is no sound between and behind recordings is left out."""

    def __init__(self, container: InputContainer, stream: AudioStream) -> None:
        self.packets = 0
        """How many were read."""
        self._container = container
        self._stream = stream
        self._bare = container.format.name in _BARE_CONTAINERS

    def __iter__(self) -> Iterator[AudioFrame]:
        import av

        fault: av.FFmpegError | None = None
        held: list[AudioFrame] = []  # since the fault
        begun = False
        for packet in self._container.demux(self._stream):
            self.packets += bool(packet.size)
            before = begun
            begun = self._bare and _begins(packet)
            try:
                frames = packet.decode()
            except av.error.InvalidDataError as error:
                if not self._bare:
                    raise
                fault = None if begun or before else fault or error
                held = []
                continue
            if begun:
                fault = None
                held = []
            if fault is None:
                yield from frames
                continue
            held += frames
            if sum(Fraction(frame.samples, frame.sample_rate) for frame in held) > _CHANCE:
                raise fault


def _begins(packet: Packet[Any]) -> bool:
    """Whether a packet holds what stands at the begin or the end of a recording."""
    data = bytes(packet)
    return any(mark in data for mark in _BEGINS)


def _check_finite(frame: AudioFrame, *, name: str, seconds: Fraction) -> None:
    if frame.format.name.startswith(("flt", "dbl")) and not np.isfinite(frame.to_ndarray()).all():
        raise AudioError(
            f"{name}: NaN or infinite samples {float(seconds):.2f} s in; export the sound again"
        )
