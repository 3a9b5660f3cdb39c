"""Networks that are opened before they are needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoexport.runtime import Bundle, EngineOptions, SubnetSpec
from echoexport.runtime.backends.null import NullBackend, NullEngine
from echoexport.runtime.bundle import early
from echoexport.runtime.contract.manifest import read_manifest


class NotingBackend(NullBackend):
    """Null engines, and the names of the networks in the order in which they were opened."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> NullEngine:
        self.opened.append(spec.name)
        return NullEngine(spec)


def open_early(folder: Path) -> list[str]:
    """What was opened before anything was asked for."""
    backend = NotingBackend()
    with Bundle(folder, read_manifest(folder), backend=backend, options=EngineOptions()) as bundle:
        lease = bundle.lease()
        early.begin_opening(lease)
        # opened in its turn behind the others, by the same thread
        lease.open_ahead("landmark_encoder")
        lease.network("landmark_encoder")
        return backend.opened


def test_a_small_denoiser_is_opened_first_and_the_decoder_after_it(null_bundle: Path) -> None:
    assert open_early(null_bundle) == ["denoising_unet", "vae_decoder", "landmark_encoder"]


def test_a_large_denoiser_is_left_until_it_is_needed(
    null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early, "_CLOSED_FROM", 0)
    assert open_early(null_bundle) == ["landmark_encoder"]
