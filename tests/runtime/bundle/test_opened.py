"""An opened bundle: networks are opened once, counted, closed, and proven in what they compute."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.manifests import edit_manifest

from echoexport.runtime import open_bundle
from echoexport.runtime.bundle.files import hold_file
from echoexport.runtime.bundle.judging.judge import JUDGEMENT
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions
from echoexport.runtime.errors import BackendError, BundleError, UnknownNameError
from echoexport.runtime.files.held_file import HeldFile


class FixedEngine(Engine):
    """Gives what it was told to give."""

    def __init__(self, outputs: Arrays, precision: str) -> None:
        self.precision = precision
        self.outputs = outputs
        self.closed = False

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return dict(self.outputs)

    def close(self) -> None:
        self.closed = True


class FixedBackend(Backend):
    """Opens engines that give ``value`` everywhere."""

    name = "fixed"

    def __init__(self, value: float, *, precision: str = "fp32") -> None:
        self.value = value
        self.precision = precision
        self.opened: list[FixedEngine] = []
        self.computes: list[str] = []

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return f"gives {self.value}"

    def arithmetic(self) -> tuple[str, ...]:
        return ("fp32", "bf16")

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> FixedEngine:
        self.computes.append(options.compute)
        outputs = {t.name: np.full(t.shape, self.value, t.dtype) for t in spec.outputs}
        self.opened.append(FixedEngine(outputs, self.precision))
        return self.opened[-1]


def bundle_giving(
    folder: Path, value: float, *, precision: str = "fp32"
) -> tuple[Bundle, FixedBackend]:
    backend = FixedBackend(value, precision=precision)
    return Bundle(folder, read_manifest(folder), backend=backend, options=EngineOptions()), backend


def test_every_network_of_a_bundle_opens_and_passes_its_self_test(null_bundle: Path) -> None:
    with open_bundle(null_bundle) as bundle:
        results = [bundle.self_test(name) for name in FAMILY.required]
    assert [(r.network, r.error, r.passed) for r in results] == [
        (name, 0.0, True) for name in FAMILY.required
    ]


def test_opening_a_bundle_reads_no_weights(
    null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []
    where = "echoexport.runtime.bundle.opening.hold_file"

    def hold(folder: Path, name: str, **rest: Any) -> HeldFile:
        held.append(name)
        return hold_file(folder, name, **rest)

    monkeypatch.setattr(where, hold)
    with open_bundle(null_bundle) as bundle:
        assert held == []
        bundle.network("vae_decoder")
        bundle.network("vae_decoder")
    assert held == ["vae_decoder.onnx", "vae_decoder.bin"]


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(BundleError, match=r"is not a bundle"):
            open_bundle(folder)


def test_an_unknown_network_is_refused_with_a_suggestion(null_bundle: Path) -> None:
    with (
        open_bundle(null_bundle) as bundle,
        pytest.raises(UnknownNameError, match=r"Did you mean 'denoising_unet'\?"),
    ):
        bundle.network("denoising_net")


def test_without_a_named_backend_the_first_that_works_is_taken(null_bundle: Path) -> None:
    edit_manifest(null_bundle, lambda data: data["backends"].insert(0, "backend-of-tomorrow"))
    with open_bundle(null_bundle) as bundle:
        assert bundle.backend.name == "null"


def test_a_bundle_that_no_backend_here_can_run_says_why_for_each(
    null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "echoexport.runtime.backends.null.NullBackend.unavailable", lambda self: "it is off"
    )
    with pytest.raises(
        BackendError, match=r"no backend of this bundle works here: null: it is off"
    ):
        open_bundle(null_bundle)
    with pytest.raises(BackendError, match=r"backend 'null' does not work here: it is off"):
        open_bundle(null_bundle, backend="null")


def test_calls_are_counted_over_the_bundles_life_even_if_a_network_is_closed(
    null_bundle: Path,
) -> None:
    zeros = {"latents": np.zeros((1, 4, 4, 4), np.float32)}
    with open_bundle(null_bundle) as bundle:
        assert set(bundle.calls().values()) == {0}
        bundle.network("vae_decoder")(zeros)
        bundle.close_network("vae_decoder")
        bundle.close_network("vae_decoder")
        bundle.network("vae_decoder")(zeros)
        assert bundle.calls() == {**dict.fromkeys(FAMILY.required, 0), "vae_decoder": 2}


def test_leaving_the_bundle_closes_every_engine_it_opened(null_bundle: Path) -> None:
    bundle, backend = bundle_giving(null_bundle, 0.0)
    with bundle:
        for name in FAMILY.required:
            bundle.network(name)
    assert [engine.closed for engine in backend.opened] == [True] * len(FAMILY.required)


def test_what_a_library_keeps_for_a_network_counts_as_used_when_the_network_is_opened(
    null_bundle: Path, tmp_path: Path
) -> None:
    with open_bundle(null_bundle, options=EngineOptions(cache=tmp_path)) as bundle:
        known_by = f"{bundle.identity('vae_decoder')}/{JUDGEMENT}"
        digest = hashlib.sha256(known_by.encode()).hexdigest()
        folder = tmp_path / f"vae_decoder-{digest[:24]}"
        folder.mkdir()
        os.utime(folder, (1000, 1000))
        bundle.network("vae_decoder")
        assert folder.stat().st_mtime > 1000
        bundle.network("vae_encoder")  # whose library kept nothing


def test_the_identity_changes_with_the_weights_the_backend_and_its_arithmetic(
    null_bundle: Path,
    make_null_bundle: Callable[..., Path],
    rewrite: Callable[[Path, str, bytes], None],
) -> None:
    other = make_null_bundle("other")
    rewrite(other, "vae_encoder.bin", b"other weights")
    manifest = read_manifest(null_bundle)
    bundles = [
        open_bundle(null_bundle),
        open_bundle(other),
        bundle_giving(null_bundle, 1.0)[0],
        Bundle(
            null_bundle, manifest, backend=FixedBackend(1.0), options=EngineOptions(compute="bf16")
        ),
    ]
    assert len({bundle.identity("vae_encoder", "reference_unet") for bundle in bundles}) == len(
        bundles
    )
    assert bundles[0].identity("vae_decoder") == bundles[1].identity("vae_decoder")


@pytest.mark.parametrize("value", [1.0, float("nan"), float("inf")])
def test_an_output_far_from_the_golden_one_fails_the_self_test(
    null_bundle: Path, value: float
) -> None:
    bundle, _ = bundle_giving(null_bundle, value)
    result = bundle.self_test("vae_decoder")
    assert not result.passed
    assert result.error == (1.0 if value == 1.0 else float("inf"))


def test_a_bf16_engine_is_refused_where_it_fails_its_self_test(null_bundle: Path) -> None:
    bundle, backend = bundle_giving(null_bundle, 0.5, precision="bf16")
    with pytest.raises(
        BackendError, match=r"vae_decoder: bf16 on this machine is wrong by 0\.5 .*use compute fp32"
    ):
        bundle.network("vae_decoder")
    assert backend.opened[0].closed


def test_a_bf16_engine_that_passes_starts_with_no_calls_counted(null_bundle: Path) -> None:
    bundle, _ = bundle_giving(null_bundle, 0.1, precision="bf16")
    network = bundle.network("vae_decoder")
    assert (network.calls, network.precision) == (0, "bf16")


def test_a_bundle_may_be_copied_and_moved(null_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(null_bundle, tmp_path / "copy")
    with open_bundle(str(tmp_path / "copy")) as bundle:
        assert list(bundle.check_files())


def choose(folder: Path, **changes: dict[str, str]) -> None:
    """Change keys of networks in a manifest."""

    def edit(data: dict[str, Any]) -> None:
        for name, entry in changes.items():
            data["networks"][name] |= entry

    edit_manifest(folder, edit)


def test_each_network_computes_as_the_bundle_chose_unless_told_otherwise(null_bundle: Path) -> None:
    choose(
        null_bundle,
        vae_decoder={"compute": "bf16"},
        denoising_unet={"compute": "bf16", "precision": "int8"},
    )
    own, backend = bundle_giving(null_bundle, 0.0)
    for name in FAMILY.required:
        own.network(name)
    assert backend.computes == [
        "bf16" if name in ("vae_decoder", "denoising_unet") else "fp32" for name in FAMILY.required
    ]
    assert own.missing_arithmetic() is None
    found = own.arithmetic()
    assert (found["denoising_unet"], found["vae_decoder"], found["vae_encoder"]) == (
        "int8+bf16",
        "bf16",
        "fp32",
    )
    told = Bundle(null_bundle, own.manifest, backend=backend, options=EngineOptions(compute="fp32"))
    assert set(told.arithmetic().values()) == {"int8", "fp32"}
    assert own.identity("vae_decoder") != told.identity("vae_decoder")
    assert own.identity("vae_encoder") == told.identity("vae_encoder")


def test_arithmetic_that_the_backend_lacks_is_replaced_by_fp32_and_said(null_bundle: Path) -> None:
    choose(null_bundle, vae_decoder={"compute": "bf16"})
    with open_bundle(null_bundle) as bundle:
        assert bundle.arithmetic()["vae_decoder"] == "fp32"
        assert "chose bf16 for vae_decoder, which backend 'null' does not have" in (
            bundle.missing_arithmetic() or ""
        )
        assert bundle.network("vae_decoder").precision == "fp32"


def test_an_int8_engine_is_refused_where_it_fails_its_self_test(null_bundle: Path) -> None:
    bundle, _ = bundle_giving(null_bundle, 0.5, precision="int8")
    with pytest.raises(
        BackendError, match=r"int8 on this machine is wrong by 0\.5 .*use another backend"
    ):
        bundle.network("vae_decoder")


def test_a_network_of_int8_layers_in_bf16_is_held_to_the_coarser_tolerance(
    null_bundle: Path,
) -> None:
    bundle, _ = bundle_giving(null_bundle, 0.0, precision="int8+bf16")
    tolerances = bundle.manifest.networks["vae_decoder"].tolerances
    assert bundle.self_test("vae_decoder").tolerance == max(tolerances["int8"], tolerances["bf16"])


class SlowBackend(FixedBackend):
    """Opens an engine when it is told to."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.begun = threading.Event()
        self.go = threading.Event()

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> FixedEngine:
        self.begun.set()
        assert self.go.wait(30)
        return super().open(graph, spec, options)


def test_a_network_that_is_being_opened_is_not_opened_ahead_once_more(null_bundle: Path) -> None:
    backend = SlowBackend()
    with Bundle(
        null_bundle, read_manifest(null_bundle), backend=backend, options=EngineOptions()
    ) as bundle:
        networks = bundle.lease()
        user = threading.Thread(target=networks.network, args=("vae_decoder",))
        user.start()
        assert backend.begun.wait(30)
        other = threading.Thread(target=networks.open_ahead, args=("vae_decoder", "vae_encoder"))
        other.start()
        other.join(0.2)  # it may come back at once or wait
        backend.go.set()
        for thread in (user, other):
            thread.join(30)
        bundle.network("vae_encoder")  # after whatever was to be opened before it
    assert len(backend.opened) == 2
    assert all(engine.closed for engine in backend.opened)


def test_a_network_is_opened_once_though_who_waits_for_it_is_interrupted(
    null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(future: Any, timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    backend = SlowBackend()
    with Bundle(
        null_bundle, read_manifest(null_bundle), backend=backend, options=EngineOptions()
    ) as bundle:
        bundle.lease().open_ahead("vae_decoder")
        with monkeypatch.context() as patch:
            patch.setattr(Future, "result", interrupt)
            with pytest.raises(KeyboardInterrupt):
                bundle.network("vae_decoder")
        backend.go.set()
        bundle.network("vae_decoder")
    assert [engine.closed for engine in backend.opened] == [True]


def test_a_network_that_did_not_open_ahead_is_tried_again_when_it_is_asked_for_again(
    null_bundle: Path,
) -> None:
    bundle, _ = bundle_giving(null_bundle, 0.0)
    graph = null_bundle / "vae_decoder.onnx"
    content = graph.read_bytes()
    graph.write_bytes(content[::-1])
    with bundle:
        bundle.lease().open_ahead("vae_decoder")
        with pytest.raises(BundleError, match=r"vae_decoder\.onnx: sha256"):
            bundle.network("vae_decoder")
        graph.write_bytes(content)
        assert bundle.network("vae_decoder").spec.name == "vae_decoder"


def test_notes_are_told_while_another_thread_opens_a_network(
    null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, _ = bundle_giving(null_bundle, 0.0)

    def tell(network: Network) -> tuple[str, ...]:
        bundle.network("vae_encoder")  # as another thread would, between two networks' notes
        return (f"of {network.spec.name}",)

    monkeypatch.setattr(Network, "notes", property(tell))
    with bundle:
        bundle.network("vae_decoder")
        assert bundle.notes() == ("of vae_decoder",)
