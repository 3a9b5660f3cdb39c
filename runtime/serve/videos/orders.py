"""From a request to an order: the portrait, and a voice that was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from echoexport.runtime.errors import AudioError
from echoexport.runtime.inputs.picture_file import StoredPicture
from echoexport.runtime.inputs.sound.stored import StoredSound
from echoexport.runtime.inputs.voice import read_voice
from echoexport.runtime.serve.portraits import PortraitShelf, check_upload, name_upload
from echoexport.runtime.serve.refusals import RefusedError, refuse
from echoexport.runtime.serve.settings import ServeSettings
from echoexport.runtime.serve.videos.forms import read_form
from echoexport.runtime.serve.videos.job import VideoOrder

_FORM = "multipart/form-data"
_LONGEST_NAME = 200
# Heads of what is taken. A playlist, which names other files, is none of them.
_SOUNDS = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b"caff", b"\x1aE\xdf\xa3")
_KNOWN = "WAV, FLAC, MP3, M4A, Ogg or WebM"


def read_order(
    owner: str,
    body: bytes,
    *,
    content_type: str,
    query: Mapping[str, str],
    shelf: PortraitShelf,
    settings: ServeSettings,
) -> VideoOrder:
    """A form with ``voice`` and ``portrait``, or a voice as the body and ``?portrait=NAME``.

    A portrait is a picture, or the name of one that is there; none is the first.

    Raises:
        RefusedError, InputError: what was sent cannot be used.
    """
    name = query.get("portrait")
    voice = body
    picture = b""
    if content_type.lower().startswith(_FORM):
        fields = read_form(content_type, body)
        if unknown := sorted(set(fields) - {"voice", "portrait"}):
            raise _refuse(f"no form field {unknown[0][:60]!r}; known: voice, portrait")
        voice = fields["voice"].content if "voice" in fields else b""
        sent = fields.get("portrait")
        if sent is not None and sent.is_file:
            picture = sent.content
        elif sent is not None:
            name = sent.content[:_LONGEST_NAME].decode("utf-8", "replace")
    portrait = _find_portrait(owner, name, picture, shelf=shelf, settings=settings)
    sound, seconds = check_voice(voice, most=settings.most_video_sound)
    return VideoOrder(owner, portrait, sound, seconds)


def check_voice(content: bytes, *, most: float) -> tuple[StoredSound, float]:
    """A voice that was sent, and its seconds.

    Raises:
        RefusedError: there is none, or it is too long.
        AudioError: it cannot be read.
    """
    if not content:
        raise _refuse("a voice is needed: a sound file as the body, or the form's field 'voice'")
    if not (content.startswith(_SOUNDS) or content[4:8] == b"ftyp" or _is_mp3(content)):
        raise AudioError(f"the voice is no sound file that is taken; {_KNOWN} is")
    sound = StoredSound(Path("the voice"), content)
    # A little more than may be: what is longer is known without the rest of it.
    voice = read_voice(sound, most=Fraction(most) + 1)
    if voice.duration > most:
        raise _refuse(f"the voice is longer than {most:g} s, which is the most that is taken")
    return sound, float(voice.duration)


def _find_portrait(
    owner: str, name: str | None, picture: bytes, *, shelf: PortraitShelf, settings: ServeSettings
) -> Path | StoredPicture:
    if not picture:
        return shelf.find(name, owner)
    check_upload(picture, most_pixels=settings.most_pixels)
    return name_upload(picture)


def _is_mp3(content: bytes) -> bool:
    """Whether it begins with a frame of MPEG or AAC sound."""
    return len(content) > 1 and content[0] == 0xFF and content[1] & 0xE0 == 0xE0


def _refuse(message: str) -> RefusedError:
    return RefusedError(refuse(400, message))
