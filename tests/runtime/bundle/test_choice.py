"""What a bundle makes do with is said: the CPU in a GPU's place, nodes that run elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.backends import list_backends, load_backend
from echoexport.runtime.backends.null import NullEngine
from echoexport.runtime.bundle import choice
from echoexport.runtime.bundle.choice import (
    choose_arithmetic,
    describe_backend_fallback,
    find_portable,
    needs_compiling,
)
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.manifest import Manifest, read_manifest, write_manifest
from echoexport.runtime.engine.protocol import Backend, EngineOptions


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that says which backends work here; the others say why not."""

    def settle(*working: str) -> None:
        def load(name: str) -> Any:
            backend = copy.copy(load_backend(name))
            reason = None if name in working else f"no {name} here"
            monkeypatch.setattr(backend, "unavailable", lambda: reason)
            return backend

        monkeypatch.setattr(choice, "load_backend", load)

    return settle


def describe(folder: Path, backends: tuple[str, ...], chosen: str) -> str | None:
    manifest = replace(read_manifest(folder), backends=backends)
    return describe_backend_fallback(manifest, load_backend(chosen))


def test_the_cpu_in_a_gpus_place_is_said_with_every_reason(
    null_bundle: Path, machine: Callable[..., None]
) -> None:
    machine("ort")
    assert describe(null_bundle, ("tensorrt", "ort_cuda", "ort"), "ort") == (
        "computing on the CPU with backend 'ort', more slowly than the bundle is made for "
        "(tensorrt: no tensorrt here; ort_cuda: no ort_cuda here)"
    )


def test_one_gpu_library_in_anothers_place_is_said_too(
    null_bundle: Path, machine: Callable[..., None]
) -> None:
    machine("ort_cuda")
    found = describe(null_bundle, ("tensorrt", "ort_cuda", "ort"), "ort_cuda") or ""
    assert found.startswith("computing on backend 'ort_cuda', more slowly")


@pytest.mark.parametrize(
    ("backends", "chosen"),
    [
        (("tensorrt", "ort"), "tensorrt"),
        (("openvino", "ort"), "ort"),
        (("ort",), "openvino"),
        (("ort",), "ort"),
    ],
)
def test_a_bundles_first_backend_and_one_cpu_library_for_another_are_no_fallback(
    null_bundle: Path, machine: Callable[..., None], backends: tuple[str, ...], chosen: str
) -> None:
    machine()
    assert describe(null_bundle, backends, chosen) is None


def test_a_choice_of_ones_own_is_no_fallback(
    null_bundle: Path, machine: Callable[..., None]
) -> None:
    machine("tensorrt", "ort")
    assert describe(null_bundle, ("tensorrt", "ort"), "ort") is None


def test_backends_say_themselves_which_of_them_compute_on_a_gpu() -> None:
    assert [name for name in list_backends() if load_backend(name).on_gpu] == [
        "ort_cuda",
        "ort_tensorrt",
        "tensorrt",
        "tensorrt_rtx",
    ]


def test_only_tensorrts_own_backends_need_compiled_engines() -> None:
    assert [name for name in list_backends() if needs_compiling(name)] == [
        "tensorrt",
        "tensorrt_rtx",
    ]
    assert not needs_compiling("of a later release")


def test_the_portable_backend_is_the_first_that_works_and_opens_graphs(
    null_bundle: Path, machine: Callable[..., None]
) -> None:
    machine("tensorrt", "openvino", "ort")
    manifest = replace(
        read_manifest(null_bundle), backends=("of a later release", "tensorrt", "ort", "openvino")
    )
    assert find_portable(manifest) == "ort"
    machine("tensorrt")
    assert find_portable(manifest) is None


@pytest.mark.parametrize(
    ("own", "asked", "available", "chosen"),
    [
        ("bf16", "", ("fp32", "bf16"), "bf16"),
        ("bf16", "", ("fp32",), "fp32"),
        ("bf16", "fp32", ("fp32", "bf16"), "fp32"),
        ("fp32", "bf16", ("fp32",), "bf16"),
    ],
)
def test_arithmetic_is_what_is_asked_for_else_the_bundles_where_it_is_to_be_had(
    own: str, asked: str, available: tuple[str, ...], chosen: str
) -> None:
    assert choose_arithmetic(own, asked=asked, available=available) == chosen


def use_backends(folder: Path, *names: str) -> Manifest:
    manifest = replace(read_manifest(folder), backends=names)
    write_manifest(manifest, folder)
    return manifest


def test_verify_warns_of_the_fallback_once(
    command: Callable[..., Any], null_bundle: Path, machine: Callable[..., None]
) -> None:
    machine("null")
    use_backends(null_bundle, "ort_tensorrt", "null")
    outcome = command("verify", null_bundle)
    assert outcome.code == 0
    assert outcome.told == [
        "echoexport: warning: computing on the CPU with backend 'null', more slowly than the "
        "bundle is made for "
        "(ort_tensorrt: no ort_tensorrt here)"
    ]


def test_who_names_the_backend_is_not_warned(
    command: Callable[..., Any], null_bundle: Path, machine: Callable[..., None]
) -> None:
    machine("null")
    use_backends(null_bundle, "ort_tensorrt", "null")
    assert command("verify", null_bundle, "--backend", "null").told == []


class NotingBackend(Backend):
    """Engines that have something to say."""

    name = "noting"

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "gives zeros and notes"

    def open(self, graph: Path, spec: Any, options: EngineOptions) -> Any:
        engine: Any = NullEngine(spec)
        engine.notes = ["3 of 9 nodes run elsewhere", f"{spec.name}: runs without a CUDA graph"]
        return engine


def test_what_engines_note_is_kept_when_they_close_and_said_once(null_bundle: Path) -> None:
    bundle = Bundle(
        null_bundle, read_manifest(null_bundle), backend=NotingBackend(), options=EngineOptions()
    )
    with bundle:
        assert bundle.notes() == ()
        bundle.network("vae_decoder")({"latents": np.zeros((1, 4, 4, 4))})
        bundle.close_network("vae_decoder")
        bundle.network("vae_encoder")
        assert bundle.notes() == (
            "3 of 9 nodes run elsewhere",
            "vae_decoder: runs without a CUDA graph",
            "vae_encoder: runs without a CUDA graph",
        )


def test_an_engine_without_notes_has_none(null_bundle: Path) -> None:
    manifest = read_manifest(null_bundle)
    with Bundle(
        null_bundle, manifest, backend=load_backend("null"), options=EngineOptions()
    ) as bundle:
        assert bundle.network("vae_decoder").notes == ()
        assert bundle.notes() == ()
