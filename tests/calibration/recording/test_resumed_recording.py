"""An interrupted recording goes on to the same bytes, and a broken one leaves what was there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from echoexport.calibration.recording.recording import RecordingInput, RecordingSettings, record_set
from echoexport.calibration.recording.set_writer import recorded_alone
from echoexport.calibration.recording.sets import CalibrationSet
from echoexport.runtime.errors import (
    CalibrationError,
    OutputError,
)
from echoexport.runtime.inputs.portrait import FaceCrop
from echoexport.runtime.inputs.resize import Size


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_recording_goes_on_to_the_same_bytes(
    record: Callable[..., CalibrationSet],
    backend: Any,
    tmp_path: Path,
    error: type[BaseException],
    inputs_of: Callable[..., list[RecordingInput]],
) -> None:
    inputs = inputs_of(4, 1)
    whole = record(inputs, name="whole")
    needed = backend.calls["denoising_unet"]
    backend.calls.clear()

    def fail(network: str, call: int, outputs: dict[str, np.ndarray]) -> None:
        if (network, call) == ("denoising_unet", needed // 2 + 3):
            raise error

    backend.spoil = fail
    with pytest.raises(error):
        record(inputs)
    assert not (tmp_path / "set").exists()
    backend.calls.clear()
    backend.spoil = lambda network, call, outputs: None
    again = record(inputs)
    assert backend.calls["denoising_unet"] == needed // 2
    assert read_all(again.folder) == read_all(whole.folder)
    assert sorted(path.name for path in tmp_path.iterdir() if "set" in path.name) == ["set"]


def test_a_resumed_recording_with_other_inputs_begins_anew(
    record: Callable[..., CalibrationSet],
    backend: Any,
    crop_of: Callable[[int], Callable[[Size], FaceCrop]],
    inputs_of: Callable[..., list[RecordingInput]],
) -> None:
    def fail(network: str, call: int, outputs: dict[str, np.ndarray]) -> None:
        if network == "vae_decoder":
            raise KeyboardInterrupt

    backend.spoil = fail
    with pytest.raises(KeyboardInterrupt):
        record()
    backend.spoil = lambda network, call, outputs: None
    others = [
        replace(item, crop=crop_of(9)) if item.portrait == "p0" else item for item in inputs_of()
    ]
    assert read_all(record(others).folder) == read_all(record(others, name="whole").folder)


def test_progress_counts_calls_and_goes_on_where_it_was(
    null_bundle: Path, tmp_path: Path, backend: Any, inputs_of: Callable[..., list[RecordingInput]]
) -> None:
    told: list[tuple[str, int, int]] = []

    def run() -> CalibrationSet:
        def report(what: str, done: int, total: int) -> None:
            told.append((what, done, total))

        return record_set(
            null_bundle,
            inputs_of(3, 1),
            tmp_path / "set",
            settings=RecordingSettings(samples=8, backend="null"),
            report=report,
        )

    def interrupt(network: str, call: int, outputs: dict[str, np.ndarray]) -> None:
        if (network, call) == ("denoising_unet", 10):
            raise KeyboardInterrupt

    backend.spoil = interrupt
    with pytest.raises(KeyboardInterrupt):
        run()
    assert told == [("recording", done, 24) for done in (*range(10),)]
    told.clear()
    backend.spoil = lambda network, call, outputs: None
    run()
    assert told == [("recording", done, 24) for done in range(8, 25)]


def test_nan_in_an_output_is_told_with_network_tensor_step_and_timestep(
    record: Callable[..., CalibrationSet],
    backend: Any,
    tmp_path: Path,
    inputs_of: Callable[..., list[RecordingInput]],
) -> None:
    def spoil(network: str, call: int, outputs: dict[str, np.ndarray]) -> None:
        if (network, call) == ("denoising_unet", 7):
            outputs["velocity"][0, 0, 0, 0, 0] = np.nan

    backend.spoil = spoil
    message = (
        r"denoising_unet: output 'velocity' holds NaN or infinity "
        r"at step 2 of 2 \(timestep 499\), window 2, with"
    )
    with pytest.raises(CalibrationError, match=message):
        record(inputs_of(1, 1))
    assert not [path for path in tmp_path.iterdir() if "set" in path.name]


def test_no_room_on_the_disk_is_told_before_anything_runs(
    record: Callable[..., CalibrationSet],
    backend: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=64 * 2**20))
    with pytest.raises(OutputError, match=r"set: the set may take 2 MB, the disk has 67 MB free"):
        record()
    assert not backend.calls
    assert not [path for path in tmp_path.iterdir() if "set" in path.name]


def test_a_set_that_another_recording_writes_is_left_to_it(
    record: Callable[..., CalibrationSet], tmp_path: Path
) -> None:
    with (
        recorded_alone(tmp_path / "set"),
        pytest.raises(OutputError, match="another recording of it is at work"),
    ):
        record()
    assert record().count("denoising_unet") > 0


def test_infinity_in_another_network_is_told_with_its_call(
    record: Callable[..., CalibrationSet],
    backend: Any,
    inputs_of: Callable[..., list[RecordingInput]],
) -> None:
    def spoil(network: str, call: int, outputs: dict[str, np.ndarray]) -> None:
        if network == "audio_encoder":
            outputs["audio_states"][0, 0, 0, 0] = np.inf

    backend.spoil = spoil
    message = (
        r"audio_encoder: output 'audio_states' holds NaN or infinity "
        r"at call 1, with portrait p0 and voice v0"
    )
    with pytest.raises(CalibrationError, match=message):
        record(inputs_of(1, 1))


def test_the_same_inputs_and_seed_give_the_same_bytes(
    record: Callable[..., CalibrationSet], inputs_of: Callable[..., list[RecordingInput]]
) -> None:
    first = record(name="a")
    again = record(inputs_of()[::-1], name="b")
    assert read_all(first.folder) == read_all(again.folder)
    assert record(name="c", seed=1).digest != first.digest
