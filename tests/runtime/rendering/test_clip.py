"""From files to a file.

The face that is used, the report, and what is left when something fails.
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from fixtures.manifests import edit_manifest
from PIL import Image

from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.errors import (
    AudioError,
    OutputError,
    PortraitError,
    PoseError,
    SettingError,
)
from echoexport.runtime.rendering.clip import ClipReport, ClipRequest, make_clip
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderSettings

BOX = (20.0, 20.0, 76.0, 76.0)


@pytest.fixture
def bundle(null_bundle: Path) -> Iterator[Bundle]:
    with open_bundle(null_bundle) as opened:
        yield opened


@pytest.fixture
def request_of(portrait_file: Path, voice_file: Path) -> Callable[[object], ClipRequest]:
    """A function that asks for a clip of a small portrait and half a second of sound."""
    return lambda output: ClipRequest(portrait_file, voice_file, str(output), face_box=BOX)


def test_the_report_counts_frames_calls_and_time(
    bundle: Bundle, request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    report = make_clip(Session(bundle), request_of(tmp_path / "out.mp4"))
    assert (report.frames, report.fps, report.warnings) == (12, 24.0, ())
    parts = (report.preparing_seconds, report.sampling_seconds, report.decoding_seconds)
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(report.seconds)
    assert report.preparing_seconds < report.first_frame_seconds < report.seconds
    assert report.calls["vae_decoder"] == 12
    assert (
        report.calls["vae_encoder"]
        == report.calls["reference_unet"]
        == report.calls["landmark_encoder"]
        == 1
    )
    assert report.calls["audio_encoder"] == 1
    assert report.calls["denoising_unet"] % 2 == 0  # windows times the bundle's two steps


def test_a_report_counts_its_own_clip_only(
    bundle: Bundle, request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    session = Session(bundle)
    reports = [make_clip(session, request_of(tmp_path / name)) for name in ("a.mp4", "b.mp4")]
    assert reports[0].calls == reports[1].calls


def test_a_silent_voice_is_rendered_and_told_of(
    bundle: Bundle, request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    request = request_of(tmp_path / "out.mp4")
    with wave.open(str(tmp_path / "silent.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(16_000))
    told: list[str] = []
    silent = replace(request, voice=tmp_path / "silent.wav")
    report = make_clip(Session(bundle), silent, warn=told.append)
    assert report.warnings == tuple(told)
    assert [text for text in told if "silent.wav: silent throughout" in text] == told
    assert len(told) == 1


def test_a_few_frames_of_a_long_voice_cost_what_a_short_one_costs(
    bundle: Bundle, request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    long = tmp_path / "long.wav"
    with wave.open(str(long), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        second = np.rint(9000 * np.sin(np.arange(16_000) / 9)).astype("<i2").tobytes()
        for _ in range(600):
            file.writeframes(second)
    request = replace(request_of(tmp_path / "few"), voice=long, settings=RenderSettings(frames=4))
    report = make_clip(Session(bundle), request)
    assert report.frames == 4
    assert report.calls["audio_encoder"] == 1


def test_the_second_clip_of_a_portrait_runs_no_reference_network(
    bundle: Bundle, request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    for index in range(2):  # the second time as another process would: with nothing in memory
        session = Session(bundle, cache=ReferenceCache(tmp_path / "cache"))
        report = make_clip(session, request_of(tmp_path / f"{index}.mp4"))
    assert report.calls["vae_encoder"] == report.calls["reference_unet"] == 0
    assert report.calls["denoising_unet"] > 0


def test_a_real_time_factor_is_seconds_of_work_for_one_second_of_clip() -> None:
    report = ClipReport(48, 24.0, 0.5, 2.5, 1.0, 0.8, seconds=4.0, calls={}, warnings=())
    assert report.real_time_factor == 2.0
    assert report.frames_per_second == 12.0


def test_progress_tells_both_phases_to_their_end(
    bundle: Bundle, request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    make_clip(
        Session(bundle), request_of(tmp_path / "out.mp4"), progress=lambda *step: told.append(step)
    )
    sampling = [(done, total) for name, done, total in told if name == "sampling"]
    assert [done for done, _ in sampling] == list(range(1, sampling[0][1] + 1))
    decoding = [done for name, done, _ in told if name == "decoding"]
    assert decoding == list(range(decoding[0], 13))
    assert told[-1] == ("decoding", 12, 12)


def test_settings_reach_the_rendering(
    bundle: Bundle, request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    settings = RenderSettings(fps=Fraction(30000, 1001), frames=5, steps=3)
    report = make_clip(
        Session(bundle), replace(request_of(tmp_path / "out.mp4"), settings=settings)
    )
    assert (report.frames, report.fps) == (5, float(Fraction(30000, 1001)))
    assert report.calls["denoising_unet"] % 3 == 0


def test_a_clip_of_one_frame_works(
    bundle: Bundle, request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    settings = RenderSettings(frames=1)
    report = make_clip(Session(bundle), replace(request_of(tmp_path / "pngs"), settings=settings))
    assert report.frames == 1
    assert [path.name for path in (tmp_path / "pngs").iterdir()] == ["frame_00000.png"]


def test_a_warning_is_told_before_the_work_and_reported_after_it(
    bundle: Bundle, request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    order: list[str] = []
    report = make_clip(
        Session(bundle),
        replace(request_of(tmp_path / "out.mp4"), face_box=None),
        progress=lambda *step: order.append("progress"),
        warn=order.append,
    )
    assert len(report.warnings) == 1
    assert order[0] == report.warnings[0]
    assert order.count(order[0]) == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"portrait": Path("nowhere.png")}, PortraitError),
        ({"voice": Path("nowhere.wav")}, AudioError),
        ({"face_box": (0.0, 0.0, 2.0, 2.0)}, PortraitError),
        ({"face_box": None, "face_model": Path("nowhere.tflite")}, PortraitError),
        ({"poses": Path("poses")}, PoseError),
        ({"output": "out.gif"}, SettingError),
        ({"settings": RenderSettings(guidance=float("nan"))}, SettingError),
        ({"settings": RenderSettings(fps=0)}, SettingError),
        ({"settings": RenderSettings(frames=0)}, SettingError),
    ],
)
def test_bad_input_leaves_nothing_behind(
    bundle: Bundle,
    request_of: Callable[..., ClipRequest],
    tmp_path: Path,
    change: dict[str, object],
    error: type[Exception],
) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error):
        make_clip(Session(bundle), replace(request_of(tmp_path / "out.mp4"), **change))  # type: ignore[arg-type]
    assert sorted(tmp_path.iterdir()) == before


def test_a_place_that_cannot_be_written_is_refused_before_any_network_runs(
    bundle: Bundle, request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    session = Session(bundle)
    with pytest.raises(OutputError):
        make_clip(session, request_of(tmp_path / "no" / "such" / "folder.mp4"))
    assert not any(session.networks.calls().values())


@pytest.mark.parametrize("name", ["out.mp4", "pngs"])
def test_an_interrupt_leaves_nothing_behind(
    bundle: Bundle, request_of: Callable[..., ClipRequest], tmp_path: Path, name: str
) -> None:
    before = sorted(tmp_path.iterdir())

    def interrupt(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("decoding", 12):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_clip(Session(bundle), request_of(tmp_path / name), progress=interrupt)
    assert sorted(tmp_path.iterdir()) == before


def test_an_older_video_stays_when_a_new_one_fails(
    bundle: Bundle, request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    (tmp_path / "out.mp4").write_bytes(b"an older video")

    def fail(phase: str, done: int, total: int) -> None:
        raise AudioError("no more")

    with pytest.raises(AudioError):
        make_clip(Session(bundle), request_of(tmp_path / "out.mp4"), progress=fail)
    assert (tmp_path / "out.mp4").read_bytes() == b"an older video"


def test_a_pose_bundle_asks_for_poses(
    make_null_bundle: Callable[..., Path], request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    with (
        open_bundle(make_null_bundle("pose", face="pose")) as bundle,
        pytest.raises(PoseError, match="variant 'pose_acc' needs poses: --poses"),
    ):
        make_clip(Session(bundle), request_of(tmp_path / "out.mp4"))


def test_a_pose_bundle_reads_drawn_maps(
    make_null_bundle: Callable[..., Path], request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    (tmp_path / "poses").mkdir()
    for index in range(12):
        Image.fromarray(np.full((32, 32, 3), index, np.uint8)).save(
            tmp_path / "poses" / f"{index:03d}.png"
        )
    with open_bundle(make_null_bundle("pose", face="pose")) as bundle:
        request = replace(request_of(tmp_path / "out.mp4"), poses=tmp_path / "poses")
        report = make_clip(Session(bundle), request)
    assert report.frames == 12
    assert report.calls["landmark_encoder"] > 0


def test_the_bundles_own_rate_is_taken_by_default(
    null_bundle: Path, request_of: Callable[..., ClipRequest], tmp_path: Path
) -> None:
    edit_manifest(null_bundle, lambda data: data.update(fps=12.5))
    with open_bundle(null_bundle) as bundle:
        report = make_clip(Session(bundle), request_of(tmp_path / "out.mp4"))
    assert (report.frames, report.fps) == (7, 12.5)
