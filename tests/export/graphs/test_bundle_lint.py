"""``verify --lint``: the graph rules on finished bundles, for the TensorRTs of their target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from fixtures.manifests import edit_manifest

from echoexport.export.demo.assets import CHARACTER_SIZE, builtin_checkpoint
from echoexport.export.graphs.bundle_lint import find_versions, lint_bundle
from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.errors import UnknownNameError


@pytest.fixture
def spoilt_bundle(build_tiny: Callable[..., Path], tmp_path: Path) -> Path:
    """A tiny bundle whose landmark encoder names a Pad's axes.

    Its manifest agrees with its files.
    """
    import shutil

    folder = tmp_path / "spoilt"
    shutil.copytree(build_tiny(), folder)
    path = folder / "landmark_encoder.onnx"
    model = onnx.load_model(path, load_external_data=False)
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    constants = (
        onnx.helper.make_tensor("pads.two", 7, [4], [0] * 4),
        onnx.helper.make_tensor("axes.two", 7, [2], [2, 3]),
    )
    model.graph.initializer.extend(constants)
    pad = onnx.helper.make_node(
        "Pad", [conv.input[0], "pads.two", "", "axes.two"], ["padded"], name="planted"
    )
    model.graph.node.insert(0, pad)
    conv.input[0] = "padded"
    path.write_bytes(model.SerializeToString())
    entry = {"sha256": hash_file(path), "bytes": path.stat().st_size}
    edit_manifest(folder, lambda data: data["files"].update({"landmark_encoder.onnx": entry}))
    return folder


def test_a_targets_own_versions_are_held_to() -> None:
    assert find_versions("jetson-orin") == ("10.3", "10.16.2")


@pytest.mark.parametrize("target", ["cpu", "a100", "a-board-of-my-own"])
def test_a_target_that_names_no_version_is_held_to_all(target: str) -> None:
    assert find_versions(target) == ("10.3", "10.16", "11.4")


def test_a_built_bundle_keeps_every_rule(
    command: Callable[..., Any], build_tiny: Callable[..., Path]
) -> None:
    outcome = command("verify", build_tiny(), "--lint", "--files-only")
    assert outcome.code == 0
    lines = [line.split(maxsplit=1) for line in outcome.out.splitlines()[1:]]
    assert lines == [
        [name, "keeps every rule (TensorRT 10.3, 10.16, 11.4)"] for name in FAMILY.required
    ]


def test_a_planted_fault_is_printed_with_node_version_and_fix(
    command: Callable[..., Any], spoilt_bundle: Path
) -> None:
    outcome = command("verify", spoilt_bundle, "--lint")
    assert outcome.code == 1
    assert (
        "landmark_encoder pad: planted: names its axes in an input (TensorRT 10.3); fix: give "
        "pads of all axes"
    ) in [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert outcome.told == [
        f"echoexport: error: {spoilt_bundle}: 1 broken graph rules; build it again"
    ]


def test_one_network_can_be_linted(command: Callable[..., Any], spoilt_bundle: Path) -> None:
    outcome = command("verify", spoilt_bundle, "--lint", "--files-only", "--network", "vae_decoder")
    assert (outcome.code, len(outcome.out.splitlines())) == (0, 2)


def test_a_network_that_is_not_there_is_named(build_tiny: Callable[..., Path]) -> None:
    folder = build_tiny()
    with pytest.raises(UnknownNameError, match="unknown network 'vae_decodr'"):
        list(lint_bundle(folder, read_manifest(folder), networks=["vae_decodr"], versions=["10.3"]))


def test_what_is_no_graph_is_refused(
    refusal: Callable[..., str], command: Callable[..., Any], null_bundle: Path
) -> None:
    path = null_bundle / "vae_encoder.onnx"
    path.write_text("words")
    entry = {"sha256": hash_file(path), "bytes": path.stat().st_size}
    edit_manifest(null_bundle, lambda data: data["files"].update({path.name: entry}))
    outcome = command("verify", null_bundle, "--lint")
    assert outcome.code == 1
    assert "vae_encoder.onnx: not an ONNX graph" in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_demo_characters_networks_keep_every_rule(
    tmp_path: Path, trace_folder: Path, precision: str
) -> None:
    from echoexport.export.build.bundle import build_bundle
    from echoexport.export.build.settings import BuildSettings
    from echoexport.targets.spec import load_target

    settings = BuildSettings(
        size=CHARACTER_SIZE, precision=precision, traces=trace_folder, check="none"
    )
    manifest = build_bundle(
        builtin_checkpoint(),
        tmp_path / "demo",
        target=load_target("jetson-orin"),
        settings=settings,
    )
    versions = find_versions(manifest.target)
    found = dict(
        lint_bundle(tmp_path / "demo", manifest, networks=FAMILY.required, versions=versions)
    )
    assert found == {name: [] for name in FAMILY.required}
