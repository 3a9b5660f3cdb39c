"""What ``run`` and ``build`` do with a bundle that needs engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.cli import compiled_run
from echoexport.runtime.backends.null import NullBackend
from echoexport.runtime.backends.ort import OrtBackend
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.manifest import read_manifest, write_manifest
from echoexport.targets.spec import Backends, load_target


@pytest.fixture
def needs_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the null backend be one that opens no ONNX files."""
    monkeypatch.setattr(NullBackend, "opens_graphs", False)


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


@pytest.mark.usefixtures("needs_compiling")
def test_run_names_the_command_where_engines_are_missing(
    run: Callable[..., Any], null_bundle: Path
) -> None:
    outcome = run(null_bundle)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.told == [
        f"echoexport: error: {null_bundle}: backend 'null' needs engines that are compiled on "
        "this machine: "
        f"echoexport compile {null_bundle}"
    ]


@pytest.mark.usefixtures("needs_compiling")
def test_the_command_that_run_names_has_the_backend_that_was_asked_for(
    run: Callable[..., Any], null_bundle: Path
) -> None:
    assert (
        run(null_bundle, "--backend", "null")
        .told[0]
        .endswith(f"echoexport compile {null_bundle} --backend null")
    )


@pytest.mark.usefixtures("needs_compiling")
def test_run_takes_the_engines_that_lie_beside_the_bundle(
    command: Callable[..., Any], run: Callable[..., Any], null_bundle: Path
) -> None:
    command("compile", null_bundle)
    outcome = run(null_bundle)
    assert outcome.code == 0
    assert f"{null_bundle}.compiled-null: running these engines" in outcome.told


@pytest.mark.usefixtures("needs_compiling")
def test_engines_of_an_older_build_are_not_taken(
    command: Callable[..., Any], run: Callable[..., Any], null_bundle: Path
) -> None:
    command("compile", null_bundle)
    write_manifest(replace(read_manifest(null_bundle), fps=25.0), null_bundle)
    assert run(null_bundle).code == 1


@pytest.mark.usefixtures("needs_compiling")
def test_on_a_terminal_run_asks_and_compiles(
    run: Callable[..., Any], null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def agree(question: str) -> bool:
        asked.append(question)
        return True

    monkeypatch.setattr(compiled_run, "_asks_for_it", agree)
    outcome = run(null_bundle)
    assert outcome.code == 0
    assert "Compile now?" in asked[0]
    assert len(outcome.out.splitlines()) == 1  # of the clip alone: stdout may carry the frames
    with open_bundle(f"{null_bundle}.compiled-null") as bundle:
        assert bundle.manifest.compiled is not None


def test_a_portable_backend_takes_over_with_a_warning(
    run: Callable[..., Any], null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OrtBackend, "opens_graphs", False)
    write_manifest(replace(read_manifest(null_bundle), backends=("ort", "null")), null_bundle)
    monkeypatch.setattr(OrtBackend, "unavailable", lambda _: None)
    outcome = run(null_bundle)
    assert outcome.code == 0
    warnings = [line for line in outcome.told if f"echoexport compile {null_bundle}" in line]
    assert len(warnings) == 1
    assert warnings[0].endswith("running on 'null' instead, much more slowly")


@pytest.mark.usefixtures("needs_compiling")
def test_a_build_on_the_machine_that_is_the_target_compiles_as_well(
    null_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ECHOEXPORT_CACHE", str(tmp_path / "own-cache"))
    here = replace(load_target("cpu"), backends=Backends("null", ("ort",)))
    assert compiled_run.compile_built(null_bundle, here)
    open_bundle(f"{null_bundle}.compiled-null").close()


@pytest.mark.usefixtures("needs_compiling")
def test_a_build_elsewhere_compiles_nothing(null_bundle: Path) -> None:
    there = replace(load_target("jetson-orin"), backends=Backends("null", ("ort",)))
    assert not compiled_run.compile_built(null_bundle, there)
    assert not Path(f"{null_bundle}.compiled-null").exists()


def test_a_build_for_a_processor_compiles_nothing(null_bundle: Path) -> None:
    assert not compiled_run.compile_built(null_bundle, load_target("cpu"))


def test_a_bundle_that_needs_no_engines_is_not_nagged(
    run: Callable[..., Any], null_bundle: Path
) -> None:
    assert not [line for line in run(null_bundle).told if "compile" in line]
