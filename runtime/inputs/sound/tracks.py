"""Opens a sound's container and says which of its tracks can be heard, in what order of choice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from echoexport.runtime.errors import AudioError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

__all__ = ["list_tracks", "open_container"]

_DEFAULT = 1  # AV_DISPOSITION_DEFAULT
_FIRST_WITHOUT_METADATA_ERRORS = 19  # of PyAV's versions


def open_container(file: Any, *, name: str) -> InputContainer:
    """Open a path or a reader; tags need not be UTF-8.

    What names other files, such as a playlist, may name local ones, and of a reader none:
    its content may be a stranger's.

    Raises ``AudioError``, naming the file, where it is no media.
    """
    import av

    more: dict[str, Any] = {}
    if int(av.__version__.split(".")[0]) < _FIRST_WITHOUT_METADATA_ERRORS:
        more["metadata_errors"] = "replace"
    try:
        # a playlist could otherwise send the reader to the network
        options = {"protocol_whitelist": "file" if isinstance(file, Path) else "none"}
        target = str(file) if isinstance(file, Path) else file
        container: InputContainer = av.open(target, "r", options=options, **more)
        return container
    except av.FFmpegError as error:
        raise AudioError(
            f"{name}: not a sound or video file that can be read ({error.strerror})"
        ) from error


def list_tracks(container: InputContainer, *, name: str) -> list[AudioStream]:
    """The sound tracks that a decoder is known for; the default ones first, else as they lie.

    Raises ``AudioError``, naming the file, where there is none.
    """
    tracks = list(container.streams.audio)
    if not tracks:
        raise AudioError(
            f"{name}: holds no sound (no audio stream); give a WAV, MP3, M4A or FLAC file"
        )
    # a codec that nobody decodes has no context
    known = [track for track in tracks if track.codec_context is not None]
    if not known:
        raise AudioError(
            f"{name}: its sound is of a codec that cannot be decoded here; export it as WAV, MP3, "
            "AAC or FLAC"
        )
    return sorted(known, key=lambda track: not _is_default(track))


def _is_default(track: AudioStream) -> bool:
    told: Any = track.disposition  # an enum before PyAV 17.1, then a number
    return bool(getattr(told, "value", told) & _DEFAULT)
