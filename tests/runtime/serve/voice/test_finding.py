"""Which voice speaks: one that was asked for, the built-in one, or none; tried before use."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from echoexport.runtime.errors import SettingError
from echoexport.runtime.serve.voice import finding
from echoexport.runtime.serve.voice.finding import BUILT_IN, find_voice


def test_a_command_that_speaks_is_taken(make_program: Callable[..., Any]) -> None:
    words = make_program().words
    voice = find_voice(shlex.join(words))
    assert voice is not None and voice.words == words


def test_a_command_that_fails_is_told_before_anything_begins(
    make_program: Callable[..., Any],
) -> None:
    words = make_program("sys.exit('no model')").words
    with pytest.raises(SettingError, match=r"no model; --tts none does without"):
        find_voice(shlex.join(words))


def test_none_is_no_voice() -> None:
    assert find_voice("none") is None


def test_the_built_in_voice_is_there_with_its_extra() -> None:
    pytest.importorskip("espeakng_loader")
    voice = find_voice(None)
    assert voice is not None and voice.name == BUILT_IN
    sound = b"".join(pcm for pcm, _ in voice.say("Good morning.", goes_on=lambda: True))
    assert len(sound) > 10_000


def test_without_the_extra_there_is_no_voice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "find_spec", lambda name: None)
    assert find_spec("echoexport") is not None
    assert find_voice(None) is None
