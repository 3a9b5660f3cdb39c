"""The demo's own voice: syllables of no language, so that a first run needs nobody's recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import SettingError

__all__ = ["synthesize_voice"]

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Sound:
    """One held sound: how loud voice and hiss are (0 to 1), where the hiss lies, and F1 to F4, in Hz."""

    voice: float
    hiss: float
    hiss_hz: float
    formants: tuple[int, int, int, int]


# Formants of a middle-sized speaker, as textbooks of phonetics give them to the nearest 50 Hz or so.
VOWELS = {
    "a": Sound(1.0, 0.0, 2500, (800, 1300, 2650, 3800)),
    "e": Sound(0.95, 0.0, 2500, (520, 1950, 2650, 3850)),
    "i": Sound(0.85, 0.0, 2500, (330, 2450, 3050, 3900)),
    "o": Sound(0.95, 0.0, 2500, (500, 920, 2600, 3750)),
    "u": Sound(0.85, 0.0, 2500, (360, 950, 2450, 3700)),
    "schwa": Sound(0.8, 0.0, 2500, (560, 1500, 2550, 3800)),
}
ONSETS = {
    "m": Sound(0.35, 0.0, 2500, (260, 1050, 2250, 3600)),
    "n": Sound(0.35, 0.0, 2500, (270, 1650, 2550, 3700)),
    "l": Sound(0.5, 0.0, 2500, (360, 1250, 2750, 3700)),
    "w": Sound(0.5, 0.0, 2500, (320, 700, 2300, 3600)),
    "s": Sound(0.0, 0.8, 5800, (330, 1750, 2650, 3900)),
    "sh": Sound(0.0, 0.9, 3200, (320, 1900, 2500, 3600)),
    "f": Sound(0.0, 0.35, 4800, (320, 1150, 2300, 3700)),
    "t": Sound(0.0, 0.6, 4500, (330, 1800, 2650, 3800)),
    "h": Sound(0.1, 0.25, 1800, (560, 1500, 2550, 3800)),
}
SILENCE = Sound(0.0, 0.0, 2500, (500, 1500, 2550, 3800))
BANDWIDTHS = (70.0, 95.0, 140.0, 220.0)  # of the formants, Hz
# (frequency, bandwidth) in Hz of resonances that no vowel moves; without them speech loses its treble.
UPPER_RESONANCES = ((4700.0, 350.0), (5700.0, 450.0), (6700.0, 550.0))

FRAME = 512  # samples that one spectrum shapes
HOP = 128  # samples from frame to frame, and from value to value of a score's curves
RESTING_PITCH = 190.0  # Hz
PEAK = 0.7  # of full scale
HISS_LEVEL = 0.22  # against the voice
SHORTEST, LONGEST = 0.25, 600.0
LOWEST_RATE = 8000


@dataclass(frozen=True)
class Score:
    """How a voice is to sound, one value per hop in each curve; (hops, 4) for the formants."""

    pitch: Curve
    voice: Curve
    hiss: Curve
    hiss_hz: Curve
    formants: Curve

    def hold(self, sound: Sound, span: slice, *, stress: float = 1.0) -> None:
        """Let a sound last over the span, its voice growing a little weaker."""
        self.voice[span] = sound.voice * stress * np.linspace(1.0, 0.7, self.voice[span].size)
        self.hiss[span] = sound.hiss
        self.hiss_hz[span] = sound.hiss_hz
        self.formants[span] = sound.formants

    def glide(self, rate: float) -> Score:
        """The same with every curve as slow as lips, tongue and breath are, at ``rate`` hops per second."""
        return Score(
            pitch=_smooth(self.pitch, 0.045 * rate),
            voice=_smooth(self.voice, 0.015 * rate),
            hiss=_smooth(self.hiss, 0.010 * rate),
            hiss_hz=_smooth(self.hiss_hz, 0.020 * rate),
            formants=np.stack([_smooth(curve, 0.022 * rate) for curve in self.formants.T], axis=1),
        )


def synthesize_voice(seconds: float = 4.0, *, sample_rate: int = 16000, seed: int = 0) -> NDArray[np.int16]:
    """Something like speech, int16 (samples,), mono.

    A train of glottal pulses whose pitch falls over each phrase, and noise for the consonants, both shaped by
    moving resonances (Klatt 1980, cascade branch, here as spectra of overlapping frames). ``seed`` picks the
    syllables. Raises SettingError for a length outside 0.25 s to 10 minutes or a rate below 8 kHz.
    """
    if not SHORTEST <= seconds <= LONGEST:
        raise SettingError(f"a voice of {seconds} s cannot be made: give {SHORTEST} to {LONGEST:.0f} s")
    if sample_rate < LOWEST_RATE:
        raise SettingError(f"a voice at {sample_rate} Hz cannot be made: give {LOWEST_RATE} Hz or more")
    rng = np.random.default_rng(seed)
    samples = round(seconds * sample_rate)
    score = _write_score(samples // HOP + 2, sample_rate / HOP, rng)
    hertz = np.asarray(np.fft.rfftfreq(2 * FRAME, 1 / sample_rate), dtype=np.float64)
    breath = rng.standard_normal(samples)
    pulses = (_pulse_train(score, samples, sample_rate) + 0.02 * breath) * _stretch(score.voice, samples)
    voice = _shape(pulses, lambda hop: _resonances(hertz, score.formants[hop]))
    hiss = _shape(breath * _stretch(score.hiss, samples), lambda hop: _hump(hertz, score.hiss_hz[hop]))
    mixed = (_level(voice) + HISS_LEVEL * _level(hiss)) * _fade(samples, round(0.01 * sample_rate))
    return np.asarray(np.rint(mixed / np.abs(mixed).max() * PEAK * 32767), dtype=np.int16)


def _write_score(hops: int, rate: float, rng: np.random.Generator) -> Score:
    """Phrases of a few syllables with pauses between them, at ``rate`` hops per second."""
    voice, hiss, hiss_hz = np.zeros((3, hops))
    score = Score(np.full(hops, RESTING_PITCH), voice, hiss, hiss_hz, formants=np.zeros((hops, 4)))
    score.hold(SILENCE, slice(None))
    start = round(0.1 * rate)
    while start < hops:
        end = _write_phrase(score, start, rate, rng)
        _write_pitch(score, slice(start, end), rng)
        start = end + round(rng.uniform(0.2, 0.35) * rate)
    return score.glide(rate)


def _write_phrase(score: Score, start: int, rate: float, rng: np.random.Generator) -> int:
    """Four to seven syllables, the last one longest; returns the hop after them."""
    count = int(rng.integers(4, 8))
    for index in range(count):
        onset = ONSETS[str(rng.choice(list(ONSETS)))]
        vowel = VOWELS[str(rng.choice(list(VOWELS)))]
        lasting = rng.uniform(0.09, 0.16) + (0.09 if index == count - 1 else 0.0)
        middle = start + round(rng.uniform(0.06, 0.10) * rate)
        end = middle + round(lasting * rate)
        score.hold(onset, slice(start, middle))
        score.hold(vowel, slice(middle, end), stress=1.0 if index % 2 == 0 else 0.75)
        # Formants stay where the tongue left them; only the sound stops.
        score.formants[end:] = vowel.formants
        start = end
    return start


def _write_pitch(score: Score, span: slice, rng: np.random.Generator) -> None:
    """A pitch that falls over the phrase, with two accents and a little unrest."""
    size = score.pitch[span].size
    along = np.linspace(0.0, 1.0, size)
    fall = 225 - 55 * along
    accents = sum(25 * np.exp(-(((along - at) / 0.09) ** 2)) for at in (0.12, rng.uniform(0.45, 0.7)))
    score.pitch[span] = (fall + accents) * (1 + 0.02 * rng.standard_normal(size))


def _pulse_train(score: Score, samples: int, sample_rate: int) -> Curve:
    """Glottal pulses without aliasing: harmonics that fall by 7 dB per octave, none near half the rate."""
    pitch = _stretch(score.pitch, samples)
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    top = 0.47 * sample_rate
    pulses = np.zeros(samples)
    for order in range(1, int(top / pitch.min()) + 1):
        audible = np.clip((top - order * pitch) / 400, 0, 1)
        pulses += audible * np.cos(order * phase) / order**1.17
    return pulses


def _shape(source: Curve, respond: Callable[[int], NDArray[np.complex128]]) -> Curve:
    """The source with its spectrum multiplied, frame by overlapping frame, by ``respond(hop)``."""
    # Hann windows a quarter apart add up to two; room on both sides holds what a response smears.
    window = np.hanning(FRAME + 1)[:-1] / 2
    padded = np.pad(source, FRAME)
    result = np.zeros(len(padded) + 2 * FRAME)
    for hop in range(len(source) // HOP + 2):
        start = hop * HOP + FRAME // 2
        frame = np.pad(padded[start : start + FRAME] * window, FRAME // 2)
        result[start : start + 2 * FRAME] += np.fft.irfft(np.fft.rfft(frame) * respond(hop))
    return result[3 * FRAME // 2 :][: len(source)]


def _resonances(hertz: Curve, formants: Curve) -> NDArray[np.complex128]:
    """The transfer function of two-pole resonators in a row, one at 0 Hz: the throat's over frequency."""
    response = np.ones(len(hertz), dtype=np.complex128)
    for formant, bandwidth in (*zip(formants, BANDWIDTHS, strict=True), *UPPER_RESONANCES):
        half = bandwidth / 2
        response *= (formant**2 + half**2) / ((1j * hertz + half) ** 2 + formant**2)
    return response


def _hump(hertz: Curve, middle: float) -> NDArray[np.complex128]:
    """What lets noise through around one frequency."""
    return np.asarray((1 + ((hertz - middle) / (0.35 * middle)) ** 2) ** -1.6, dtype=np.complex128)


def _smooth(curve: Curve, hops: float) -> Curve:
    """The curve under a Gaussian of this standard deviation, held at its ends."""
    reach = int(4 * hops) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / hops) ** 2)
    return np.convolve(np.pad(curve, reach, mode="edge"), kernel / kernel.sum(), mode="valid")


def _stretch(curve: Curve, samples: int) -> Curve:
    """A value per sample out of a value per hop."""
    return np.interp(np.arange(samples) / HOP, np.arange(len(curve)), curve)


def _level(sound: Curve) -> Curve:
    """The sound at an effective value of one; silence stays silence."""
    return sound / max(float(sound.std()), 1e-9)


def _fade(samples: int, edge: int) -> Curve:
    """One, but for a ramp from and to nothing at the ends."""
    distance = np.minimum(np.arange(samples), np.arange(samples)[::-1])
    return np.clip(distance / edge, 0, 1)
