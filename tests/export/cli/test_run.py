"""``echoexport run``: what it writes, what it says, and what it keeps."""

from __future__ import annotations

import math
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fixtures.manifests import edit_manifest
from PIL import Image

from echoexport.export.cli.options import ProgressLine
from echoexport.runtime.sampling.noise import SeededNoise

WHOLE_PICTURE = (
    "echoexport: warning: no face box and no face model: the whole picture is used "
    "(--face-box x0,y0,x1,y1 or --face-model)"
)


@pytest.fixture
def slow_arguments(
    null_bundle: Path, portrait_file: Path, make_voice: Callable[..., Path]
) -> Callable[[object], list[object]]:
    """A function that gives a command line which takes seconds.

    A minute of sound at 60 frames a second.
    """
    voice = make_voice(seconds=60)
    return lambda output: [
        "run",
        null_bundle,
        "-p",
        portrait_file,
        "-v",
        voice,
        "-o",
        output,
        "--fps",
        60,
    ]


def test_a_video_holds_picture_and_sound(run: Callable[..., Any], tmp_path: Path) -> None:
    outcome = run(tmp_path / "out.mp4")
    assert outcome.code == 0, outcome
    with av.open(str(tmp_path / "out.mp4")) as video:
        picture = video.streams.video[0]
        sound = video.streams.audio[0]
        assert (picture.codec_context.name, picture.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (picture.width, picture.height, picture.frames) == (32, 32, 12)
        assert sound.codec_context.name == "aac"


def test_the_last_line_says_what_was_made_and_under_which_conditions(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = run(tmp_path / "out.mp4")
    assert re.fullmatch(
        rf"{re.escape(str(tmp_path))}/out\.mp4: 12 frames at 24 fps in [0-9.]+ s "
        r"\([0-9.]+ frames/s, real-time factor "
        r"[0-9.]+, first frame after [0-9.]+ s, measured; null, fp32; reference computed\)\n",
        outcome.out,
    )


@pytest.mark.parametrize("seconds", [0.1, 0.37, 1.0, 2.51])
def test_picture_and_sound_end_within_one_frame(
    run: Callable[..., Any], make_voice: Callable[..., Path], tmp_path: Path, seconds: float
) -> None:
    outcome = run(tmp_path / "out.mp4", voice=make_voice(seconds=seconds))
    assert outcome.code == 0, outcome
    with av.open(str(tmp_path / "out.mp4")) as video:
        picture = video.streams.video[0]
        sound = video.streams.audio[0]
        assert picture.frames == math.ceil(Fraction(round(seconds * 16000), 16000) * 24)
        ends = [float(stream.duration * stream.time_base) for stream in (picture, sound)]
    assert abs(ends[0] - ends[1]) <= 1 / 24


@pytest.mark.parametrize(
    ("text", "rate"), [("29.97", Fraction(2997, 100)), ("30000/1001", Fraction(30000, 1001))]
)
def test_a_broken_rate_is_kept_exactly(
    run: Callable[..., Any], tmp_path: Path, text: str, rate: Fraction
) -> None:
    assert run(tmp_path / "out.mp4", "--fps", text).code == 0
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert video.streams.video[0].average_rate == rate
        assert video.streams.video[0].frames == math.ceil(rate / 2)


def test_a_folder_gets_one_png_a_frame(run: Callable[..., Any], tmp_path: Path) -> None:
    assert run(tmp_path / "pngs").code == 0
    names = sorted(path.name for path in (tmp_path / "pngs").iterdir())
    assert names == [f"frame_{index:05d}.png" for index in range(12)]
    with Image.open(tmp_path / "pngs" / names[0]) as picture:
        assert (picture.size, picture.mode) == ((32, 32), "RGB")
        assert set(np.unique(picture)) == {
            127
        }  # the null backend's zeros, half way between black and white


def test_raw_frames_are_all_that_goes_to_stdout(
    start_command: Callable[..., subprocess.Popen[bytes]],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
) -> None:
    process = start_command(
        "run", null_bundle, "-p", portrait_file, "-v", voice_file, "-o", "-", "--frames", 5
    )
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(out) == 5 * 32 * 32 * 3
    assert set(out) == {127}
    assert error.decode().splitlines()[-1].startswith("-: 5 frames at 24 fps")


def test_a_reader_of_raw_frames_that_leaves_is_one_line(
    start_command: Callable[..., subprocess.Popen[bytes]],
    slow_arguments: Callable[[object], list[object]],
) -> None:
    process = start_command(*slow_arguments("-"))
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    errors = [
        line
        for line in process.stderr.read().decode().splitlines()
        if not re.search(r" \d+/\d+$", line)
    ]
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert errors[-1] == "echoexport: error: raw output: the program reading it has ended"


def test_no_more_frames_are_made_than_asked_for(run: Callable[..., Any], tmp_path: Path) -> None:
    assert run(tmp_path / "pngs", "--frames", 3).code == 0
    assert len(list((tmp_path / "pngs").iterdir())) == 3


def test_more_frames_than_the_voice_has_are_not_made(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    assert run(tmp_path / "pngs", "--frames", 300).code == 0
    assert len(list((tmp_path / "pngs").iterdir())) == 12


def test_the_originals_count_of_frames_is_at_hand(
    run: Callable[..., Any], make_voice: Callable[..., Path], tmp_path: Path
) -> None:
    from echoexport.runtime.conditioning.audio_tokens import original_frame_count

    voice = make_voice(seconds=0.51)
    assert run(tmp_path / "pngs", "--frame-count", "original", voice=voice).code == 0
    rows = 51 // 2  # mel columns of 10 ms, two for one row
    assert len(list((tmp_path / "pngs").iterdir())) in {
        original_frame_count(n, Fraction(24)) for n in (rows, rows + 1)
    }


def test_a_run_without_a_face_says_that_the_whole_picture_is_used(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = run(tmp_path / "out.mp4")
    assert outcome.told == [WHOLE_PICTURE]
    # Before the long work, not after it.
    assert outcome.err.index(WHOLE_PICTURE) < outcome.err.index("sampling")


def test_a_face_box_needs_no_warning(run: Callable[..., Any], tmp_path: Path) -> None:
    outcome = run(tmp_path / "out.mp4", "--face-box", "20,20,76,76.5")
    assert (outcome.code, outcome.told) == (0, [])


def test_a_face_model_finds_the_face(
    command: Callable[..., Any],
    null_bundle: Path,
    media_dir: Path,
    voice_file: Path,
    tmp_path: Path,
) -> None:
    pytest.importorskip("openvino")
    model = media_dir / "models" / "blaze_face_short_range.tflite"
    options = (
        "-p",
        media_dir / "portrait_b.png",
        "-v",
        voice_file,
        "--face-model",
        model,
        "--frames",
        1,
    )
    outcome = command("run", null_bundle, *options, "-o", tmp_path / "out.mp4")
    assert (outcome.code, outcome.told) == (0, [])


def test_a_picture_without_a_face_is_used_whole_and_named(
    run: Callable[..., Any], media_dir: Path, portrait_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    model = media_dir / "models" / "blaze_face_short_range.tflite"
    outcome = run(tmp_path / "out.mp4", "--face-model", model)
    assert outcome.code == 0
    assert len(outcome.told) == 1
    assert outcome.told[0].startswith(f"echoexport: warning: {portrait_file}: no face found")


def test_a_second_run_with_the_same_portrait_takes_its_reference_from_the_cache(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    assert run(tmp_path / "a.mp4").out.endswith("reference computed)\n")
    assert run(tmp_path / "b.mp4").out.endswith("reference from the cache)\n")


def test_another_box_is_another_reference(run: Callable[..., Any], tmp_path: Path) -> None:
    run(tmp_path / "a.mp4")
    assert run(tmp_path / "b.mp4", "--face-box", "30,30,60,60").out.endswith(
        "reference computed)\n"
    )


def test_without_a_cache_nothing_is_kept(run: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        assert run(tmp_path / name, "--no-cache").out.endswith("reference computed)\n")
    assert not (tmp_path / "own-cache").exists()


def test_the_cache_can_be_put_elsewhere(run: Callable[..., Any], tmp_path: Path) -> None:
    run(tmp_path / "a.mp4", "--cache", tmp_path / "elsewhere")
    assert any((tmp_path / "elsewhere").iterdir())
    assert not (tmp_path / "own-cache").exists()


def test_guidance_on_a_distilled_variant_is_warned_of_in_one_line(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = run(tmp_path / "out.mp4", "--guidance", 2.5, "--face-box", "20,20,76,76")
    assert outcome.code == 0
    assert outcome.told == [
        "echoexport: warning: guidance 2.5: variant 'acc' is distilled for 1; each step costs "
        "two calls"
    ]


@pytest.mark.parametrize("guidance", ["0", "1"])
def test_guidance_that_is_off_is_not_warned_of(
    run: Callable[..., Any], tmp_path: Path, guidance: str
) -> None:
    assert run(tmp_path / "out.mp4", "--guidance", guidance, "--face-box", "20,20,76,76").told == []


def test_a_backend_that_the_bundle_does_not_name_can_be_asked_for(
    run: Callable[..., Any], null_bundle: Path, tmp_path: Path
) -> None:
    edit_manifest(null_bundle, lambda data: data.update(backends=["tensorrt"]))
    assert "no backend of this bundle works here" in run(tmp_path / "a", "--frames", 1).told[-1]
    outcome = run(tmp_path / "b", "--frames", 1, "--backend", "null")
    assert outcome.code == 0, outcome
    assert "null, fp32" in outcome.out


def test_the_seed_reaches_the_noise(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from echoexport.runtime.rendering import session

    seeds = []
    draw = session.SeededNoise

    def record(seed: int, **rest: Any) -> SeededNoise:
        seeds.append(seed)
        return draw(seed, **rest)

    monkeypatch.setattr(session, "SeededNoise", record)
    for name, options in (("a", ()), ("b", ("--seed", 7)), ("c", ("--seed", 2**64 - 1))):
        assert run(tmp_path / name, "--frames", 1, *options).code == 0
    assert seeds == [0, 7, 2**64 - 1]


@pytest.mark.slow
def test_two_runs_of_a_real_backend_give_the_same_frames(
    command: Callable[..., Any],
    build_tiny: Callable[..., Path],
    portrait_file: Path,
    voice_file: Path,
    tmp_path: Path,
) -> None:
    pytest.importorskip("onnxruntime")

    def render(name: str) -> bytes:
        files = ("-p", portrait_file, "-v", voice_file, "-o", tmp_path / name)
        outcome = command("run", build_tiny("acc"), *files, "--frames", 1, "--steps", 1)
        assert outcome.code == 0, outcome
        return (tmp_path / name / "frame_00000.png").read_bytes()

    first = render("a")
    assert render("b") == first
    with Image.open(tmp_path / "a" / "frame_00000.png") as picture:
        assert picture.size == (128, 128)
        assert np.asarray(picture).std() > 1  # a picture of something, if only of noise


@pytest.mark.parametrize("name", ["out.mp4", "pngs"])
def test_an_interrupted_run_leaves_nothing(
    start_command: Callable[..., subprocess.Popen[bytes]],
    slow_arguments: Callable[[object], list[object]],
    tmp_path: Path,
    name: str,
) -> None:
    arguments = slow_arguments(tmp_path / name)
    before = sorted(tmp_path.iterdir())
    process = start_command(*arguments, "--no-cache")
    assert any(line.startswith(b"sampling") for line in lines_of(process))
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert (
        error.decode().splitlines()[-1] == "echoexport: interrupted; nothing half-written is left"
    )
    assert b"Traceback" not in error
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["out.mp4", "pngs"])
def test_a_run_interrupted_while_its_last_frames_are_decoded_leaves_nothing(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    # the last frames take milliseconds: a signal from outside may come when the video
    # is whole
    def interrupt(line: ProgressLine, phase: str, done: int, total: int) -> None:
        if phase == "decoding":
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressLine, "__call__", interrupt)
    before = sorted(tmp_path.iterdir())
    outcome = run(tmp_path / name, "--no-cache")
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "echoexport: interrupted; nothing half-written is left"
    assert sorted(tmp_path.iterdir()) == before


def lines_of(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Lines of a running process's stderr as they come; the rest stays to be read."""
    assert process.stderr is not None
    while line := process.stderr.readline():
        yield line


def test_arithmetic_that_the_bundle_chose_and_the_machine_lacks_is_said_and_fp32_takes_its_place(
    run: Callable[..., Any], null_bundle: Path, tmp_path: Path
) -> None:
    edit_manifest(
        null_bundle, lambda data: data["networks"]["denoising_unet"].update(compute="bf16")
    )
    outcome = run(tmp_path / "out.mp4")
    assert outcome.code == 0
    assert (
        "echoexport: warning: the bundle chose bf16 for denoising_unet, which backend 'null' "
        "does not have on this "
        "machine: computing in fp32, more slowly\n"
    ) in outcome.err
    assert "measured; null, fp32;" in outcome.out
    assert "chose" not in run(tmp_path / "other.mp4", "--compute", "fp32").err


def test_a_run_imports_neither_the_compiler_of_bundles_nor_masked_arrays(
    null_bundle: Path, portrait_file: Path, make_voice: Callable[..., Path], tmp_path: Path
) -> None:
    voice = make_voice(seconds=0.5)
    line = ["run", null_bundle, "-p", portrait_file, "-v", voice, "-o", tmp_path / "out.mp4"]
    program = (
        "import sys\nimport numpy\nbefore = set(sys.modules)\n"  # older numpys bring theirs
        "from echoexport.export.cli import main\nmain(sys.argv[1:])\n"
        "wanted = ('numpy.ma', 'echoexport.export.compile', 'echoexport.runtime.rendering')\n"
        "print('loaded', *(name for name in wanted if name in sys.modules.keys() - before))"
    )
    call = [sys.executable, "-c", program, *map(str, line)]
    result = subprocess.run(call, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "loaded echoexport.runtime.rendering"
