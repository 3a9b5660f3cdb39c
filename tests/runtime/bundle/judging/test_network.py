"""A bundle's graphs are judged before any engine sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.graph_bytes import write_field, write_graph_of

from echoexport.runtime.backends.null import NullBackend
from echoexport.runtime.bundle.judging.network import judge_network
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.errors import BundleError

NAME = "vae_decoder"
GRAPH = "vae_decoder.onnx"
Rewrite = Callable[[Path, str, bytes], None]


def test_every_graph_of_the_bundle_passes(null_bundle: Path) -> None:
    manifest = read_manifest(null_bundle)
    for name, entry in manifest.networks.items():
        judge_network(null_bundle, manifest, name=name, file=entry.graph)


def test_a_backend_never_sees_a_graph_that_was_refused(
    null_bundle: Path, rewrite: Rewrite, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    whole = NullBackend.open

    def open_watched(self: NullBackend, graph: Path, *rest: object) -> object:
        seen.append(graph)
        return whole(self, graph, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(NullBackend, "open", open_watched)
    content = (null_bundle / GRAPH).read_bytes()
    rewrite(null_bundle, GRAPH, content + write_field(25, b""))
    with open_bundle(null_bundle) as bundle:
        with pytest.raises(BundleError, match=r"vae_decoder\.onnx: it holds functions of its own;"):
            bundle.network(NAME)
        with pytest.raises(BundleError, match="functions of its own"):
            bundle.open_profiled(NAME)
        assert seen == []
        bundle.network("vae_encoder")
        assert seen != []


def test_the_bytes_that_are_given_are_judged_and_not_the_file(null_bundle: Path) -> None:
    manifest = read_manifest(null_bundle)
    (null_bundle / GRAPH).unlink()
    sound = write_graph_of(manifest.networks[NAME].describe(NAME))
    judge_network(null_bundle, manifest, name=NAME, file=GRAPH, data=sound)
    with pytest.raises(BundleError, match=r"vae_decoder\.onnx: cannot be read: No such file"):
        judge_network(null_bundle, manifest, name=NAME, file=GRAPH)


def test_weights_in_another_folder_than_the_graph_are_refused(null_bundle: Path) -> None:
    manifest = read_manifest(null_bundle)
    entry = replace(manifest.networks[NAME], weights="deep/vae_decoder.bin")
    files = {**manifest.files, "deep/vae_decoder.bin": manifest.files["vae_decoder.bin"]}
    manifest = replace(manifest, networks={**manifest.networks, NAME: entry}, files=files)
    with pytest.raises(BundleError, match=r"'deep/vae_decoder\.bin' lie in another"):
        judge_network(null_bundle, manifest, name=NAME, file=GRAPH)
