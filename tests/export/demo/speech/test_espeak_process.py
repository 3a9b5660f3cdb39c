"""The process that says texts: what it collects, what it refuses, how it answers."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from echoexport.export.demo.speech import espeak_process
from echoexport.export.demo.speech.espeak_process import (
    LAST_EVENT,
    PHONEME_EVENT,
    Event,
    InstallationError,
    Recorder,
    RequestError,
    answer_request,
    choose_voice,
    open_library,
)


def list_events(*phonemes: tuple[str, int], kind: int = PHONEME_EVENT) -> Any:
    """Events as the library hands them over, ended by the last one."""
    events = (Event * (len(phonemes) + 1))()
    for event, (name, sample) in zip(events, phonemes, strict=False):
        event.type = kind
        event.sample = sample
        event.name[:] = name.encode().ljust(8, b"\0")
    events[-1].type = LAST_EVENT
    return events


def test_a_recorder_joins_the_samples_and_keeps_the_phonemes_in_order() -> None:
    recorder = Recorder()
    first = (ctypes.c_short * 3)(1, -2, 300)
    second = (ctypes.c_short * 1)(7)
    assert recorder.callback(first, 3, list_events(("h", 0), ("ə", 2))) == 0
    assert recorder.callback(second, 1, list_events(("l", 3))) == 0
    assert bytes(recorder.pcm) == bytes([1, 0, 254, 255, 44, 1, 7, 0])
    assert recorder.phonemes == [("h", 0), ("ə", 2), ("l", 3)]


def test_a_recorder_passes_over_other_events_and_the_end_of_the_sound() -> None:
    recorder = Recorder()
    recorder.callback(None, 0, list_events(("word", 5), kind=1))
    assert recorder.phonemes == []
    assert not recorder.pcm


def test_a_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak_process, "LIBRARY", "libno-such-thing.so.1")
    with pytest.raises(InstallationError, match=r"libno-such-thing\.so\.1 cannot be loaded"):
        open_library(Recorder(), data=None)


def voice_folder(folder: Path) -> str:
    (folder / "voices" / "!v").mkdir(parents=True)
    (folder / "voices" / "!v" / "f3").touch()
    return str(folder)


def test_a_variant_that_the_library_would_pass_over_is_refused(tmp_path: Path) -> None:
    library: Any = SimpleNamespace(espeak_SetVoiceByName=lambda name: 0)
    data = voice_folder(tmp_path)
    choose_voice(library, "en-us+f3", data=data)
    with pytest.raises(RequestError, match=r"voice en-us\+f9: no variant 'f9'"):
        choose_voice(library, "en-us+f9", data=data)


def test_a_voice_that_the_library_does_not_know_is_refused(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def refuse(name: bytes) -> int:
        asked.append(name)
        return 1

    library: Any = SimpleNamespace(espeak_SetVoiceByName=refuse)
    with pytest.raises(RequestError, match="voice xx: espeak-ng has none of this name"):
        choose_voice(library, "xx", data=str(tmp_path))
    assert asked == [b"xx"]


def test_an_answer_is_a_line_that_counts_the_bytes_after_it(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(espeak_process, "say_request", lambda request: ({"rate": 8}, b"\1\0\n\0"))
    answer_request({"text": "a"})
    line, _, rest = capfdbinary.readouterr().out.partition(b"\n")
    assert json.loads(line) == {"rate": 8, "bytes": 4}
    assert rest == b"\1\0\n\0"


@pytest.mark.parametrize(("kind", "missing"), [(RequestError, False), (InstallationError, True)])
def test_an_error_is_an_answer_that_says_whether_something_is_missing(
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    kind: type[Exception],
    missing: bool,
) -> None:
    def fail(request: dict[str, Any]) -> None:
        raise kind("no")

    monkeypatch.setattr(espeak_process, "say_request", fail)
    answer_request({"text": "a"})
    answer = json.loads(capfdbinary.readouterr().out)
    assert answer == {"error": "no", "missing": missing, "bytes": 0}
