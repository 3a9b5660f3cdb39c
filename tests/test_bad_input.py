"""The sweep of bad input, through the command line.

One line that names what is wrong and what would work.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from echoexport.runtime.backends import list_backends

BOX = ("--face-box", "20,20,76,76")


@pytest.fixture
def refused(
    refusal: Callable[..., str], null_bundle: Path, portrait_file: Path, voice_file: Path
) -> Callable[..., str]:
    """A function that runs a clip which must be refused, leaving no file; gives the one line."""

    def run(
        *options: object,
        portrait: Path = portrait_file,
        voice: Path = voice_file,
        output: str = "out.mp4",
    ) -> str:
        folder = voice_file.parent
        before = sorted(folder.iterdir())
        files = ("-p", portrait, "-v", voice, "-o", folder / output)
        message = refusal("run", null_bundle, *files, *options, "--no-cache")
        assert sorted(folder.iterdir()) == before
        return message

    return run


@pytest.fixture
def accepted(
    command: Callable[..., Any], null_bundle: Path, portrait_file: Path, voice_file: Path
) -> Callable[..., Any]:
    """A function that runs a clip of one frame which must work; gives what it left."""

    def run(*options: object, portrait: Path = portrait_file, voice: Path = voice_file) -> Any:
        files = ("-p", portrait, "-v", voice, "-o", voice_file.parent / "out.mp4")
        outcome = command("run", null_bundle, *files, "--frames", 1, *options)
        assert outcome.code == 0, outcome
        assert (voice_file.parent / "out.mp4").stat().st_size > 0
        return outcome

    return run


# Voices


def write_silent_video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_float_wav(path: Path, samples: np.ndarray) -> Path:
    """A WAV of 32-bit floats, which the standard library does not write."""
    data = samples.astype("<f4").tobytes()
    numbers = np.array([16, 3 | 1 << 16, 16000, 64000, 4 | 32 << 16], "<u4").tobytes()
    body = b"WAVEfmt " + numbers + b"data" + np.uint32(len(data)).tobytes() + data
    path.write_bytes(b"RIFF" + np.uint32(len(body)).tobytes() + body)
    return path


def test_a_file_without_an_audio_stream(refused: Callable[..., str], tmp_path: Path) -> None:
    voice = write_silent_video(tmp_path / "silent.mp4")
    message = refused(voice=voice)
    assert f"{voice}: holds no sound (no audio stream)" in message
    assert "WAV" in message


def test_a_voice_without_samples(
    refused: Callable[..., str], make_voice: Callable[..., Path]
) -> None:
    voice = make_voice("empty.wav", seconds=0)
    assert str(voice) in refused(voice=voice)


def test_a_voice_file_of_no_bytes(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty.mp3").touch()
    assert str(tmp_path / "empty.mp3") in refused(voice=tmp_path / "empty.mp3")


def test_a_voice_of_a_twentieth_of_a_second(
    refused: Callable[..., str], make_voice: Callable[..., Path]
) -> None:
    voice = make_voice("short.wav", seconds=0.05)
    message = refused(voice=voice)
    assert str(voice) in message
    assert "0.05" in message and "0.1" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(
    refused: Callable[..., str], tmp_path: Path, value: float
) -> None:
    samples = np.zeros(8000, np.float32)
    samples[4000] = value
    voice = write_float_wav(tmp_path / "nan.wav", samples)
    assert str(voice) in refused(voice=voice)


def test_float_samples_are_fine_otherwise(accepted: Callable[..., Any], tmp_path: Path) -> None:
    voice = write_float_wav(
        tmp_path / "fine.wav", np.sin(np.arange(8000, dtype=np.float32) / 9) / 2
    )
    assert "1 frames at 24 fps" in accepted(voice=voice).out


def test_a_text_that_calls_itself_a_wav(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "words.wav").write_text("hello, I am a voice")
    assert str(tmp_path / "words.wav") in refused(voice=tmp_path / "words.wav")


@pytest.mark.parametrize("name", ["nowhere.wav", "."])
def test_a_voice_that_is_missing_or_a_folder(
    refused: Callable[..., str], tmp_path: Path, name: str
) -> None:
    assert str(tmp_path / name) in refused(voice=tmp_path / name)


def test_a_clip_of_one_frame_works(
    accepted: Callable[..., Any], make_voice: Callable[..., Path]
) -> None:
    outcome = accepted("--fps", 5, *BOX, voice=make_voice("short.wav", seconds=0.11))
    assert "1 frames at 5 fps" in outcome.out


@pytest.mark.slow
def test_three_minutes_are_rendered_in_flat_memory(
    make_null_bundle: Callable[..., Path],
    make_voice: Callable[..., Path],
    portrait_file: Path,
    tmp_path: Path,
) -> None:
    bundle = make_null_bundle(side=128)
    program = (
        "import sys\nfrom echoexport.export.cli import main\n"
        "from echoexport.profiles.measuring.clip_run import find_peak_memory\n"
        "main(sys.argv[1:])\nprint(find_peak_memory() or 0)"
    )
    peaks = {}
    for seconds in (2, 180):
        voice = make_voice(f"{seconds}.wav", seconds=seconds)
        files = ("-p", portrait_file, "-v", voice, "-o", tmp_path / f"{seconds}.mp4")
        call = [
            sys.executable,
            "-c",
            program,
            "run",
            bundle,
            *files,
            *BOX,
            "--no-cache",
            "--steps",
            "1",
            "--fps",
            "12",
        ]
        result = subprocess.run(
            [str(part) for part in call], capture_output=True, text=True, check=True
        )
        peaks[seconds] = int(result.stdout.splitlines()[-1])
    with av.open(str(tmp_path / "180.mp4")) as video:
        assert video.streams.video[0].frames == 180 * 12
    # samples, spectrum, features and latents are held, about 70 MB; the frames, 106 MB,
    # would come on top
    assert peaks[180] - peaks[2] < 120e6, peaks


# Portraits


def test_a_portrait_of_16_pixels(refused: Callable[..., str], tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "pink").save(tmp_path / "small.png")
    message = refused(portrait=tmp_path / "small.png")
    assert f"{tmp_path / 'small.png'} is 16x16" in message
    assert "64x64" in message


@pytest.mark.slow
def test_a_portrait_of_8000_pixels(accepted: Callable[..., Any], tmp_path: Path) -> None:
    Image.new("L", (8000, 8000), 90).save(tmp_path / "large.png", compress_level=1)
    outcome = accepted("--face-box", "2000,2000,6000,6000", portrait=tmp_path / "large.png")
    assert "1 frames at 24 fps" in outcome.out


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_pictures_of_all_kinds_are_taken(
    accepted: Callable[..., Any], tmp_path: Path, mode: str
) -> None:
    suffix = ".jpg" if mode == "CMYK" else ".png"
    Image.new(mode, (80, 100), 1).save(tmp_path / f"kind{suffix}")
    assert "1 frames at 24 fps" in accepted(portrait=tmp_path / f"kind{suffix}").out


def test_a_picture_cut_short(
    refused: Callable[..., str], portrait_file: Path, tmp_path: Path
) -> None:
    content = portrait_file.read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    assert str(tmp_path / "cut.png") in refused(portrait=tmp_path / "cut.png")


def test_a_voice_in_the_portraits_place(refused: Callable[..., str], voice_file: Path) -> None:
    assert f"{voice_file} cannot be read as a picture" in refused(portrait=voice_file)


@pytest.mark.parametrize("name", ["nowhere.png", "."])
def test_a_portrait_that_is_missing_or_a_folder(
    refused: Callable[..., str], tmp_path: Path, name: str
) -> None:
    assert str(tmp_path / name) in refused(portrait=tmp_path / name)


@pytest.mark.parametrize(
    "box", ["", "1,2,3", "a,b,c,d", "nan,0,9,9", "60,60,20,20", "500,500,600,600", "0,0,1,1"]
)
def test_a_face_box_that_is_none(refused: Callable[..., str], box: str) -> None:
    message = refused("--face-box", box)
    assert message.startswith("face box")


def test_a_face_model_that_is_none(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "words.tflite").write_text("hello")
    assert str(tmp_path / "words.tflite") in refused("--face-model", tmp_path / "words.tflite")
    assert str(tmp_path / "nowhere.tflite") in refused("--face-model", tmp_path / "nowhere.tflite")


# Settings


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--guidance", "nan"), "guidance nan: a number from 0 to 100 is wanted"),
        (("--guidance", "-1"), "guidance -1.0: a number from 0 to 100 is wanted"),
        (("--guidance", "inf"), "guidance inf: a number from 0 to 100 is wanted"),
        (("--guidance", "much"), "--guidance"),
        (("--steps", "0"), "0 sampling steps"),
        (("--steps", "-1"), "-1 sampling steps"),
        (("--steps", "1001"), "1001 sampling steps"),
        (("--overlap", "4"), "overlap 4: 0 to 3 frames"),
        (("--overlap", "-1"), "overlap -1: 0 to 3 frames"),
        (("--frames", "0"), "'--frames': 0 is not in the range x>=1"),
        (("--frames", "-5"), "'--frames': -5"),
        (("--fps", "0"), "--fps 0: above 0 and up to 1000"),
        (("--fps", "-24"), "--fps -24: above 0"),
        (("--fps", "nan"), "--fps nan: a number is wanted"),
        (("--fps", "5000"), "--fps 5000: above 0 and up to 1000"),
        (("--seed", "-1"), "'--seed': -1"),
        (("--seed", str(2**64)), "'--seed'"),
        (("--threads", "-1"), "'--threads': -1"),
        (("--frame-count", "all"), "frame count 'all'; known: cover, original"),
        (
            ("--backend", "opnvino"),
            f"unknown backend 'opnvino'; known: {', '.join(list_backends())}. Did you mean",
        ),
        (("--poses", "poses"), "variant 'acc' takes no poses; leave --poses out"),
    ],
)
def test_a_setting_that_cannot_work(
    refused: Callable[..., str], options: tuple[str, ...], wanted: str
) -> None:
    assert wanted in refused(*BOX, *options)


def test_guidance_with_a_distilled_variant_works_and_is_warned_of(
    accepted: Callable[..., Any],
) -> None:
    assert accepted("--guidance", 3, *BOX).told == [
        "echoexport: warning: guidance 3: variant 'acc' is distilled for 1; each step costs "
        "two calls"
    ]


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_an_arithmetic_that_nobody_knows(refused: Callable[..., str], backend: str) -> None:
    pytest.importorskip({"ort": "onnxruntime"}.get(backend, backend))
    assert "fp7" in refused(*BOX, "--backend", backend, "--compute", "fp7")


# Outputs


@pytest.mark.parametrize("output", ["no/such/folder/out.mp4", "no/such/folder"])
def test_an_output_whose_folder_is_missing(
    refused: Callable[..., str], tmp_path: Path, output: str
) -> None:
    message = refused(*BOX, output=output)
    assert str(tmp_path / output) in message
    assert "mkdir -p" in message


@pytest.mark.parametrize("output", ["out.gif", "out.avi", "out.wav"])
def test_an_output_of_a_kind_that_is_not_written(refused: Callable[..., str], output: str) -> None:
    message = refused(*BOX, output=output)
    assert output in message
    assert ".mp4" in message


def test_an_output_that_is_a_folder_with_things_in_it(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").touch()
    assert str(tmp_path / "full") in refused(*BOX, output="full")


def test_the_voice_is_not_overwritten(
    refused: Callable[..., str], tmp_path: Path, voice_file: Path
) -> None:
    voice = voice_file.rename(tmp_path / "voice.mp4")
    assert "voice itself" in refused(*BOX, voice=voice, output="voice.mp4")


@pytest.fixture
def closed_folder(tmp_path: Path) -> Path:
    """A folder that nobody may write to."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):  # as root: there is one that even root may not write to
        folder = Path("/proc")
    if os.access(folder, os.W_OK) and folder != Path("/proc"):
        pytest.skip("every folder can be written here")
    return folder


@pytest.mark.parametrize("name", ["out.mp4", "pngs"])
def test_an_output_folder_that_is_not_writable(
    refusal: Callable[..., str],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    closed_folder: Path,
    name: str,
) -> None:
    output = closed_folder / name
    message = refusal("run", null_bundle, "-p", portrait_file, "-v", voice_file, "-o", output, *BOX)
    assert str(output) in message


def test_a_bundles_folder_that_is_not_writable(
    refusal: Callable[..., str], tiny_checkpoint: Path, closed_folder: Path
) -> None:
    message = refusal("build", tiny_checkpoint, "-t", "cpu", "-o", closed_folder / "bundle")
    assert message.startswith(f"{closed_folder / 'bundle'}: cannot write the bundle: ")


@pytest.mark.parametrize("name", ["out.mp4", "pngs"])
def test_a_disk_that_fills_up_while_a_clip_is_written(
    start_command: Callable[..., subprocess.Popen[bytes]],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    tmp_path: Path,
    name: str,
) -> None:
    before = sorted(tmp_path.iterdir())
    files = ("-p", portrait_file, "-v", voice_file, "-o", tmp_path / name)
    process = start_command("run", null_bundle, *files, *BOX, "--no-cache", limit=64)
    assert read_failure(process).startswith(
        f"{tmp_path / name}: cannot be written (File too large)"
    )
    assert sorted(tmp_path.iterdir()) == before


def test_a_disk_that_is_full_behind_raw_frames(
    start_command: Callable[..., subprocess.Popen[bytes]],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    files = ("-p", portrait_file, "-v", voice_file, "-o", "-")
    with Path("/dev/full").open("wb") as full:
        process = start_command("run", null_bundle, *files, *BOX, "--no-cache", stdout=full)
        assert read_failure(process).startswith(
            "raw output: cannot be written (No space left on device)"
        )


def test_a_disk_that_fills_up_while_a_bundle_is_built(
    start_command: Callable[..., subprocess.Popen[bytes]],
    tiny_checkpoint: Path,
    trace_folder: Path,
    tmp_path: Path,
) -> None:
    before = sorted(tmp_path.iterdir())
    options = ("-t", "cpu", "--size", "128x128", "--trace-cache", trace_folder)
    process = start_command(
        "build", tiny_checkpoint, *options, "-o", tmp_path / "bundle", limit=1_000_000
    )
    assert read_failure(process).startswith(
        f"{tmp_path / 'bundle'}: cannot write the bundle: File too large"
    )
    assert sorted(tmp_path.iterdir()) == before


def read_failure(process: subprocess.Popen[bytes]) -> str:
    """The one line on stderr of a command that must fail, without its start."""
    error = process.communicate(timeout=100)[1].decode()
    assert process.returncode == 1
    assert "Traceback" not in error
    said = [line for line in error.splitlines() if line.startswith("echoexport: ")]
    assert len(said) == 1
    assert said[0].startswith("echoexport: error: ")
    assert error.splitlines()[-1] == said[0]
    return said[0].removeprefix("echoexport: error: ")
