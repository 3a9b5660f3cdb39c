"""A live host's bundle for offline work: its engines where they are open, the same frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime import open_bundle
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.engine.protocol import Arrays, Engine
from echoexport.runtime.errors import BackendError
from echoexport.runtime.inputs.voice import voice_from_samples
from echoexport.runtime.live.host import LiveHost
from echoexport.runtime.live.offline import SpareBundle
from echoexport.runtime.live.opening import find_host
from echoexport.runtime.live.settings import LiveSettings, settle_live
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderInputs


@pytest.fixture
def bundle(null_bundle: Path) -> Iterator[Bundle]:
    with open_bundle(null_bundle) as opened:
        yield opened


@pytest.fixture
def host(bundle: Bundle) -> LiveHost:
    host = find_host(bundle)
    host.warm_up(settle_live(bundle.manifest, LiveSettings(fps=25)))
    return host


def render(bundle: Bundle, side: int = 32) -> list[np.ndarray]:
    grey = np.full((side, side, 3), 128, np.uint8)
    mask = np.full((side, side), 255, np.uint8)
    voice = voice_from_samples(np.full(16_000, 0.1, np.float32))
    with Session(bundle) as session:
        return list(session.start(RenderInputs(grey, voice, mask=mask)))


def test_frames_are_those_of_the_bundle(bundle: Bundle, host: LiveHost) -> None:
    with SpareBundle(host, is_stopped=lambda: False) as spare:
        beside = render(spare)
    assert len(beside) == 24
    np.testing.assert_array_equal(beside, render(bundle))


def test_what_sessions_have_open_is_theirs_and_stays_open(host: LiveHost) -> None:
    decoder = host.network("vae_decoder")
    before = decoder.calls
    with SpareBundle(host, is_stopped=lambda: False) as spare:
        render(spare)
    assert decoder.calls >= before + 24
    latents = np.zeros(decoder.spec.inputs[0].shape, np.float32)
    assert decoder({"latents": latents})["picture"].shape[-1] == 32


def test_it_goes_on_with_engines_that_were_opened_anew(host: LiveHost) -> None:
    with SpareBundle(host, is_stopped=lambda: False) as spare:
        network = spare.network("vae_decoder")
        host.note_failure(RuntimeError("an engine failed"))
        latents = np.zeros(network.spec.inputs[0].shape, np.float32)
        network({"latents": latents})
        assert host.network("vae_decoder").calls == 1


def count_opened(host: LiveHost, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    opened = list[str]()
    open_lanes = host.open_lanes

    def note(name: str) -> Network:
        opened.append(name)
        return open_lanes(name)

    monkeypatch.setattr(host, "open_lanes", note)
    return opened


def test_weights_lie_in_memory_once_though_an_engine_failed_before(
    host: LiveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.note_failure(RuntimeError("an engine failed"))
    opened = count_opened(host, monkeypatch)
    with SpareBundle(host, is_stopped=lambda: False) as spare:
        render(spare)
        assert host.network("denoising_unet").calls
        assert host.network("vae_decoder").calls
    assert sorted(opened) == sorted(set(opened))


class FailingEngine(Engine):
    """Fails at every call."""

    precision = "fp32"

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        raise BackendError("it does not run")

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("name", "shared"), [("vae_decoder", True), ("vae_encoder", False)])
def test_sessions_open_anew_what_is_theirs_and_failed_alone(
    host: LiveHost, monkeypatch: pytest.MonkeyPatch, name: str, shared: bool
) -> None:
    before = host.network("denoising_unet")
    spec = host.bundle.open_lanes(name, 1).spec
    failing = Network(spec, FailingEngine())
    assert host.is_shared(name) == shared
    if shared:
        monkeypatch.setitem(host._networks, name, failing)
    else:
        monkeypatch.setattr(host, "open_lanes", lambda name: failing)
    with SpareBundle(host, is_stopped=lambda: False) as spare:
        network = spare.network(name)
        inputs = {
            tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in network.spec.inputs
        }
        with pytest.raises(BackendError, match="does not run"):
            network(inputs)
        if shared:
            network(inputs)  # opened anew
    monkeypatch.undo()
    assert (host.network("denoising_unet") is before) != shared


def test_every_call_waits_for_its_turn(host: LiveHost, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = list[str]()
    submit = host.workers.submit_spare

    def note(run: Callable[[], None], **more: Callable[[float], None]) -> None:
        kinds.append("spare")
        submit(run, **more)

    monkeypatch.setattr(host.workers, "submit_spare", note)
    with SpareBundle(host, is_stopped=lambda: False) as spare, Session(spare) as session:
        grey = np.full((32, 32, 3), 128, np.uint8)
        mask = np.full((32, 32), 255, np.uint8)
        voice = voice_from_samples(np.full(16_000, 0.1, np.float32))
        list(session.start(RenderInputs(grey, voice, mask=mask)))
        assert len(kinds) == sum(session.networks.calls().values())
