"""The portrait and the voice are what the functions that made them make again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echoexport.export.demo import media
from echoexport.export.demo.assets import (
    builtin_face_box,
    builtin_portrait,
    builtin_voice,
)
from echoexport.export.demo.media import (
    PERSON,
    draw_portrait,
    measure_face_box,
    write_portrait,
    write_voice,
)
from echoexport.export.demo.speech import is_available
from echoexport.runtime.errors import OutputError
from echoexport.runtime.inputs.portrait import read_portrait


def test_the_portrait_is_what_is_drawn() -> None:
    np.testing.assert_array_equal(read_portrait(builtin_portrait()), draw_portrait())


def test_a_portrait_that_is_written_reads_back_the_same(tmp_path: Path) -> None:
    write_portrait(tmp_path / "new.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new.png")), draw_portrait())
    assert [path.name for path in tmp_path.iterdir()] == ["new.png"]


def test_a_portrait_that_cannot_be_written_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        write_portrait(tmp_path / "nowhere" / "portrait.png")


def test_the_person_was_in_no_training_data() -> None:
    assert PERSON >= 1_000_000


def test_the_face_box_is_the_drawn_persons() -> None:
    assert builtin_face_box() == measure_face_box()


@pytest.mark.skipif(not is_available(), reason="libespeak-ng is not installed (package espeak-ng)")
def test_the_voice_is_what_is_spoken(tmp_path: Path) -> None:
    write_voice(tmp_path / "new.wav")
    assert (tmp_path / "new.wav").read_bytes() == builtin_voice().read_bytes()


def test_both_are_remade_by_one_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(media, "write_voice", lambda path: path.write_bytes(b"a voice"))
    media.write_media(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["portrait.png", "voice.wav"]
