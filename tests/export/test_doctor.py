"""What works on a machine and what is missing: lines for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.export import doctor
from echoexport.export.doctor import Check
from echoexport.runtime.backends import list_backends
from echoexport.runtime.device import Device
from echoexport.targets.spec import list_targets

DEVICES = Path(__file__).parents[1] / "fixtures" / "devices"


@pytest.fixture
def block(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that makes packages look as if they were not installed."""
    find = importlib.util.find_spec

    def hide(*names: str) -> None:
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *a: None if name in names else find(name, *a)
        )

    return hide


def test_the_doctor_has_a_line_for_each_backend_and_target(command: Callable[..., Any]) -> None:
    outcome = command("doctor")
    assert (outcome.code, outcome.err) == (0, "")
    first = [line.split()[0] for line in outcome.out.splitlines()]
    assert set(list_backends()) <= set(first)
    assert set(list_targets()) <= set(first)


def test_the_doctor_says_what_the_export_lacks(
    command: Callable[..., Any], block: Callable[..., None]
) -> None:
    block("torch", "onnx")
    out = command("doctor").out
    missing = "torch, onnx not installed: pip install 'echoexport[export]'"
    assert f"export         no  {missing}" in out
    targets = out.split("\ntargets\n")[1].splitlines()
    assert len(targets) == len(list_targets())
    assert all("does not build here (see export above)" in line for line in targets)


def test_the_doctor_says_what_face_detection_lacks(
    command: Callable[..., Any], block: Callable[..., None]
) -> None:
    block("openvino", "ai_edge_litert")
    lines = command("doctor").out.splitlines()
    found = next(line for line in lines if line.strip().startswith("face detection"))
    assert " no " in found
    assert "pip install 'echoexport[openvino]'" in found


def test_the_doctor_says_that_no_video_can_be_written(
    command: Callable[..., Any], block: Callable[..., None]
) -> None:
    block("av")
    lines = command("doctor").out.splitlines()
    found = next(line for line in lines if line.strip().startswith("video"))
    assert "av not installed: pip install av" in found


@pytest.fixture
def be(
    monkeypatch: pytest.MonkeyPatch, recorded_device: Callable[..., Device]
) -> Callable[..., Device]:
    """A function that makes this machine a recorded one, on which only some backends work."""

    def become(name: str, *works: str, **environment: str) -> Device:
        device = recorded_device(name, **environment)
        monkeypatch.setattr(doctor, "detect_device", lambda: device)
        checks = {each: Check(each in works, f"{each} as told") for each in list_backends()}
        monkeypatch.setattr(doctor, "_check_backend", checks.__getitem__)
        return device

    return become


@pytest.fixture
def section(command: Callable[..., Any]) -> Callable[[str], dict[str, list[str]]]:
    """A function that gives the doctor's lines of one section by their first word."""

    def read(title: str) -> dict[str, list[str]]:
        outcome = command("doctor")
        assert (outcome.code, outcome.err) == (0, "")
        lines = re.split(r"^(?=\w)", outcome.out, flags=re.MULTILINE)
        (found,) = (text.splitlines()[1:] for text in lines if text.startswith(f"{title}\n"))
        table: dict[str, list[str]] = {}
        for line in found:
            name, _, text = (
                line[2:].partition("  ") if "  " in line[2:] else line[2:].partition(" ")
            )
            table.setdefault(name.strip(), []).append(text.strip())
        return table

    return read


Section = Callable[[str], dict[str, list[str]]]
Be = Callable[..., Device]


def test_the_doctor_says_why_a_target_does_not_run_here(be: Be, section: Section) -> None:
    be("cpu-box")
    assert section("targets")["cpu"][0].endswith("does not run here (see ort above)")


def test_the_doctor_is_true_on_a_machine_without_a_gpu(be: Be, section: Section) -> None:
    be("cpu-box", "ort")
    device = section("device")
    targets = section("targets")
    assert device["target"] == ["cpu"]
    assert not {"GPU", "JetPack", "power mode", "TensorRT", "mend"} & set(device)
    assert "compiles here, runs here on ort" in targets["cpu"][0]
    assert "runs here on ort as the portable bundle" in targets["cpu-openvino"][0]
    assert "does not compile here (this machine is cpu)" in targets["jetson-orin"][0]


def test_the_doctor_is_true_on_a_machine_with_openvino(be: Be, section: Section) -> None:
    be("cpu-box", "ort", "openvino")
    assert "compiles here, runs here on openvino" in section("targets")["cpu-openvino"][0]


def test_with_tensorrt_rtx_kiosk_engines_are_compiled_where_there_is_no_gpu(
    be: Be, section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    be("cpu-box", "ort")
    monkeypatch.setattr(doctor, "_missing", lambda *modules, extra="": None)
    assert "compiles here, runs here on ort as the portable bundle" in section("targets")["rtx"][0]


def test_without_tensorrt_rtx_kiosk_engines_are_not_compiled(
    be: Be, section: Section, block: Callable[..., None]
) -> None:
    be("rtx-kiosk", "ort")
    block("tensorrt_rtx_bindings")
    assert "does not compile here (see tensorrt-rtx above)" in section("targets")["rtx"][0]
    assert "pip install 'echoexport[tensorrt-rtx]'" in section("tools")["tensorrt-rtx"][0]


def test_the_doctor_is_true_on_a_kiosk(be: Be, section: Section) -> None:
    be("rtx-kiosk", "ort", "tensorrt_rtx")
    device = section("device")
    assert device["target"] == ["rtx"]
    assert device["GPU"] == [
        "NVIDIA GeForce RTX 5060 Ti, compute capability 12.0, driver 590.44.01, limited to 180 W"
    ]
    assert "runs here on tensorrt_rtx" in section("targets")["rtx"][0]


def test_the_doctor_is_true_on_a_server_with_gpus(be: Be, section: Section) -> None:
    be("a100-server", "ort", "tensorrt")
    device = section("device")
    targets = section("targets")
    assert device["TensorRT"] == ["10.16.0.72"]
    assert device["memory"] == [
        "80.0 GiB of the GPU, 79.2 GiB free, 1007.5 GiB of the machine, 934.6 GiB free"
    ]
    assert "number 0 of 4 GPUs" in device["note"][0]
    assert "compiles here, runs here on tensorrt" in targets["a100"][0]
    assert (
        "does not compile here (this machine is a100), runs here on ort as the portable"
        in targets["h100"][0]
    )


def test_the_doctor_says_what_a_server_without_tensorrt_lacks(be: Be, section: Section) -> None:
    be("old-driver-l4", "ort")
    assert section("device")["TensorRT"] == ["not installed"]
    assert (
        "does not compile here (see tensorrt above), runs here on ort as the portable"
        in section("targets")["l4"][0]
    )


def test_the_doctor_is_true_on_a_board(be: Be, section: Section) -> None:
    be("orin-nano-8-super-jetpack-7.2.1", "ort", "tensorrt")
    device = section("device")
    assert device["JetPack"] == ["7.2.1 (Jetson Linux 39.2.1)"]
    assert device["power mode"] == ["MAXN_SUPER"]
    assert device["memory"] == ["7.4 GiB, 6.4 GiB free, plan with 6 GB"]
    assert "compiles here, runs here on tensorrt" in section("targets")["jetson-orin-nano-8"][0]
    assert (
        "does not compile here (this machine is jetson-orin-nano-8)"
        in section("targets")["jetson-orin"][0]
    )


def test_the_doctor_says_that_the_wrong_python_does_not_see_jetpacks_tensorrt(
    be: Be, section: Section, block: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    block("tensorrt")
    board = be("agx-orin-64-jetpack-6.2", "ort")
    monkeypatch.setattr(
        doctor, "detect_device", lambda: dataclasses.replace(board, python="3.13.1")
    )
    assert (
        "JetPack 6.2's TensorRT is for Python 3.10, this is 3.13.1" in section("device")["mend"][0]
    )


def test_the_doctor_says_how_the_right_python_sees_jetpacks_tensorrt(
    be: Be, section: Section, block: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    block("tensorrt")
    board = be("agx-orin-64-jetpack-6.2", "ort")
    monkeypatch.setattr(
        doctor, "detect_device", lambda: dataclasses.replace(board, python="3.10.12")
    )
    assert "sudo apt install python3-libnvinfer" in section("device")["mend"][0]


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (None, "no TensorRT: sudo apt install tensorrt"),
        ("8.6.2.3", "8.6.2.3 is older than 10.3: flash JetPack 6.1"),
    ],
)
def test_the_doctor_says_which_tensorrt_a_board_needs(
    be: Be, section: Section, monkeypatch: pytest.MonkeyPatch, version: str | None, said: str
) -> None:
    board = be("agx-orin-64-jetpack-6.2", "ort")
    monkeypatch.setattr(
        doctor, "detect_device", lambda: dataclasses.replace(board, tensorrt=version)
    )
    assert said in section("device")["mend"][0]


def test_the_doctor_warns_of_a_gpu_wheel_that_does_not_run_on_a_board(
    be: Be, section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    be("orin-nx-8-in-a-container", "ort")
    monkeypatch.setattr(doctor, "_is_installed", lambda package: package == "onnxruntime-gpu")
    assert any(
        "onnxruntime-gpu from the registry has no code" in line
        for line in section("device")["mend"]
    )


def test_the_doctor_says_what_a_container_hides(be: Be, section: Section) -> None:
    be("arm-container-that-hides-the-board", "ort")
    assert "mount both (docs/jetson.md)" in section("device")["mend"][0]


@pytest.mark.parametrize("name", sorted(path.name for path in DEVICES.iterdir() if path.is_dir()))
def test_the_doctor_has_its_say_on_every_recorded_machine(
    be: Be, command: Callable[..., Any], name: str
) -> None:
    device = be(name, "ort")
    outcome = command("doctor", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    report = json.loads(outcome.out)
    assert (next(iter(report)), report["schema"]) == ("schema", 1)
    assert report["device"]["target"] == device.target
    compiled = {target for target, each in report["targets"].items() if each["compiles"] is None}
    assert compiled - {"rtx"} == {"cpu"}
    assert all(
        each["runs"] is None and each["backend"] == "ort" for each in report["targets"].values()
    )


def test_the_doctors_json_holds_what_its_lines_hold(command: Callable[..., Any]) -> None:
    report = json.loads(command("doctor", "--json").out)
    lines = command("doctor").out
    assert set(report["backends"]) == set(list_backends())
    assert set(report["targets"]) == set(list_targets())
    assert all(
        check["detail"] in lines for check in {**report["backends"], **report["tools"]}.values()
    )
