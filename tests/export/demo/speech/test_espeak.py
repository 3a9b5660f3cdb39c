"""A sentence from the installed espeak-ng: repeatable, its timeline in order."""

from __future__ import annotations

import numpy as np
import pytest

from echoexport.export.demo.speech import espeak
from echoexport.export.demo.speech.espeak import Speaker, is_available, speak
from echoexport.runtime.errors import BackendError, SettingError

needs_espeak = pytest.mark.skipif(
    not is_available(), reason="libespeak-ng is not installed (package espeak-ng)"
)


TEXT = "The purple map shows five big shoes."


SPEAKER = Speaker("en-us+f3")


@needs_espeak
def test_a_text_sounds_the_same_whatever_was_said_before() -> None:
    alone = speak([TEXT], SPEAKER)[0]
    speak(["Guten Tag, wie geht es?"], Speaker("de+m2", 140, 30, 70))
    after = speak(["Something else entirely!", TEXT], SPEAKER)[1]
    np.testing.assert_array_equal(alone.samples, after.samples)
    assert alone.timeline == after.timeline


@needs_espeak
def test_the_timeline_lies_in_order_within_the_samples() -> None:
    speech = speak([TEXT], SPEAKER)[0]
    edges = [edge for phone in speech.timeline for edge in (phone.start, phone.end)]
    assert edges == sorted(edges)
    assert edges[0] >= 0
    assert edges[-1] <= speech.samples.size / 16000
    assert [phone.name for phone in speech.timeline].count("p") == 3


@needs_espeak
def test_a_faster_speaker_takes_less_time() -> None:
    slow, fast = (speak([TEXT], Speaker("en-us", speed))[0].samples.size for speed in (130, 200))
    assert fast < 0.8 * slow


@needs_espeak
@pytest.mark.parametrize("voice", ["zz", "en-us+nobody"])
def test_an_unknown_voice_is_refused_by_name(voice: str) -> None:
    with pytest.raises(SettingError, match=voice.replace("+", r"\+")):
        speak([TEXT], Speaker(voice))


@needs_espeak
def test_a_folder_without_voices_is_refused(tmp_path: object) -> None:
    with pytest.raises(BackendError, match="finds no voices"):
        speak([TEXT], SPEAKER, data=str(tmp_path))


def test_a_text_of_nothing_is_refused() -> None:
    with pytest.raises(SettingError, match="nothing to say"):
        speak(["  "], SPEAKER)


def test_a_missing_library_names_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    script = espeak._SCRIPT.read_text(encoding="utf-8").replace(
        "libespeak-ng.so.1", "libno-such-espeak.so.1"
    )
    changed = type(espeak._SCRIPT)(str(tmp_path)) / "script.py"
    changed.write_text(script, encoding="utf-8")
    monkeypatch.setattr(espeak, "_SCRIPT", changed)
    with pytest.raises(BackendError, match=r"libno-such-espeak.*package espeak-ng"):
        speak([TEXT], SPEAKER)
