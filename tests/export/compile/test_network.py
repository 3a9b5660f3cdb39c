"""One network compiled: its engine is proved before it is kept, or is nowhere."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.compile.bundle import (
    CompileReport,
    default_output,
)
from echoexport.export.engines import BuiltEngine, EngineSettings, null
from echoexport.runtime.backends.null import NullBackend, NullEngine
from echoexport.runtime.bundle.files import describe_file
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import read_manifest, write_manifest
from echoexport.runtime.errors import (
    BackendError,
    BundleError,
    DeviceError,
    MissingPackageError,
    OutputError,
)

Compile = Callable[..., tuple[CompileReport, list[str]]]


def test_other_settings_are_other_engines(compile_null: Compile, built: list[str]) -> None:
    compile_null()
    compile_null(engine=EngineSettings(level=5))
    assert len(built) == 12


def test_a_corrupt_graph_is_found_before_it_is_built(
    compile_null: Compile, null_bundle: Path, built: list[str]
) -> None:
    size = (null_bundle / "vae_encoder.bin").stat().st_size
    (null_bundle / "vae_encoder.bin").write_bytes(b"x" * size)
    with pytest.raises(BundleError, match=r"vae_encoder\.bin: sha256 is"):
        compile_null()
    assert built == []


def test_an_engine_that_fails_its_self_test_is_nowhere(
    compile_null: Compile,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    null_bundle: Path,
    leftovers: Callable[[Path], list[Path]],
    entries: Callable[[Path], list[str]],
) -> None:
    real = NullEngine.__call__

    def spoilt(self: NullEngine, inputs: Any) -> Any:
        found = real(self, inputs)
        return {
            name: value + 1 if name == "audio_states" else value for name, value in found.items()
        }

    monkeypatch.setattr(NullEngine, "__call__", spoilt)
    with pytest.raises(BackendError) as caught:
        compile_null()
    message = str(caught.value)
    assert message.startswith(
        "audio_encoder: output 'audio_states' of the null engine (fp32) is off by 1 "
    )
    assert "0.0005 is allowed" in message
    assert message.endswith(
        "not installed; try another --backend (5 engines are done and kept: run it again)"
    )
    assert entries(tmp_path / "engines") == sorted(set(FAMILY.required) - {"audio_encoder"})
    assert not default_output(null_bundle, "null").exists()
    assert leftovers(tmp_path) == []
    monkeypatch.undo()
    assert compile_null()[0].output is not None


def test_a_cached_engine_that_fails_its_self_test_is_built_anew(
    compile_null: Compile, monkeypatch: pytest.MonkeyPatch, built: list[str]
) -> None:
    compile_null()
    real = NullBackend.open_engine
    faults = ["vae_encoder"]

    def refuse_once(self: NullBackend, engine: Path, spec: Any, options: Any) -> Any:
        if spec.name in faults:
            faults.remove(spec.name)
            raise BackendError("the driver is another")
        return real(self, engine, spec, options)

    monkeypatch.setattr(NullBackend, "open_engine", refuse_once)
    _, told = compile_null()
    assert built[6:] == ["vae_encoder"]
    assert told == ["the driver is another; the cached engine is removed, to be built anew"]


def test_a_corrupt_engine_in_the_cache_is_built_anew_with_a_warning(
    compile_null: Compile, built: list[str], tmp_path: Path
) -> None:
    report, _ = compile_null()
    folder = report.engines["vae_decoder"].folder
    (folder / "vae_decoder.json").unlink()
    (folder / "vae_decoder.json").write_text("spoilt")
    report, told = compile_null()
    assert built[6:] == ["vae_decoder"]
    assert len(told) == 1
    assert "a broken engine in the cache" in told[0]
    with open_bundle(report.output or "") as bundle:
        assert bundle.self_test("vae_decoder").passed


def test_a_corrupt_sidecar_is_as_good_as_no_engine(compile_null: Compile, built: list[str]) -> None:
    report, _ = compile_null()
    (report.engines["vae_decoder"].folder / "engine.json").write_text("{")
    _, told = compile_null()
    assert built[6:] == ["vae_decoder"]
    assert "engine.json" in told[0] or "broken" in told[0]


def test_a_full_disk_is_one_line_that_says_what_to_do(
    compile_null: Compile,
    fail_at: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    leftovers: Callable[[Path], list[Path]],
) -> None:
    fail_at("audio_encoder", OSError(errno.ENOSPC, "No space left on device"))
    wanted = (
        r"audio_encoder's engine cannot be written: No space left on device; make room and "
        r"run it again"
    )
    with pytest.raises(OutputError, match=wanted):
        compile_null()
    assert leftovers(tmp_path) == []
    monkeypatch.undo()
    assert compile_null()[0].output is not None


def test_a_cache_that_cannot_be_written_is_done_without(
    compile_null: Compile,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    leftovers: Callable[[Path], list[Path]],
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("echoexport.export.compile.engine_cache.EngineCache.make_staging", refuse)
    report, told = compile_null()
    assert len(told) == 6
    assert (
        "cannot be written (Read-only file system): vae_encoder is compiled and not kept there"
        in told[0]
    )
    assert leftovers(tmp_path) == []
    with open_bundle(report.output or "") as bundle:
        assert [bundle.self_test(name).passed for name in FAMILY.required] == [True] * 6


def test_a_single_network_needs_a_cache_that_can_be_written(
    compile_null: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("echoexport.export.compile.engine_cache.EngineCache.make_staging", refuse)
    with pytest.raises(
        OutputError, match="vae_decoder's engine cannot be written: Read-only file system"
    ):
        compile_null(networks=("vae_decoder",))


def test_a_builder_that_writes_nothing_is_found_out(
    compile_null: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(null, "build_engine", lambda *_, **__: BuiltEngine(0.0, 0, None))
    with pytest.raises(
        BackendError, match="vae_encoder: the builder of backend 'null' wrote no engine"
    ):
        compile_null()


def give_own_graph(bundle: Path) -> str:
    """A graph for the null backend alone, of the decoder; its file."""
    manifest = read_manifest(bundle)
    entry = manifest.networks["vae_decoder"]
    shutil.copy(bundle / entry.graph, bundle / "own.onnx")
    own = replace(entry, graphs={"null": "own.onnx"})
    files = {**manifest.files, "own.onnx": describe_file(bundle / "own.onnx")}
    networks = {**manifest.networks, "vae_decoder": own}
    write_manifest(replace(manifest, networks=networks, files=files), bundle)
    return "own.onnx"


def test_a_backends_own_graph_that_does_not_build_gives_way_to_the_portable_one(
    null_bundle: Path, compile_null: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_own_graph(null_bundle)
    entry = read_manifest(null_bundle).networks["vae_decoder"]
    real = null.build_engine
    built: list[str] = []

    def build(graph: Path, spec: Any, output: Path, **options: Any) -> BuiltEngine:
        built.append(graph.name)
        if graph.name == "own.onnx":
            output.write_text("half")
            raise BackendError("it does not compile")
        return real(graph, spec, output, **options)

    monkeypatch.setattr(null, "build_engine", build)
    report, warnings = compile_null()
    assert {"own.onnx", entry.graph} <= set(built)
    assert [line for line in warnings if "portable" in line] == []
    told = (
        "compiled from its portable graph, which is slower: its graph for null: it does not compile"
    )
    assert report.engines["vae_decoder"].record.notes[-1:] == (told,)
    with open_bundle(report.output) as bundle:
        assert bundle.self_test("vae_decoder").passed
    again, _ = compile_null()
    assert again.engines["vae_decoder"].cached
    assert again.engines["vae_decoder"].record.notes[-1:] == (told,)
    others = [one for name, one in again.engines.items() if name != "vae_decoder"]
    assert not any(told in one.record.notes for one in others)


@pytest.mark.parametrize(
    "error",
    [
        DeviceError("the GPU is lost"),
        MissingPackageError("null", extra="null", purpose="the null backend"),
    ],
)
def test_what_no_graph_can_help_is_not_laid_to_the_backends_own(
    null_bundle: Path,
    compile_null: Compile,
    monkeypatch: pytest.MonkeyPatch,
    error: BackendError,
) -> None:
    own = give_own_graph(null_bundle)
    tried: list[str] = []

    def build(graph: Path, spec: Any, output: Path, **options: Any) -> BuiltEngine:
        tried.append(graph.name)
        raise error

    monkeypatch.setattr(null, "build_engine", build)
    with pytest.raises(BackendError, match=re.escape(str(error))):
        compile_null(networks=("vae_decoder",))
    assert tried == [own]
