"""Programs that speak, that fail, that hang: sound or one line, and nothing left behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from echoexport.runtime.errors import BackendError, SettingError
from echoexport.runtime.serve.voice.command import VoiceCommand, parse_voice


def say(voice: VoiceCommand, text: str = "Hello.") -> tuple[float, int]:
    """Seconds of sound, and its rate."""
    pieces = list(voice.say(text, goes_on=lambda: True))
    rates = {rate for _, rate in pieces}
    (rate,) = rates
    return sum(len(pcm) for pcm, _ in pieces) / 2 / rate, rate


def list_children() -> set[str]:
    """Processes of this one that are not reaped."""
    tasks = Path("/proc/self/task").iterdir()
    return {child for task in tasks for child in (task / "children").read_text().split()}


def wait_for_death(process: str) -> None:
    """A zombie is over too, where nobody reaps what has lost its parent."""
    status = Path(f"/proc/{process}/stat")
    until = time.monotonic() + 10
    while status.exists() and status.read_text().rpartition(")")[2].split()[0] not in "ZX":
        assert time.monotonic() < until, f"process {process} is still there"
        time.sleep(0.02)


def test_a_program_reads_a_text_and_its_sound_is_given(make_program: Callable[..., Any]) -> None:
    assert say(make_program(), "x" * 25) == (1.0, 16_000)


def test_sound_comes_before_the_program_has_ended(make_program: Callable[..., Any]) -> None:
    voice = make_program("head()\nnoise(0.2)\ntime.sleep(60)")
    pieces = voice.say("Hello.", goes_on=lambda: True)
    begun = time.monotonic()
    assert len(next(pieces)[0]) > 0
    pieces.close()
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit('no such voice: anna')", r"exit code 1: no such voice: anna$"),
        ("os.kill(os.getpid(), 9)", "signal 9"),
        ("head()", "no sound"),
        ("pass", "wrote nothing"),
        ("write(b'ID3 and so on')", "wrote no WAV"),
        ("head(bits=8)", "8 bits"),
        ("head()\nnoise(0.1)\nsys.exit(3)", "exit code 3"),
    ],
)
def test_what_fails_is_one_line(make_program: Callable[..., Any], body: str, words: str) -> None:
    with pytest.raises(BackendError, match=words) as told:
        say(make_program(body))
    assert "\n" not in str(told.value)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(BackendError, match="no-such-program: No such file"):
        say(parse_voice("/nowhere/no-such-program --loud"))


def test_one_that_hangs_is_given_up(make_program: Callable[..., Any]) -> None:
    with pytest.raises(BackendError, match=r"no sound for 0\.3 s"):
        say(make_program("time.sleep(60)", patience=0.3))


def test_the_time_that_its_sound_is_played_is_not_the_programs(
    make_program: Callable[..., Any],
) -> None:
    voice = make_program("head()\nnoise(2)\ntime.sleep(0.1)\nnoise(2)", patience=1.0)
    for _ in voice.say("Hello.", goes_on=lambda: True):
        time.sleep(0.4)


def test_one_that_never_ends_is_cut(make_program: Callable[..., Any]) -> None:
    with pytest.raises(BackendError, match="more than 2 s of sound"):
        say(make_program("head()\nwhile True: write(bytes(32000))", most_seconds=2))


def test_it_ends_once_it_is_wanted_no_more_with_all_that_it_started(
    make_program: Callable[..., Any], tmp_path: Path
) -> None:
    note = tmp_path / "child"
    child = "import time, os; open({!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    voice = make_program(
        "import subprocess\nhead()\nnoise(0.1)\n"
        f"subprocess.Popen([sys.executable, '-c', {child.format(str(note))!r}])\n"
        "time.sleep(60)"
    )
    asked = count()
    before = list_children()
    begun = time.monotonic()
    for _ in voice.say("Hello.", goes_on=lambda: not note.exists() or next(asked) < 1):
        pass
    assert time.monotonic() - begun < 10
    assert list_children() == before
    wait_for_death(note.read_text())


def test_no_handle_is_left(make_program: Callable[..., Any]) -> None:
    voice = make_program()
    say(voice)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        say(voice)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_text_is_no_argument_and_no_shell_sees_it(
    make_program: Callable[..., Any], tmp_path: Path
) -> None:
    voice = make_program(f"head()\nnoise(0.1)\nopen({str(tmp_path / 'got')!r}, 'w').write(text)")
    text = f"--help; $(touch {tmp_path / 'no'}) \udc80"
    say(voice, text)
    assert (tmp_path / "got").read_text() == text.replace("\udc80", "?") + "\n"
    assert not (tmp_path / "no").exists()


def test_a_command_is_cut_into_words_as_a_shell_would() -> None:
    voice = parse_voice("/opt/voices/piper --model 'my voice.onnx'")
    assert voice.words == ("/opt/voices/piper", "--model", "my voice.onnx")
    assert voice.name == "piper"


@pytest.mark.parametrize("command", ["", "  ", "piper 'never ends"])
def test_a_command_that_is_none_is_one_line(command: str) -> None:
    with pytest.raises(SettingError, match="tts command"):
        parse_voice(command)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_espeak_ng_speaks_as_the_docs_say() -> None:
    seconds, rate = say(parse_voice("espeak-ng --stdin --stdout"), "Good morning to all of you.")
    assert rate == 22_050
    assert 1 < seconds < 4
