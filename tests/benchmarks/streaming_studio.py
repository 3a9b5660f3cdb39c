"""One bundle's networks, ready to draw several clips at once, for bench_live_quality."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from streaming_candidates import Candidate, Scene, draw_clip

from echoexport.export.demo.gates.clips import GateCase
from echoexport.export.demo.gates.mouth import draw_person_frames
from echoexport.export.demo.gates.run import identify_bundle
from echoexport.profiles.quality.motion import Drift, drift
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.conditioning.audio_tokens import AudioTokens
from echoexport.runtime.conditioning.drives import open_drive
from echoexport.runtime.conditioning.reference import find_reference
from echoexport.runtime.conditioning.voice_features import encode_voice
from echoexport.runtime.contract.live_networks import describe_clips_audio, find_live_audio
from echoexport.runtime.decoding.pixels import to_pixels
from echoexport.runtime.inputs.voice import SAMPLE_RATE, Voice, voice_from_samples
from echoexport.runtime.live.drawing.causal_sampling import Sitter
from echoexport.runtime.live.listening.speech_tokens import SpeechTokens
from echoexport.runtime.live.settings import LiveSettings, settle_live
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderInputs, RenderSettings

_Floats = NDArray[np.float32]
_DENOISERS = ("denoising_unet", "denoising_unet_live")
_ENCODERS = ("audio_encoder_live", "audio_encoder")


class Studio:
    """Draws with one bundle, on so many threads at once as there are jobs."""

    def __init__(self, bundle: Bundle, *, jobs: int, fps: float) -> None:
        """``bundle``: opened with a lane for each job."""
        self.bundle = bundle
        self.fps = fps
        own = bundle.manifest.networks
        self.encoder = next(name for name in _ENCODERS if name in own)
        names = [*(name for name in _DENOISERS if name in own), "vae_decoder", self.encoder]
        self.networks = {name: bundle.open_lanes(name, jobs) for name in names}
        self._session = Session(bundle)
        shape = find_live_audio(bundle.manifest) or describe_clips_audio(bundle.manifest)
        self._speech = SpeechTokens(self.networks[self.encoder], shape)

    def describe(self) -> dict[str, str]:
        """What figures depend on besides the clip and the way it is drawn."""
        return {
            **identify_bundle(self.bundle),
            "live_identity": self.bundle.identity(*self.networks),
            "bounded_sound": self.encoder,
            "fps": f"{self.fps:g}",
        }

    def make_scene(self, case: GateCase) -> Scene:
        """All that a clip's frames are drawn from, computed once for every way."""
        known = dict[bytes, _Floats]()

        def encode(columns: _Floats) -> _Floats:
            key = columns.tobytes()
            if key not in known:
                known[key] = self._speech.encode(columns)
            return known[key]

        return self._make_scene(case, encode=encode)

    def _make_scene(self, case: GateCase, *, encode: Callable[[_Floats], _Floats]) -> Scene:
        with self._session.networks.lend() as networks:
            drive = open_drive(networks, mask=case.face)
            reference = find_reference(networks, case.portrait, cache=None)
            features = encode_voice(networks, _cut_voice(case))
        tokens = AudioTokens(features, Fraction(case.fps), frames=case.frames)
        manifest = self.bundle.manifest
        return Scene(
            sitter=Sitter(reference, drive.loop()),
            frames=case.frames,
            heard=lambda frame: tokens.window([frame])[0, 0],
            silence=self._speech.silence(manifest.audio.mels),
            encode=encode,
            hearing=settle_live(manifest, LiveSettings(fps=self.fps)).hearing,
            samples=_cut_samples(case),
        )

    def render_offline(self, case: GateCase, steps: int) -> tuple[list[_Floats], int]:
        """Latents of each frame as a file is rendered, and calls of the denoiser."""
        inputs = RenderInputs(case.portrait, _cut_voice(case), mask=case.face)
        how = RenderSettings(fps=case.fps, steps=steps, frames=case.frames)
        with self._session.networks.lend() as networks:
            latents = self._session.start(inputs, how, networks=networks).latents
            calls = networks.calls()["denoising_unet"]
        return [latents[:, :, frame] for frame in range(case.frames)], calls

    def decode(self, latents: Iterable[_Floats]) -> NDArray[np.uint8]:
        """Frames (n, H, W, 3); no pixel is held still."""
        decoder = self.networks["vae_decoder"]
        return np.stack([to_pixels(decoder({"latents": each})["picture"]) for each in latents])

    def measure_drift(
        self, candidate: Candidate, case: GateCase, *, steps: int, span: int
    ) -> Drift:
        """The first and the last ``span`` frames of a clip against the true ones."""
        scene = self._make_scene(case, encode=self._speech.encode)
        network = self.networks[candidate.network]
        drawn = draw_clip(candidate, network, scene, manifest=self.bundle.manifest, steps=steps)
        ends = np.r_[:span, case.frames - span : case.frames]
        truth = draw_person_frames(case.person, case.state.take(ends), size=case.size)
        frames = self.decode(drawn.latents[frame] for frame in ends)
        return drift(frames, truth, case.still, span=span)


def _cut_samples(case: GateCase) -> NDArray[np.int16]:
    return case.clip.samples[: round(case.frames / case.fps * SAMPLE_RATE)]


def _cut_voice(case: GateCase) -> Voice:
    return voice_from_samples(_cut_samples(case))
