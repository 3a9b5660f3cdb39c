"""Rounds: engines opened once, a clip rendered again and again, and when frames were there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from echoexport.profiles.measuring.modes import IN_TURNS, OVERLAPPED
from echoexport.profiles.measuring.rounds import ClipSource, ClipWork, Round, find_frame_times
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BundleError
from echoexport.runtime.rendering.clip import ClipRequest
from echoexport.runtime.rendering.settings import RenderSettings
from echoexport.runtime.trace.tracer import Span


@pytest.fixture
def work(
    null_bundle: Path, portrait_file: Path, make_voice: Callable[..., Path], tmp_path: Path
) -> ClipWork:
    """Four frames of the null bundle, at 25 frames a second."""
    settings = RenderSettings(fps=25, frames=4)
    box = (20, 20, 70, 70)
    clip = ClipRequest(portrait_file, make_voice(seconds=0.5), "", face_box=box, settings=settings)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return ClipWork(null_bundle, None, EngineOptions(), clip, scratch)


@pytest.mark.parametrize("mode", [IN_TURNS, OVERLAPPED])
def test_a_round_is_a_whole_clip_with_its_spans_and_leaves_no_file(
    work: ClipWork, mode: str
) -> None:
    with ClipSource(work, mode=mode) as source:
        assert set(source.load) == set(source.bundle.manifest.networks)
        source.warm_up()
        one = source.run()
        other = source.run()
    assert (source.name, one.frames, one.fps) == (mode, 4, 25.0)
    assert one.begun < one.ended <= other.begun
    moments = find_frame_times(one.spans)
    assert len(moments) == 4
    assert one.begun < moments[0] <= moments[-1] <= one.ended
    assert list(work.scratch.iterdir()) == []


def test_a_bundle_that_does_not_open_is_refused(work: ClipWork, null_bundle: Path) -> None:
    (null_bundle / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json"), ClipSource(work, mode=IN_TURNS):
        pass


def test_frames_are_told_in_their_order_by_the_main_track_alone() -> None:
    spans = (
        Span("encode", "encode", 2.0, 2.5, arguments={"frame": 1}),
        Span("encode", "encode", 1.0, 1.5, arguments={"frame": 0}),
        Span("encode", "encode", 0.0, 9.0, track="another", arguments={"frame": 2}),
        Span("denoising_unet", "engine", 0.0, 0.5),
    )
    assert find_frame_times(spans) == [1.5, 2.5]
    assert find_frame_times(()) == []


def test_a_round_takes_what_lies_between_its_ends() -> None:
    assert Round(1, 25.0, 1.5, 4.0, ()).seconds == 2.5
