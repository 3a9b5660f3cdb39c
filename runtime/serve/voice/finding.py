"""Which voice a server speaks with: a command that was given, the built-in one, or none."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from echoexport.runtime.errors import BackendError, SettingError
from echoexport.runtime.serve.voice.command import VoiceCommand, parse_voice

BUILT_IN = "built-in"
"""The name of the voice that the extra "voice" brings."""

_NONE = "none"
_SCRIPT = Path(__file__).with_name("espeak_script.py")
# One that the built-in character was trained with.
_SPEAKER = ("en-us+f4", "168")


def find_voice(command: str | None) -> VoiceCommand | None:
    """The voice of a command; without one the built-in voice, where it is installed.

    It is tried once, so that what does not work is told now.

    Raises:
        SettingError: the command cannot be used.
        BackendError: the built-in voice is installed and does not speak.
    """
    if command == _NONE:
        return None
    if command is None:
        voice = _find_built_in()
        if voice is not None:
            voice.try_out()
        return voice
    voice = parse_voice(command)
    try:
        voice.try_out()
    except BackendError as error:
        raise SettingError(f"tts command {command!r}: {error}; --tts none does without") from error
    return voice


def _find_built_in() -> VoiceCommand | None:
    spec = find_spec("espeakng_loader")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    library = folder / "libespeak-ng.so"
    if not library.is_file():  # a platform whose wheel has none
        return None
    # -I -S: isolated and without site-packages, which it does not need.
    start = (sys.executable, "-I", "-S", str(_SCRIPT))
    words = (*start, str(library), str(folder / "espeak-ng-data"), *_SPEAKER)
    return VoiceCommand(words, name=BUILT_IN)
