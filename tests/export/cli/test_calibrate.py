"""``echoexport calibrate``: portraits and voices in, a set out, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.calibration.recording.sets import open_set
from echoexport.export.architecture import Architecture
from echoexport.export.cli.calibrate import is_character_folder
from echoexport.export.demo.assets import builtin_checkpoint
from echoexport.export.demo.calibration_inputs import (
    FIRST_CALIBRATION_PERSON,
    builtin_recording_inputs,
)
from echoexport.runtime.contract.manifest import read_manifest, write_manifest
from echoexport.runtime.errors import SettingError
from echoexport.runtime.inputs.voice import SAMPLE_RATE


@pytest.fixture
def folders(
    tmp_path: Path, portrait_file: Path, make_voice: Callable[..., Path]
) -> tuple[object, ...]:
    """Options that name a folder of two portraits and one of a voice."""
    for name in ("faces", "voices"):
        (tmp_path / name).mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "faces" / name).write_bytes(portrait_file.read_bytes())
    make_voice("voices/v.wav", seconds=0.5)
    return ("--portraits", tmp_path / "faces", "--voice", tmp_path / "voices")


def test_a_bundle_is_recorded_with_the_files_of_two_folders(
    command: Callable[..., Any], null_bundle: Path, tmp_path: Path, folders: tuple[object, ...]
) -> None:
    outcome = command("calibrate", null_bundle, *folders, "-o", tmp_path / "set", "--samples", "4")
    assert outcome.code == 0, outcome
    assert not outcome.told and "recording 16/16" in outcome.err
    recorded = open_set(tmp_path / "set")
    assert "4 of denoising_unet, 4 of vae_decoder; 2 steps, 2 portraits, 1 voices, " in outcome.out
    assert recorded.digest[:16] in outcome.out
    assert sorted(recorded.manifest.portraits) == ["a.png", "b.png"]
    recorded.require_of(read_manifest(null_bundle))


def test_options_reach_the_recording(
    command: Callable[..., Any], null_bundle: Path, tmp_path: Path, folders: tuple[object, ...]
) -> None:
    options = (
        "--seconds",
        "0.25",
        "--seed",
        "5",
        "--steps",
        "3",
        "--samples",
        "2",
        "--megabytes",
        "9",
    )
    assert command("calibrate", null_bundle, *folders, "-o", tmp_path / "set", *options).code == 0
    recorded = open_set(tmp_path / "set")
    sampling = recorded.manifest.sampling
    assert (sampling.seconds, sampling.seed, recorded.steps, recorded.count("denoising_unet")) == (
        0.25,
        5,
        3,
        2,
    )


def test_half_of_the_inputs_or_none_with_somebody_elses_checkpoint_is_refused(
    refusal: Callable[..., str], null_bundle: Path, tmp_path: Path, folders: tuple[object, ...]
) -> None:
    output = ("-o", tmp_path / "set")
    assert "--portraits and --voice are given together" in refusal(
        "calibrate", null_bundle, *folders[:2], *output
    )
    assert "--portraits and --voice are given together" in refusal(
        "calibrate", null_bundle, *folders[2:], *output
    )
    assert "--portraits DIR and --voice DIR are wanted" in refusal(
        "calibrate", null_bundle, *output
    )
    assert not (tmp_path / "set").exists()


def test_what_the_built_in_inputs_have_no_use_for_is_refused(
    refusal: Callable[..., str], tmp_path: Path
) -> None:
    message = refusal(
        "calibrate", builtin_checkpoint(), "--face-model", "f.task", "-o", tmp_path / "set"
    )
    assert message.startswith("--face-model: the built-in portraits need none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--samples", "0"), "0 samples: one or more of each network are wanted"),
        (("--megabytes", "0"), "0 MB: a limit above 0 is wanted"),
        (("--megabytes", "0.1"), "one sample of each network takes"),
        (("--seconds", "0"), "0 seconds of each voice: 0.1 to 3600 are wanted"),
        (("--seed", "-1"), "seed -1: a whole number"),
        (("--size", "64x64"), "is a bundle and has its own"),
        (("--backend", "nulll"), "Did you mean 'null'"),
        (("--poses", "here"), "takes no poses"),
        (("--face-model", "here.task"), "there is no such face model file"),
    ],
)
def test_options_that_cannot_be_are_refused_and_leave_nothing(
    refusal: Callable[..., str],
    null_bundle: Path,
    tmp_path: Path,
    folders: tuple[object, ...],
    options: tuple[str, ...],
    message: str,
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    assert message in refusal("calibrate", null_bundle, *folders, "-o", tmp_path / "set", *options)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_bad_files_are_named(
    refusal: Callable[..., str], null_bundle: Path, tmp_path: Path, folders: tuple[object, ...]
) -> None:
    (tmp_path / "voices" / "broken.wav").write_text("no sound")
    assert "broken.wav: not a sound or video file" in refusal(
        "calibrate", null_bundle, *folders, "-o", tmp_path / "set"
    )
    missing = ("--portraits", tmp_path / "none", "--audio", tmp_path / "voices")
    assert "none: no portrait there" in refusal(
        "calibrate", null_bundle, *missing, "-o", tmp_path / "set"
    )


def test_an_output_that_is_no_set_is_kept(
    refusal: Callable[..., str], null_bundle: Path, tmp_path: Path, folders: tuple[object, ...]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    message = refusal("calibrate", null_bundle, *folders, "-o", tmp_path / "mine")
    assert "mine: a folder with other things in it" in message
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_a_bundle_that_is_not_fp32_is_refused(
    refusal: Callable[..., str], null_bundle: Path, tmp_path: Path, folders: tuple[object, ...]
) -> None:
    write_manifest(replace(read_manifest(null_bundle), precision="fp16"), null_bundle)
    message = refusal("calibrate", null_bundle, *folders, "-o", tmp_path / "set")
    assert "a fp16 bundle; fp32 is wanted" in message


def test_an_interrupt_keeps_what_was_done_and_says_so(
    command: Callable[..., Any],
    null_bundle: Path,
    tmp_path: Path,
    folders: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from echoexport.calibration.recording import recording

    rendered = []
    render = recording._render

    def stop(*arguments: Any, **options: Any) -> None:
        if rendered:
            raise KeyboardInterrupt
        rendered.append(render(*arguments, **options))  # type: ignore[func-returns-value]

    monkeypatch.setattr(recording, "_render", stop)
    outcome = command("calibrate", null_bundle, *folders, "-o", tmp_path / "set")
    assert outcome.code == 130 and "the same command goes on from them" in outcome.err
    monkeypatch.setattr(recording, "_render", render)
    outcome = command("calibrate", null_bundle, *folders, "-o", tmp_path / "set")
    assert (outcome.code, outcome.err.splitlines()[0]) == (0, "recording 8/16")


@pytest.mark.slow
def test_a_checkpoint_is_built_in_fp32_for_the_recording_alone(
    command: Callable[..., Any],
    tmp_path: Path,
    folders: tuple[object, ...],
    trace_folder: Path,
    micro: Architecture,
) -> None:
    pytest.importorskip("torch")
    from echoexport.export.subnets.random_checkpoint import write_random_checkpoint

    write_random_checkpoint(tmp_path / "weights", architecture=micro)
    small = (
        "--size",
        "16x16",
        "--frames",
        "4",
        "--target",
        "cpu",
        "--trace-cache",
        trace_folder,
        "--seconds",
        "0.2",
    )
    outcome = command(
        "calibrate",
        tmp_path / "weights",
        *folders,
        "-o",
        tmp_path / "set",
        *small,
        "--steps",
        "2",
        "--samples",
        "3",
    )
    assert outcome.code == 0, outcome
    recorded = open_set(tmp_path / "set")
    assert recorded.manifest.source.width == 16 and recorded.count("denoising_unet") == 3
    assert all(
        np.isfinite(a).all() for s in recorded.samples("denoising_unet") for a in s.inputs.values()
    )
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".set")]


def test_built_in_inputs_are_people_of_no_gate_with_voices_and_silence() -> None:
    inputs = builtin_recording_inputs(10)
    assert [item.portrait for item in inputs] == [
        f"drawn-{FIRST_CALIBRATION_PERSON + index}" for index in range(10)
    ]
    assert FIRST_CALIBRATION_PERSON >= 500_000 and FIRST_CALIBRATION_PERSON + 10 < 1_000_000
    assert len({item.voice for item in inputs}) == 10 and inputs[3].voice == "silence"
    loud = [float(np.abs(item.sound.samples).max()) for item in inputs]
    assert loud[3] < 0.001 and min(loud[:3] + loud[4:]) > 0.05
    lengths = [len(item.sound.samples) / SAMPLE_RATE for item in inputs]
    assert min(lengths) > 1.5 and max(lengths) < 2.5
    crops = [item.crop((128, 128)) for item in inputs[:2]]
    for crop in crops:
        assert crop.picture.shape == (128, 128, 3)
        assert 0.1 < (crop.mask == 255).mean() < 0.9
    assert not np.array_equal(crops[0].picture, crops[1].picture)


def test_no_built_in_input_is_refused() -> None:
    with pytest.raises(SettingError, match="0 built-in portraits: 1 to 499999 are wanted"):
        builtin_recording_inputs(0)


def test_the_character_is_known_as_checkpoint_and_as_bundle(
    null_bundle: Path, tmp_path: Path
) -> None:
    assert is_character_folder(builtin_checkpoint())
    assert not is_character_folder(null_bundle) and not is_character_folder(tmp_path)


@pytest.mark.slow
def test_the_built_in_set_survives_a_kill_and_ends_in_the_same_bytes(
    command: Callable[..., Any],
    start_command: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
    trace_folder: Path,
) -> None:
    pytest.importorskip("torch")
    options = ("--trace-cache", trace_folder, "--seconds", "0.5", "--steps", "2", "--samples", "8")
    outcome = command("calibrate", builtin_checkpoint(), "-o", tmp_path / "whole", *options)
    assert outcome.code == 0, outcome
    process = start_command("calibrate", builtin_checkpoint(), "-o", tmp_path / "set", *options)
    done = tmp_path / ".set.part" / "done"
    deadline = time.monotonic() + 120
    while not (done.is_dir() and list(done.glob("*.json"))) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    outcome = command("calibrate", builtin_checkpoint(), "-o", tmp_path / "set", *options)
    assert outcome.code == 0, outcome
    whole = open_set(tmp_path / "whole")
    again = open_set(tmp_path / "set")
    assert whole.digest == again.digest
    names = sorted(path.relative_to(whole.folder) for path in whole.folder.rglob("*"))
    assert names == sorted(path.relative_to(again.folder) for path in again.folder.rglob("*"))
    assert (whole.folder / "set.json").read_bytes() == (again.folder / "set.json").read_bytes()
    assert len(json.loads((again.folder / "set.json").read_text())["portraits"]) == 8
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".set")]
