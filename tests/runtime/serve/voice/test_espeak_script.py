"""The built-in voice's process: sound as it is made, from wherever it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from echoexport.runtime.serve.voice import espeak_script
from echoexport.runtime.serve.voice.wave_stream import WaveReader

espeakng_loader = pytest.importorskip("espeakng_loader")
FOLDER = Path(espeakng_loader.__file__).parent


def run(text: bytes, *, folder: Path = FOLDER, voice: str = "en-us+f4") -> tuple[bytes, str]:
    script = (sys.executable, "-I", "-S", str(espeak_script.__file__))
    words = (str(folder / "libespeak-ng.so"), str(folder / "espeak-ng-data"), voice, "168")
    done = subprocess.run([*script, *words], input=text, capture_output=True, check=False)
    return done.stdout, done.stderr.decode()


def measure(data: bytes) -> float:
    reader = WaveReader()
    return len(reader.read(data)) / 2 / reader.rate


def test_a_text_is_said() -> None:
    data, said = run(b"Good morning. How are you today?")
    assert 1.5 < measure(data) < 5
    assert said == ""


def test_a_longer_text_takes_longer_and_other_scripts_are_said_too() -> None:
    assert measure(run(b"one two three four five six")[0]) > 1.5 * measure(run(b"one two")[0])
    assert measure(run("Schöne Grüße, привет".encode())[0]) > 1


def test_it_speaks_from_a_folder_with_a_long_name(tmp_path: Path) -> None:
    # The library cuts a path of its data after 160 letters.
    deep = tmp_path / ("a" * 120) / ("b" * 120)
    shutil.copytree(FOLDER, deep / "loader")
    assert measure(run(b"Good morning.", folder=deep / "loader")[0]) > 0.5


@pytest.mark.parametrize(
    ("voice", "folder", "words"),
    [("xx-nobody", FOLDER, "none of this name"), ("en-us", Path("/nowhere"), "libespeak-ng.so")],
)
def test_what_is_not_there_is_one_line(voice: str, folder: Path, words: str) -> None:
    data, said = run(b"Hello.", voice=voice, folder=folder)
    assert data == b""
    assert words in said
    assert said.count("\n") == 1
