"""A compiled bundle opens where it was compiled, with its own backend, and nowhere else."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.backends.null import NullBackend
from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.bundle.fitting import compare_fingerprints
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError, BundleError, SettingError


def test_it_holds_engines_and_self_tests_and_no_graph_or_weights(compiled: Path) -> None:
    files = {
        path.relative_to(compiled).as_posix() for path in compiled.rglob("*") if path.is_file()
    }
    engines = {f"engines/{name}.json" for name in FAMILY.required}
    assert files == {
        "manifest.json",
        *engines,
        *(f"self-test/{name}.npz" for name in FAMILY.required),
    }


def test_every_network_of_it_runs_and_passes_its_self_test(compiled: Path) -> None:
    with open_bundle(compiled) as bundle:
        assert [bundle.self_test(name).passed for name in FAMILY.required] == [True] * 6
        assert len(list(bundle.check_files())) == 12


def test_sizes_and_identity_are_those_of_the_engines(compiled: Path, null_bundle: Path) -> None:
    with open_bundle(compiled) as bundle, open_bundle(null_bundle) as portable:
        engine = compiled / "engines" / "vae_encoder.json"
        assert bundle.measure_weights("vae_encoder") == engine.stat().st_size
        assert bundle.identity("vae_encoder").startswith(hash_file(engine))
        assert bundle.identity("vae_encoder") != portable.identity("vae_encoder")
        assert bundle.arithmetic() == portable.arithmetic()


def test_another_backend_is_refused_with_the_way_out(compiled: Path) -> None:
    with pytest.raises(
        BackendError,
        match=r"compiled for backend 'null'; for 'ort' open the portable bundle 'null-",
    ):
        open_bundle(compiled, backend="ort")


def test_its_own_backend_may_be_named(compiled: Path) -> None:
    with open_bundle(compiled, backend="null") as bundle:
        assert bundle.backend.name == "null"


@pytest.mark.parametrize("key", ["library", "version", "os", "arch"])
def test_a_fingerprint_that_differs_names_the_key_both_values_and_the_fix(
    compiled: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = load_backend("null").fingerprint(EngineOptions())  # type: ignore[attr-defined]
    monkeypatch.setattr(NullBackend, "fingerprint", lambda *_: {**here, key: "another"})
    with pytest.raises(BackendError) as caught:
        open_bundle(compiled)
    message = str(caught.value)
    assert f"{key} {here[key]!r} there, 'another' here" in message
    assert message.endswith("compile it again here: echoexport compile null-bundle")
    assert "\n" not in message


def test_a_fingerprint_with_a_key_more_or_less_differs(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = load_backend("null").fingerprint(EngineOptions())  # type: ignore[attr-defined]
    there = {"library": here["library"], "power_mode": "MAXN"}
    monkeypatch.setattr(NullBackend, "fingerprint", lambda *_: there)
    with pytest.raises(
        BackendError,
        match=r"arch '\w+' there, 'nothing' here; power_mode 'nothing' there, 'MAXN' here",
    ):
        open_bundle(compiled)


def test_equal_fingerprints_have_no_differences() -> None:
    assert compare_fingerprints({"a": "1", "b": "2"}, {"b": "2", "a": "1"}) == []


def test_a_backend_that_does_not_work_here_says_why(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NullBackend, "unavailable", lambda _: "there is no device")
    with pytest.raises(
        BackendError, match="its backend 'null' does not work here: there is no device"
    ):
        open_bundle(compiled)


def test_an_engine_that_was_changed_is_never_handed_to_its_library(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(NullBackend, "open_engine", lambda _, engine, *__: opened.append(engine))
    path = compiled / "engines" / "vae_decoder.json"
    size = path.stat().st_size
    path.unlink()  # the cache shares the file
    path.write_bytes(b"x" * size)
    with (
        open_bundle(compiled) as bundle,
        pytest.raises(BundleError, match=r"vae_decoder\.json: sha256 is"),
    ):
        bundle.network("vae_decoder")
    assert opened == []


def test_an_engine_that_its_library_refuses_names_the_fix(
    change_compiled: Callable[..., Path],
) -> None:
    def spoil(data: dict[str, Any]) -> None:
        engines = data["compiled"]["engines"]
        engines["vae_decoder"]["files"] = engines["vae_encoder"]["files"]

    with (
        open_bundle(change_compiled(spoil)) as bundle,
        pytest.raises(
            BackendError,
            match=r"vae_decoder: .*not an engine of vae_decoder.*echoexport compile null-bundle",
        ),
    ):
        bundle.network("vae_decoder")


def test_arithmetic_that_the_engines_do_not_have_is_refused_with_the_command(
    compiled: Path,
) -> None:
    wanted = (
        r"compute 'bf16': .*with vae_encoder in fp32: echoexport compile null-bundle --compute bf16"
    )
    with pytest.raises(SettingError, match=wanted):
        open_bundle(compiled, options=EngineOptions(compute="bf16"))


def test_an_engine_that_was_never_tested_is_tested_when_it_is_first_opened(
    change_compiled: Callable[..., Path],
) -> None:
    def forget(data: dict[str, Any]) -> None:
        data["compiled"]["engines"]["vae_decoder"]["error"] = None
        data["files"]["self-test/vae_decoder.npz"] = data["files"]["self-test/vae_encoder.npz"]

    folder = change_compiled(forget)
    test = folder / "self-test" / "vae_decoder.npz"
    test.unlink()
    test.write_bytes((folder / "self-test" / "vae_encoder.npz").read_bytes())
    with (
        open_bundle(folder) as bundle,
        pytest.raises(BundleError, match="not the arrays of vae_decoder"),
    ):
        bundle.network("vae_decoder")


@pytest.fixture(scope="module")
def compile_tiny(
    build_tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """A function that compiles the tiny bundle for a backend, once."""

    @functools.cache
    def compile_for(backend: str) -> Path:
        from echoexport.export.compile.bundle import CompileSettings, compile_bundle

        reason = load_backend(backend).unavailable()
        if reason is not None:
            pytest.skip(reason)
        output = tmp_path_factory.mktemp("compiled") / backend
        settings = CompileSettings(backend=backend)
        compile_bundle(
            build_tiny(), output, settings=settings, report=lambda *_: None, warn=pytest.fail
        )
        return output

    return compile_for


@pytest.mark.parametrize("name", ["openvino", "ort"])
def test_engines_of_cpu_backends_compute_what_their_graphs_do(
    name: str, build_tiny: Callable[..., Path], compile_tiny: Callable[[str], Path]
) -> None:
    compiled = compile_tiny(name)
    with open_bundle(build_tiny(), backend=name) as graphs, open_bundle(compiled) as engines:
        assert engines.backend.name == name
        for network in ("landmark_encoder", "vae_decoder"):
            spec = graphs.network(network).spec
            random = np.random.default_rng(0)
            inputs = {
                each.name: random.standard_normal(each.shape, np.float32) for each in spec.inputs
            }
            wanted = graphs.network(network)(inputs)
            found = engines.network(network)(inputs)
            for key, value in wanted.items():
                np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5)


def test_an_openvino_engine_runs_as_many_lanes_as_it_is_told(
    compile_tiny: Callable[[str], Path],
) -> None:
    for lanes in (1, 2):
        with open_bundle(compile_tiny("openvino"), options=EngineOptions(lanes=lanes)) as bundle:
            assert bundle.network("denoising_unet").lanes == lanes
            assert bundle.self_test("denoising_unet").passed


@pytest.mark.parametrize("name", ["openvino", "ort", "null"])
def test_a_file_that_is_no_engine_is_refused_in_a_line(
    name: str, null_bundle: Path, tmp_path: Path
) -> None:
    backend = load_backend(name)
    assert backend is not None
    if backend.unavailable() is not None:
        pytest.skip(backend.unavailable() or "")
    path = tmp_path / f"engine{backend.engine_suffix}"
    path.write_bytes(b"not an engine" * 100)
    spec = read_manifest(null_bundle).networks["vae_decoder"].describe("vae_decoder")
    with pytest.raises(BackendError) as caught:
        backend.open_engine(path, spec, EngineOptions())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
