"""What a bundle is tuned on: each portrait with each voice, or what is built in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copyfile

import pytest

from echoexport.export.cli.tuning.clips import TuningFiles, find_tuning_clips
from echoexport.profiles.quality.clips import ComparisonClip
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.errors import AudioError, SettingError

Find = Callable[..., list[ComparisonClip]]
BOX = "10,10,80,90"


@pytest.fixture
def find(null_bundle: Path) -> Find:
    """A function that finds clips for the null bundle, of a second each, at 24 fps."""

    def run(**files: object) -> list[ComparisonClip]:
        given = TuningFiles(**files)  # type: ignore[arg-type]
        manifest = read_manifest(null_bundle)
        return find_tuning_clips(given, null_bundle, manifest, seconds=1.0, fps=24.0)

    return run


def test_each_portrait_says_each_voice(
    find: Find, portrait_file: Path, make_voice: Callable[..., Path], tmp_path: Path
) -> None:
    other = Path(copyfile(portrait_file, tmp_path / "other.png"))
    voices = (make_voice("a.wav"), make_voice("b.wav", seconds=2))
    clips = find(portraits=(portrait_file, other), voices=voices, face_boxes=(BOX, BOX))
    assert [clip.name for clip in clips] == [
        "portrait says a",
        "portrait says b",
        "other says a",
        "other says b",
    ]
    assert [clip.frames for clip in clips] == [12, 24, 12, 24]


def test_files_of_one_name_are_told_apart(
    find: Find, portrait_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "more").mkdir()
    other = Path(copyfile(portrait_file, tmp_path / "more" / "portrait.png"))
    clips = find(portraits=(portrait_file, other), voices=(voice_file,), face_boxes=(BOX, BOX))
    assert len({clip.name for clip in clips}) == 2


def test_a_mouth_is_scored_where_the_face_is_known(
    find: Find, portrait_file: Path, voice_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (known,) = find(portraits=(portrait_file,), voices=(voice_file,), face_boxes=(BOX,))
    assert known.score is not None and capsys.readouterr().err == ""
    (unknown,) = find(portraits=(portrait_file,), voices=(voice_file,))
    assert unknown.score is None
    assert "its lip-sync is not measured" in capsys.readouterr().err


@pytest.mark.parametrize("lacking", ["--voice", "--portrait"])
def test_a_portrait_and_a_voice_go_together(
    find: Find, portrait_file: Path, voice_file: Path, lacking: str
) -> None:
    given = {"portraits": (portrait_file,)} if lacking == "--voice" else {"voices": (voice_file,)}
    with pytest.raises(SettingError, match=f"go together: give {lacking} FILE too"):
        find(**given)


def test_somebody_else_s_checkpoint_needs_both(find: Find, null_bundle: Path) -> None:
    with pytest.raises(SettingError, match="only the built-in demo character brings its own"):
        find()


def test_a_box_without_a_portrait_is_refused(find: Find) -> None:
    with pytest.raises(SettingError, match="belong to a --portrait"):
        find(face_boxes=(BOX,))


def test_the_character_brings_portraits_and_voices(
    find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    from echoexport.export.demo import quality_clips

    # of the null bundle none is scored: only the real one's files are the character's
    monkeypatch.setattr(quality_clips, "is_character", lambda manifest: True)
    names = [clip.name for clip in find()]
    assert names == ["built-in", "drawn-1", "drawn-2", "drawn-3"]


def test_a_file_that_is_no_voice_is_refused(find: Find, portrait_file: Path) -> None:
    with pytest.raises(AudioError, match=r"portrait\.png"):
        find(portraits=(portrait_file,), voices=(portrait_file,))
