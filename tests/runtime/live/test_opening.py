"""A session is opened from a portrait in a file or an array, and bundles share one host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fixtures.live_stage import RATE, make_voice
from PIL import Image

from echoexport.runtime import Bundle, FaceChoice, open_bundle
from echoexport.runtime.errors import PortraitError, PoseError, SettingError
from echoexport.runtime.live.opening import find_host


@pytest.fixture
def bundle(null_bundle: Path) -> Iterator[Bundle]:
    with open_bundle(null_bundle) as opened:
        yield opened


GREY = np.full((64, 64, 3), 128, np.uint8)


def test_a_portrait_may_be_a_file(bundle: Bundle, portrait_file: Path) -> None:
    with bundle.live(portrait_file, pace="fast") as talk:
        talk.push(make_voice(0.2), RATE)
        talk.finish()
        frames = list(talk)
    assert sum(frame.samples.size > 0 for frame in frames) == 5
    assert frames[0].picture.shape == (32, 32, 3)


def test_what_is_said_is_timed_by_the_machines_own_clock(bundle: Bundle) -> None:
    from time import monotonic

    with bundle.live(GREY, fps=25) as talk:
        begun = monotonic()
        for frame in talk:
            if frame.index == 10:
                break
        assert 0.38 < monotonic() - begun < 2


def test_sessions_of_a_bundle_share_its_engines(bundle: Bundle) -> None:
    with bundle.live(GREY) as one, bundle.live(GREY) as other:
        assert one._host is other._host is find_host(bundle)


def test_a_bundle_that_closes_ends_its_sessions(null_bundle: Path) -> None:
    bundle = open_bundle(null_bundle)
    talk = bundle.live(GREY)
    bundle.close()
    assert talk.next_frame() is None
    with open_bundle(null_bundle) as again, again.live(GREY) as talk:
        assert talk.next_frame() is not None


def test_another_portrait_is_taken_while_the_first_goes_on(bundle: Bundle, tmp_path: Path) -> None:
    Image.new("RGB", (80, 80), "red").save(tmp_path / "red.png")
    with bundle.live(GREY, fps=100) as talk:
        talk.portrait(tmp_path / "red.png")
        assert [talk.next_frame() for _ in range(5)].count(None) == 0
        with pytest.raises(PortraitError, match="nobody"):
            talk.portrait(tmp_path / "nobody.png")
        assert talk.next_frame() is not None


def test_a_portrait_that_cannot_be_read_opens_nothing(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no picture")
    with pytest.raises(PortraitError, match=r"words\.png"):
        bundle.live(tmp_path / "words.png")
    with pytest.raises(PortraitError, match="an array is wanted"):
        bundle.live(7)  # type: ignore[arg-type]


def test_a_face_box_is_for_files(bundle: Bundle, portrait_file: Path) -> None:
    with pytest.raises(SettingError, match="goes with a file"):
        bundle.live(GREY, face=FaceChoice(box=(0, 0, 9, 9)))
    bundle.live(portrait_file, face=FaceChoice(box=(2, 2, 20, 20))).close()


def test_settings_that_nobody_knows_are_refused_with_those_there_are(bundle: Bundle) -> None:
    with pytest.raises(SettingError, match="no live setting 'speed'; known: fps, mode"):
        bundle.live(GREY, speed=2)


def test_bundles_that_poses_drive_want_poses(
    make_null_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    with open_bundle(make_null_bundle("posed", face="pose")) as posed:
        with pytest.raises(PoseError, match="needs poses"):
            posed.live(GREY)
        poses = tmp_path / "poses"
        poses.mkdir()
        side = posed.manifest.picture.height
        for index in range(3):
            Image.new("RGB", (side, side), (index, 9, 9)).save(poses / f"{index}.png")
        face = FaceChoice(poses=poses)
        with posed.live(GREY, face=face, pace="fast") as talk:
            talk.push(make_voice(0.3), RATE)
            talk.finish()
            assert sum(frame.samples.size > 0 for frame in talk) >= 7
