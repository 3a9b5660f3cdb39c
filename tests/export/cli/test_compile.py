"""``echoexport compile``: engines built, proved, kept, rolled back; and options that cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.cli.compile import USUAL, read_compile_settings, settle_engine
from echoexport.export.engines import EngineSettings
from echoexport.runtime.backends.null import NullBackend
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import read_manifest, write_manifest
from echoexport.runtime.errors import SettingError
from echoexport.targets.spec import load_target

OPTIONS: dict[str, Any] = {"workspace": None, "level": None, "best_of": None, "threads": 0}


@pytest.fixture
def run(
    command: Callable[..., Any], portrait_file: Path, voice_file: Path, tmp_path: Path
) -> Callable[..., Any]:
    """A function that renders a clip with a bundle."""

    def call(bundle: Path, *options: object) -> Any:
        return command(
            "run",
            bundle,
            "-p",
            portrait_file,
            "-v",
            voice_file,
            "-o",
            tmp_path / "out.mp4",
            *options,
        )

    return call


def test_compile_tells_of_each_engine_and_of_the_bundle(
    command: Callable[..., Any], null_bundle: Path
) -> None:
    outcome = command("compile", null_bundle)
    assert outcome.code == 0, outcome
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines[:6]] == list(FAMILY.required)
    assert "built in 0.0 s, 0.0 MB, fp32, error 0.0e+00 of the maximum, 5e-04 allowed" in lines[0]
    assert lines[6].startswith(f"{null_bundle}.compiled-null: 6 engines for null 1 on ")
    assert outcome.told == []


def test_a_second_compile_takes_everything_from_the_cache(
    command: Callable[..., Any], null_bundle: Path
) -> None:
    command("compile", null_bundle)
    outcome = command("compile", null_bundle)
    assert outcome.out.count("from the cache") == 6


def test_a_compiled_bundle_renders_the_same_clip(
    command: Callable[..., Any], null_bundle: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    assert run(null_bundle).code == 0
    wanted = (tmp_path / "out.mp4").read_bytes()
    command("compile", null_bundle, "-o", tmp_path / "compiled")
    assert run(tmp_path / "compiled").code == 0
    assert (tmp_path / "out.mp4").read_bytes() == wanted


def test_compiled_bundles_are_verified_inspected_and_compared(
    command: Callable[..., Any], null_bundle: Path, tmp_path: Path
) -> None:
    compiled = tmp_path / "compiled"
    command("compile", null_bundle, "-o", compiled)
    assert command("verify", compiled).out.count("passed") == 6
    assert command("verify", compiled, "--files-only").out == "12 files as the manifest says\n"
    shown = command("inspect", compiled).out
    assert "from null-bundle/ for backend null" in shown
    assert "library null, version 1, os Linux" in shown
    assert "built in 0.0 s, error 0.0e+00 of 5e-04 allowed" in shown


def test_files_of_a_compiled_bundle_are_verified_on_any_machine(
    command: Callable[..., Any], null_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("compile", null_bundle, "-o", tmp_path / "compiled")
    monkeypatch.setattr(NullBackend, "unavailable", lambda _: "there is no device")
    assert command("verify", tmp_path / "compiled", "--files-only").code == 0


@pytest.mark.parametrize("option", ["--parser", "--lint"])
def test_checks_of_graphs_name_the_portable_bundle_where_there_are_none(
    command: Callable[..., Any],
    refusal: Callable[..., str],
    null_bundle: Path,
    tmp_path: Path,
    option: str,
) -> None:
    command("compile", null_bundle, "-o", tmp_path / "compiled")
    message = refusal("verify", tmp_path / "compiled", option)
    assert message.startswith(f"{option}: ")
    assert message.endswith("holds engines and no graphs; name the portable bundle 'null-bundle'")


def test_rollback_puts_the_last_good_bundle_back(
    command: Callable[..., Any], null_bundle: Path, tmp_path: Path
) -> None:
    output = tmp_path / "compiled"
    command("compile", null_bundle, "-o", output)
    first = (output / "manifest.json").read_bytes()
    command("compile", null_bundle, "-o", output, "--level", 5)
    assert (output / "manifest.json").read_bytes() != first
    outcome = command("compile", "--rollback", output)
    assert outcome.code == 0
    assert "rolled back to 6 engines for null 1" in outcome.out
    assert (output / "manifest.json").read_bytes() == first


def test_rollback_takes_no_other_option(refusal: Callable[..., str], null_bundle: Path) -> None:
    message = refusal("compile", "--rollback", null_bundle, "-o", "current", "--level", 3)
    assert (
        message
        == "--rollback names the compiled bundle and takes no other option: --level, --output"
    )


def test_single_networks_say_what_is_missing(
    command: Callable[..., Any], null_bundle: Path
) -> None:
    outcome = command("compile", null_bundle, "--network", "vae_decoder")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == (
        "not written yet, engines are missing of vae_encoder, reference_unet, "
        "landmark_encoder, audio_encoder, "
        "denoising_unet: compile these as well"
    )


def test_another_machines_target_is_refused(refusal: Callable[..., str], null_bundle: Path) -> None:
    message = refusal("compile", null_bundle, "--target", "jetson-orin")
    assert "jetson-orin" in message
    assert "machine" in message
    assert not null_bundle.with_name("null-bundle.compiled-null").exists()


@pytest.mark.parametrize(
    ("machine", "target", "wanted"),
    [
        (
            "orin-nano-8-super-jetpack-7.2.1",
            "jetson-orin",
            "built for jetson-orin, and this machine is jetson-orin-nano-8: its engines are "
            "built with the settings of "
            "jetson-orin; --target jetson-orin-nano-8 takes this machine's",
        ),
        ("agx-orin-64-jetpack-6.2", "jetson-orin", ""),
        ("a100-server", "rtx", ""),
        ("cpu-box", "jetson-orin", ""),
    ],
)
def test_settings_that_were_chosen_for_another_board_are_used_with_a_warning(
    machine: str,
    target: str,
    wanted: str,
    null_bundle: Path,
    recorded_device: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_manifest(replace(read_manifest(null_bundle), target=target), null_bundle)
    monkeypatch.setattr("echoexport.runtime.device.detect_device", lambda: recorded_device(machine))
    read_compile_settings(null_bundle, USUAL)
    told = capsys.readouterr().err
    assert told == (f"echoexport: warning: {null_bundle}: {wanted}\n" if wanted else "")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--workspace", "0"), "--workspace 0: GB above 0 are wanted"),
        (("--workspace", "nan"), "--workspace nan"),
        (("--backend", "opnvino"), "Did you mean 'openvino'"),
        (("--network", "vae"), "unknown network 'vae'"),
        (("--target", "jetson"), "unknown target 'jetson'"),
        (("--compute", "fp64"), "compute 'fp64': backend 'null' has fp32 here"),
    ],
)
def test_options_that_cannot_be_are_refused_in_a_line(
    refusal: Callable[..., str], null_bundle: Path, options: tuple[str, ...], wanted: str
) -> None:
    assert wanted in refusal("compile", null_bundle, *options)


def test_settings_are_the_options_else_the_targets_else_the_librarys() -> None:
    target = load_target("jetson-orin-nano-8")
    usual = target.engine
    assert usual is not None
    assert settle_engine(None, OPTIONS) == EngineSettings()
    assert settle_engine(target, OPTIONS) == EngineSettings(
        workspace=usual.workspace_bytes, level=usual.level.value, best_of=usual.best_of.value or 1
    )
    given = settle_engine(target, {"workspace": 0.5, "level": 0, "best_of": 3, "threads": 2})
    assert given == EngineSettings(workspace=500_000_000, level=0, best_of=3, threads=2)
    with pytest.raises(SettingError):
        settle_engine(None, {**OPTIONS, "workspace": -1.0})


def test_engines_for_rtx_kiosks_may_be_made_where_they_cannot_run(null_bundle: Path) -> None:
    settings = read_compile_settings(null_bundle, {**USUAL, "target": "rtx"})
    assert (settings.backend, settings.untested) == ("tensorrt_rtx", True)
    assert not read_compile_settings(null_bundle, {**USUAL, "target": "cpu"}).untested


def test_engines_that_cannot_run_here_are_kept_where_that_is_asked_for(
    null_bundle: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NullBackend, "unavailable", lambda _: "there is no GPU")
    assert (
        "backend 'null' does not work here: there is no GPU" in command("compile", null_bundle).err
    )
    outcome = command("compile", null_bundle, "--untested")
    assert outcome.code == 0, outcome
    assert outcome.out.count("not tested: it cannot run here") == 6


def test_the_manifest_of_a_compiled_bundle_is_json_of_a_known_schema(
    command: Callable[..., Any], null_bundle: Path, tmp_path: Path
) -> None:
    command("compile", null_bundle, "-o", tmp_path / "compiled")
    shown = json.loads(command("inspect", tmp_path / "compiled", "--json").out)
    assert shown["schema"] == 1
    assert set(shown["compiled"]["engines"]) == set(FAMILY.required)
