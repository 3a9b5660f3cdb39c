"""A backend's own graph of a network.

Opened by that backend alone, checked like any file, and never trusted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.graph_bytes import write_field
from fixtures.manifests import edit_manifest

from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import FileEntry, Manifest, read_manifest, write_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Backend, Engine, EngineOptions
from echoexport.runtime.errors import BackendError, BundleError, SettingError

NAME = "vae_decoder"
OWN = "vae_decoder.own.onnx"
PLAIN = "vae_decoder.onnx"
LATENTS = {"latents": np.zeros((1, 4, 4, 4), np.float32)}


class OwnEngine(Engine):
    """Gives one value everywhere."""

    def __init__(self, spec: SubnetSpec, value: float, precision: str) -> None:
        self._spec = spec
        self._value = value
        self.precision = precision
        self.runs = 0
        self.closed = False

    def __call__(self, inputs: Any) -> dict[str, np.ndarray]:
        self.runs += 1
        return {
            tensor.name: np.full(tensor.shape, self._value, tensor.dtype)
            for tensor in self._spec.outputs
        }

    def close(self) -> None:
        self.closed = True


class OwnBackend(Backend):
    """Opens graphs as ``values`` says by file name: an engine that gives the value, or the error.

    0 is right.
    """

    def __init__(
        self, name: str = "own", *, precision: str = "fp32", **values: float | Exception
    ) -> None:
        self.name = name
        self._precision = precision
        self._values = {f"{key.replace('__', '.')}.onnx": value for key, value in values.items()}
        self.opened: list[str] = []
        self.engines: list[OwnEngine] = []

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "any backend"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> OwnEngine:
        self.opened.append(graph.name)
        value = self._values.get(graph.name, 0.0)
        if isinstance(value, Exception):
            raise value
        self.engines.append(OwnEngine(spec, value, self._precision))
        return self.engines[-1]


@pytest.fixture
def folder(null_bundle: Path) -> Path:
    """A bundle that has a graph of one network for the backend called ``own``."""
    manifest = read_manifest(null_bundle)
    (null_bundle / OWN).write_bytes((null_bundle / PLAIN).read_bytes() + write_field(6, "own"))
    files = {
        **manifest.files,
        OWN: FileEntry(hash_file(null_bundle / OWN), (null_bundle / OWN).stat().st_size),
    }
    entry = replace(manifest.networks[NAME], graphs={"own": OWN})
    write_manifest(
        replace(manifest, networks={**manifest.networks, NAME: entry}, files=files), null_bundle
    )
    return null_bundle


def open_with(folder: Path, backend: OwnBackend, **options: Any) -> Bundle:
    return Bundle(folder, read_manifest(folder), backend=backend, options=EngineOptions(**options))


def without_graphs(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    entry = replace(manifest.networks[NAME], graphs={})
    return replace(manifest, networks={**manifest.networks, NAME: entry})


@pytest.mark.parametrize(("backend", "wanted"), [("own", OWN), ("other", PLAIN)])
def test_a_backend_opens_its_own_graph_and_others_the_plain_one(
    folder: Path, backend: str, wanted: str
) -> None:
    double = OwnBackend(backend)
    with open_with(folder, double) as bundle:
        assert bundle.network(NAME).notes == ()
        assert bundle.files_of(NAME) == (wanted, f"{NAME}.bin")
    assert double.opened == [wanted]


def test_networks_without_an_own_graph_run_the_plain_one(folder: Path) -> None:
    double = OwnBackend()
    with open_with(folder, double) as bundle:
        for name in FAMILY.required:
            bundle.network(name)
    assert double.opened == [OWN if name == NAME else f"{name}.onnx" for name in FAMILY.required]


def test_an_own_graph_proves_itself_once_and_no_call_of_that_is_counted(folder: Path) -> None:
    double = OwnBackend()
    with open_with(folder, double) as bundle:
        network = bundle.network(NAME)
        assert (double.engines[0].runs, network.calls, network.seconds) == (1, 0, 0.0)
        network(LATENTS)
        assert bundle.calls()[NAME] == 1


def test_an_own_graph_is_timed_layer_by_layer_too(folder: Path) -> None:
    double = OwnBackend()
    with open_with(folder, double) as bundle:
        bundle.open_profiled(NAME).close()
    assert double.opened == [OWN]


FAULTS: dict[str, tuple[float | Exception, str]] = {
    "refused": (BackendError("no such operator: NhwcConv"), "no such operator: NhwcConv"),
    "wrong": (0.5, "fp32 on this machine is wrong by 0.5 of the maximum"),
    "not a number": (float("nan"), "fp32 on this machine is wrong by inf of the maximum"),
}


@pytest.mark.parametrize(("fault", "reason"), FAULTS.values(), ids=FAULTS)
def test_where_it_is_refused_or_wrong_the_plain_graph_runs_and_one_note_says_so(
    folder: Path, fault: float | Exception, reason: str
) -> None:
    double = OwnBackend(vae_decoder__own=fault)
    with open_with(folder, double) as bundle:
        outputs = bundle.network(NAME)(LATENTS)
        (note,) = bundle.notes()
    assert double.opened == [OWN, PLAIN]
    assert not outputs["picture"].any()
    assert note.startswith(f"{NAME}: runs in plain operators, which is slower: its graph for own: ")
    assert reason in note and "\n" not in note


def test_an_own_graph_that_is_wrong_is_closed_before_the_plain_one_opens(folder: Path) -> None:
    double = OwnBackend(vae_decoder__own=0.5)
    with open_with(folder, double) as bundle:
        bundle.network(NAME)
        assert [engine.closed for engine in double.engines] == [True, False]


def test_the_note_is_given_once_however_often_the_network_opens(folder: Path) -> None:
    with open_with(folder, OwnBackend(vae_decoder__own=0.5)) as bundle:
        for _ in range(3):
            bundle.network(NAME)
            bundle.close_network(NAME)
        assert len(bundle.notes()) == 1


def test_a_graph_that_was_wrong_once_is_not_tried_again_nor_named(folder: Path) -> None:
    double = OwnBackend(vae_decoder__own=0.5)
    with open_with(folder, double) as bundle:
        for _ in range(2):
            bundle.network(NAME)
            bundle.close_network(NAME)
        assert bundle.graph_of(NAME) == PLAIN
    assert double.opened == [OWN, PLAIN, PLAIN]


def test_a_wrong_own_graph_in_fp16_does_not_blame_int8(folder: Path) -> None:
    with open_with(folder, OwnBackend(vae_decoder__own=0.5, precision="fp16")) as bundle:
        (note,) = bundle.network(NAME).notes
    assert note.endswith("is allowed); use another backend")


def test_an_own_graph_within_the_precisions_tolerance_is_kept(folder: Path) -> None:
    tolerances = read_manifest(folder).networks[NAME].tolerances
    value = 0.9 * tolerances["fp16"]
    assert value > tolerances["fp32"]
    double = OwnBackend(vae_decoder__own=value, precision="fp16")
    with open_with(folder, double) as bundle:
        assert bundle.network(NAME).notes == ()
    assert double.opened == [OWN]


def test_where_the_plain_graph_is_refused_as_well_that_is_the_error(folder: Path) -> None:
    double = OwnBackend(vae_decoder__own=BackendError("first"), vae_decoder=BackendError("second"))
    with open_with(folder, double) as bundle, pytest.raises(BackendError, match=r"^second$"):
        bundle.network(NAME)


def test_what_was_asked_for_wrongly_is_no_reason_to_run_the_plain_graph(folder: Path) -> None:
    double = OwnBackend(vae_decoder__own=SettingError("compute 'bf16': no"))
    with open_with(folder, double) as bundle, pytest.raises(SettingError, match="compute 'bf16'"):
        bundle.network(NAME)
    assert double.opened == [OWN]


def test_a_changed_own_graph_is_refused_before_it_opens(folder: Path) -> None:
    (folder / OWN).write_bytes((folder / OWN).read_bytes().swapcase())
    double = OwnBackend()
    with (
        open_with(folder, double) as bundle,
        pytest.raises(BundleError, match=r"own\.onnx: sha256 is [0-9a-f]{64}"),
    ):
        bundle.network(NAME)
    assert double.opened == []


def test_a_plain_graph_that_takes_its_place_is_hashed_first(folder: Path) -> None:
    (folder / PLAIN).write_bytes((folder / PLAIN).read_bytes().swapcase())
    double = OwnBackend(vae_decoder__own=0.5)
    with (
        open_with(folder, double) as bundle,
        pytest.raises(BundleError, match=r"vae_decoder\.onnx: sha256 is"),
    ):
        bundle.network(NAME)
    assert double.opened == [OWN]


def test_a_missing_own_graph_is_refused_when_the_bundle_is_opened(folder: Path) -> None:
    (folder / OWN).unlink()
    with pytest.raises(
        BundleError, match=r"vae_decoder\.own\.onnx: missing; build or copy the bundle again"
    ):
        open_bundle(folder)


def test_checking_the_files_hashes_own_graphs(folder: Path) -> None:
    with open_bundle(folder) as bundle:
        assert OWN in list(bundle.check_files())
        (folder / OWN).write_bytes((folder / OWN).read_bytes().swapcase())
        with pytest.raises(BundleError, match=r"vae_decoder\.own\.onnx: sha256 is"):
            list(bundle.check_files())


def test_another_graph_is_another_identity_of_that_network_alone(folder: Path) -> None:
    own = open_with(folder, OwnBackend())
    plain = Bundle(folder, without_graphs(folder), backend=OwnBackend(), options=EngineOptions())
    assert own.identity(NAME) != plain.identity(NAME)
    assert own.identity("vae_encoder", "reference_unet") == plain.identity(
        "vae_encoder", "reference_unet"
    )


def test_to_another_backend_the_own_graph_makes_no_difference(folder: Path) -> None:
    with_it = open_with(folder, OwnBackend("other"))
    plain = Bundle(
        folder, without_graphs(folder), backend=OwnBackend("other"), options=EngineOptions()
    )
    assert with_it.identity(*FAMILY.required) == plain.identity(*FAMILY.required)


def test_weights_are_those_of_the_plain_graph(folder: Path) -> None:
    weights = read_manifest(folder).files[f"{NAME}.bin"].bytes
    assert open_with(folder, OwnBackend()).measure_weights(NAME) == weights


def test_weights_that_networks_share_count_once(folder: Path) -> None:
    def share(data: dict[str, Any]) -> None:
        data["networks"]["vae_encoder"]["weights"] = f"{NAME}.bin"

    alone = open_with(folder, OwnBackend()).measure_weights(NAME)
    edit_manifest(folder, share)
    bundle = open_with(folder, OwnBackend())
    assert bundle.measure_weights(NAME, "vae_encoder") == alone
    assert bundle.measure_weights(NAME, "denoising_unet") > alone


def test_a_manifest_that_names_a_missing_own_graph_is_refused_in_one_line(folder: Path) -> None:
    edit_manifest(folder, lambda data: data["networks"][NAME]["graphs"].update(own="nowhere.onnx"))
    with pytest.raises(
        BundleError, match=r"network vae_decoder: 'nowhere\.onnx' is not in the manifest's"
    ) as caught:
        read_manifest(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [["own.onnx"], {"own": 3}, "own.onnx", None])
def test_graphs_that_are_no_table_of_names_are_refused(folder: Path, value: object) -> None:
    edit_manifest(folder, lambda data: data["networks"][NAME].update(graphs=value))
    with pytest.raises(BundleError, match=r"manifest\.networks.*graphs"):
        read_manifest(folder)


def test_a_manifest_comes_back_with_its_own_graphs(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    (tmp_path / "copy").mkdir()
    write_manifest(manifest, tmp_path / "copy")
    assert read_manifest(tmp_path / "copy") == manifest
    assert manifest.networks[NAME].files == (PLAIN, f"{NAME}.bin", f"self-test/{NAME}.npz", OWN)


def test_an_older_manifest_without_the_field_opens(null_bundle: Path) -> None:
    edit_manifest(
        null_bundle, lambda data: [entry.pop("graphs") for entry in data["networks"].values()]
    )
    with open_bundle(null_bundle) as bundle:
        assert bundle.self_test(NAME).passed
        assert bundle.graph_of(NAME) == PLAIN
