"""Compiling: engines are proved before they are kept, and finished ones stay.

A fault leaves nothing half-done.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.compile.bundle import (
    CompileReport,
    CompileSettings,
    choose_compiling_backend,
    compile_bundle,
    default_output,
)
from echoexport.export.engines import BuiltEngine, EngineSettings, null
from echoexport.runtime.backends.null import NullBackend
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.errors import (
    BackendError,
    OutputError,
    SettingError,
    UnknownNameError,
)

Compile = Callable[..., tuple[CompileReport, list[str]]]


def test_the_compiled_bundle_lies_beside_the_portable_one(
    compile_null: Compile, null_bundle: Path, leftovers: Callable[[Path], list[Path]]
) -> None:
    report, told = compile_null()
    assert report.output == null_bundle.with_name("null-bundle.compiled-null")
    assert told == []
    assert leftovers(null_bundle.parent) == []


def test_the_section_says_where_the_engines_come_from_and_how_they_did(
    compile_null: Compile, null_bundle: Path, tmp_path: Path
) -> None:
    settings = EngineSettings(workspace=10**9, level=4, best_of=2, threads=1)
    compile_null(tmp_path / "out", engine=settings)
    found = read_manifest(tmp_path / "out")
    portable = read_manifest(null_bundle)
    compiled = found.compiled
    assert compiled is not None
    assert (compiled.backend, compiled.portable) == ("null", "null-bundle")
    assert dict(compiled.settings) == {"workspace": 10**9, "level": 4, "best_of": 2, "threads": 1}
    engine = compiled.engines["vae_decoder"]
    assert (engine.files, engine.compute, engine.precision) == (
        ("engines/vae_decoder.json",),
        "fp32",
        "fp32",
    )
    assert engine.error == 0.0
    assert (found.networks, found.sampler, found.provenance) == (
        portable.networks,
        portable.sampler,
        portable.provenance,
    )


def test_a_second_run_builds_nothing(compile_null: Compile, built: list[str]) -> None:
    compile_null()
    assert tuple(built) == FAMILY.required
    report, told = compile_null()
    assert len(built) == 6
    assert all(engine.cached for engine in report.engines.values())
    assert told == []


def test_without_a_cache_everything_is_built_and_nothing_kept_but_the_bundle(
    compile_null: Compile, built: list[str], tmp_path: Path, leftovers: Callable[[Path], list[Path]]
) -> None:
    for _ in range(2):
        report, _ = compile_null(cache=None)
    assert len(built) == 12
    assert not (tmp_path / "engines").exists()
    assert leftovers(tmp_path) == []
    with open_bundle(report.output or "") as bundle:
        assert bundle.self_test("vae_decoder").passed


def test_a_compiled_bundle_is_not_compiled_again(compile_null: Compile) -> None:
    output = compile_null()[0].output
    with pytest.raises(
        SettingError, match="compiled already; name the portable bundle 'null-bundle'"
    ):
        compile_null(bundle=output)


@pytest.mark.parametrize(
    ("settings", "error", "wanted"),
    [
        (
            {"backend": "nul"},
            UnknownNameError,
            "unknown backend with engines to keep 'nul'.*Did you mean 'null'",
        ),
        ({"networks": ("vae_decode",)}, UnknownNameError, "Did you mean 'vae_decoder'"),
        (
            {"networks": ("vae_decoder",), "cache": None},
            SettingError,
            "--network keeps single engines in the cache",
        ),
        ({"compute": "bf16"}, SettingError, "compute 'bf16': backend 'null' has fp32 here"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_built(
    compile_null: Compile,
    built: list[str],
    settings: dict[str, Any],
    error: type[Exception],
    wanted: str,
) -> None:
    with pytest.raises(error, match=wanted):
        compile_null(**settings)
    assert built == []


def test_a_backend_that_does_not_work_here_says_why(
    compile_null: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NullBackend, "unavailable", lambda _: "there is no GPU")
    with pytest.raises(BackendError, match="backend 'null' does not work here: there is no GPU"):
        compile_null()


def test_engines_that_cannot_run_here_are_kept_untested_where_that_is_asked_for(
    compile_null: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NullBackend, "unavailable", lambda _: "there is no GPU")
    monkeypatch.setattr(NullBackend, "open_engine", lambda *_: pytest.fail("it was opened"))
    report, _ = compile_null(untested=True)
    assert [engine.record.error for engine in report.engines.values()] == [None] * 6
    monkeypatch.undo()
    with open_bundle(report.output or "") as bundle:
        assert bundle.network("vae_decoder").calls == 0


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(143), OSError(errno.EIO, "I/O error")]
)
def test_a_build_that_ends_early_leaves_finished_engines_and_nothing_half(
    compile_null: Compile,
    fail_at: Callable[..., None],
    tmp_path: Path,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    null_bundle: Path,
    leftovers: Callable[[Path], list[Path]],
    entries: Callable[[Path], list[str]],
) -> None:
    fail_at("audio_encoder", error)
    with pytest.raises((type(error), OutputError)):
        compile_null()
    assert entries(tmp_path / "engines") == ["landmark_encoder", "reference_unet", "vae_encoder"]
    assert not default_output(null_bundle, "null").exists()
    assert leftovers(tmp_path) == []
    monkeypatch.undo()
    report, _ = compile_null()
    assert [name for name, engine in report.engines.items() if engine.cached] == list(
        FAMILY.required[:3]
    )


def test_a_cache_that_is_pruned_meanwhile_costs_no_finished_engine(
    compile_null: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = null.build_engine

    def build(graph: Path, spec: Any, output: Path, **options: Any) -> BuiltEngine:
        if spec.name == "audio_encoder":
            for finished in (tmp_path / "engines").glob("*/engine.json"):
                shutil.rmtree(finished.parent)
        return real(graph, spec, output, **options)

    monkeypatch.setattr(null, "build_engine", build)
    compile_null(tmp_path / "out")
    with open_bundle(tmp_path / "out") as bundle:
        assert all(bundle.self_test(name).passed for name in FAMILY.required)


def test_a_builder_that_dies_costs_one_network(
    compile_null: Compile,
    fail_at: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    leftovers: Callable[[Path], list[Path]],
    entries: Callable[[Path], list[str]],
) -> None:
    fail_at("audio_encoder", BackendError("audio_encoder.onnx: the builder died"))
    with pytest.raises(
        BackendError, match=r"^audio_encoder\.onnx: the builder died \(5 engines are done and kept"
    ):
        compile_null()
    assert entries(tmp_path / "engines") == sorted(set(FAMILY.required) - {"audio_encoder"})
    assert leftovers(tmp_path) == []
    monkeypatch.undo()
    report, _ = compile_null()
    assert [name for name, engine in report.engines.items() if not engine.cached] == [
        "audio_encoder"
    ]


def test_without_a_cache_the_first_failure_is_the_end(
    compile_null: Compile,
    fail_at: Callable[..., None],
    tmp_path: Path,
    leftovers: Callable[[Path], list[Path]],
) -> None:
    fail_at("reference_unet", BackendError("the builder died"))
    with pytest.raises(BackendError, match=r"^the builder died$"):
        compile_null(cache=None)
    assert leftovers(tmp_path) == []


def test_a_disk_that_fills_while_the_bundle_is_written_leaves_none(
    compile_null: Compile,
    monkeypatch: pytest.MonkeyPatch,
    null_bundle: Path,
    tmp_path: Path,
    leftovers: Callable[[Path], list[Path]],
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", refuse)
    with pytest.raises(OutputError, match="cannot write the bundle: No space left on device"):
        compile_null()
    assert not default_output(null_bundle, "null").exists()
    assert leftovers(tmp_path) == []
    monkeypatch.undo()
    assert all(engine.cached for engine in compile_null()[0].engines.values())


def test_single_networks_are_kept_until_all_are_there(
    compile_null: Compile, built: list[str]
) -> None:
    report, _ = compile_null(networks=FAMILY.required[:2])
    assert report.output is None
    assert report.missing == FAMILY.required[2:]
    report, _ = compile_null(networks=FAMILY.required[2:])
    assert report.output is not None
    assert len(built) == 6


def test_two_compiles_at_once_share_their_engines(
    null_bundle: Path, tmp_path: Path, built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = [tmp_path / "one", tmp_path / "one", tmp_path / "two"]
    faults = []

    def compile_to(output: Path) -> None:
        settings = CompileSettings(cache=tmp_path / "engines")
        try:
            compile_bundle(
                null_bundle, output, settings=settings, report=lambda *_: None, warn=faults.append
            )
        except Exception as error:
            faults.append(str(error))

    threads = [threading.Thread(target=compile_to, args=(output,)) for output in outputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    assert sorted(built) == sorted(FAMILY.required)
    for output in outputs:
        with open_bundle(output) as bundle:
            assert len(list(bundle.check_files())) == 12


def test_killed_outright_the_next_run_goes_on(
    null_bundle: Path,
    tmp_path: Path,
    compile_null: Compile,
    leftovers: Callable[[Path], list[Path]],
    entries: Callable[[Path], list[str]],
) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom echoexport.export.engines import null\n"
        "from echoexport.export.compile.bundle import CompileSettings, compile_bundle\n"
        "real = null.build_engine\n"
        "def build(graph, spec, output, **options):\n"
        "    if spec.name == 'audio_encoder':\n"
        "        output.write_text('half'); print('there', flush=True); time.sleep(60)\n"
        "    return real(graph, spec, output, **options)\n"
        "null.build_engine = build\n"
        "compile_bundle(Path(sys.argv[1]), None, settings=CompileSettings(cache=Path(sys.argv[2])),"
        " report=lambda *_: None, warn=print)\n"
    )
    line = [sys.executable, "-c", program, str(null_bundle), str(tmp_path / "engines")]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        process.send_signal(signal.SIGKILL)
    assert entries(tmp_path / "engines") == ["landmark_encoder", "reference_unet", "vae_encoder"]
    assert not default_output(null_bundle, "null").exists()
    report, told = compile_null()
    assert [name for name, engine in report.engines.items() if engine.cached] == list(
        FAMILY.required[:3]
    )
    assert told == []
    assert leftovers(tmp_path) == []


def test_the_first_backend_whose_engines_can_be_kept_is_the_usual_one(null_bundle: Path) -> None:
    manifest = replace(read_manifest(null_bundle), backends=("ort_cuda", "null", "ort"))
    assert choose_compiling_backend(manifest, "", untested=False).name == "null"


def test_compiling_and_running_need_neither_torch_nor_onnx(
    build_tiny: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    program = (
        "import sys\n"
        "for name in ('torch', 'onnx'): sys.modules[name] = None\n"
        "from echoexport.export.cli import main\n"
        "main(['compile', sys.argv[1], '-o', sys.argv[2], '--backend', 'ort', '--no-cache'])\n"
        "main(['verify', sys.argv[2]])\n"
        "assert sys.modules['torch'] is None and sys.modules['onnx'] is None\n"
    )
    line = [sys.executable, "-c", program, str(build_tiny()), str(tmp_path / "compiled")]
    outcome = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.count(" passed ") == 6


def test_progress_names_network_and_step(null_bundle: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    settings = CompileSettings(cache=tmp_path / "engines")
    compile_bundle(
        null_bundle, None, settings=settings, report=lambda *now: told.append(now), warn=pytest.fail
    )
    assert ("vae_encoder: self-test of the engine", 0, 6) in told
    assert told[-1] == ("compiled bundle: written", 6, 6)
