"""Plans of clips: who says what, with which silences and how loud.

Drawn from a seed, kept as strict JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from echoexport.export.demo.speech.espeak import Speaker
from echoexport.export.demo.speech.sentences import (
    HELD_OUT_SPEAKERS,
    TRAINING_SPEAKERS,
    find_language,
    read_sentences,
)
from echoexport.runtime.errors import InputError, SettingError

__all__ = ["ClipPlan", "demo_voice_plan", "plan_clips"]

_SPOKEN_SECONDS = (3.0, 5.2)  # of the sentences of a clip, together, by estimate
_MOST_SENTENCES = 3
_CHARACTERS_PER_SECOND = 16.5 / 165  # measured over all sentences, for each word a minute
_SILENT_EVERY = 25
_NOISY_SHARE = 0.15
_LEVELS = {
    "speech": (1500.0, 4500.0),
    "hush": (1.0, 12.0),
    "noise": (10.0, 90.0),
}  # rms of 16-bit samples


@dataclass(frozen=True)
class ClipPlan:
    """All that decides a clip.

    Levels are root mean squares in steps of 16-bit samples, 0 for none.

    Raises ``SettingError`` for pauses that do not fit the sentences, or values below 0.
    """

    seed: int
    """Of the noise."""
    speaker: Speaker
    """Who says it."""
    sentences: tuple[str, ...]
    """In their order; without any it is a silent clip of ``lead`` + ``trail``."""
    lead: float
    """Seconds of silence before the first sentence."""
    pauses: tuple[float, ...]
    """Seconds of silence after each sentence but the last."""
    trail: float
    """Seconds of silence after the last sentence."""
    level: float
    """Of the speech."""
    hush: float = 0.0
    """Of the noise in the silences."""
    noise: float = 0.0
    """Of the noise over everything."""

    def __post_init__(self) -> None:
        if len(self.pauses) != max(len(self.sentences) - 1, 0):
            raise SettingError(
                f"{len(self.pauses)} pauses for {len(self.sentences)} sentences: one less is wanted"
            )
        values = (self.seed, self.lead, *self.pauses, self.trail, self.level, self.hush, self.noise)
        if not all(np.isfinite(value) and value >= 0 for value in values):
            raise SettingError("a clip's plan holds a value that is below 0 or not finite")

    @property
    def text(self) -> str:
        """What is said, "" for silence."""
        return " ".join(self.sentences)

    @property
    def voice(self) -> str:
        """The speaker's espeak-ng name."""
        return self.speaker.voice

    def to_json(self) -> str:
        """One line of JSON, which ``from_json`` reads back to an equal plan."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ClipPlan:
        """The plan of a line of JSON.

        Raises ``InputError`` for another set of keys, or values of another kind.
        """
        try:
            entry = json.loads(text)
            _check_keys(entry, cls)
            _check_keys(entry["speaker"], Speaker)
            entry["speaker"] = Speaker(**entry["speaker"])
            return cls(
                **{
                    **entry,
                    "sentences": tuple(entry["sentences"]),
                    "pauses": tuple(entry["pauses"]),
                }
            )
        except (ValueError, TypeError, KeyError, SettingError) as error:
            raise InputError(f"not the plan of a clip: {error}") from error


def plan_clips(seed: int, count: int, *, held_out: bool = False) -> list[ClipPlan]:
    """Plan so many clips of about 4 to 7 s.

    Speakers take turns in an order drawn anew for each round.

    ``held_out`` draws from the speakers and sentences that training never uses, and has
    no silent clips. The first n plans do not depend on ``count``. Raises
    ``SettingError`` for a seed or count below 0.
    """
    if seed < 0 or count < 0:
        raise SettingError(f"seed {seed}, count {count}: neither may be below 0")
    speakers = HELD_OUT_SPEAKERS if held_out else TRAINING_SPEAKERS
    plans = []
    for index in range(count):
        turn, place = divmod(index, len(speakers))
        order = np.random.default_rng([seed, held_out, 0, turn]).permutation(len(speakers))
        generator = np.random.default_rng([seed, held_out, 1, index])
        if not held_out and index % _SILENT_EVERY == _SILENT_EVERY - 1:
            plans.append(_plan_silence(speakers[order[place]], generator))
        else:
            plans.append(_plan_clip(speakers[order[place]], generator, held_out=held_out))
    return plans


def demo_voice_plan() -> ClipPlan:
    """The voice that comes with the demo.

    Six seconds of a held-out English voice, with one pause.
    """
    sentences = (
        "I am a portrait that has learned how to speak.",
        "Give me any voice, and I will move my mouth to it.",
    )
    speaker = Speaker("en-us+f4", speed=168, pitch=48, pitch_range=60)
    return ClipPlan(0, speaker, sentences, lead=0.3, pauses=(0.45,), trail=0.3, level=3000.0)


def _plan_silence(speaker: Speaker, generator: np.random.Generator) -> ClipPlan:
    """Half of them digital silence, half low noise."""
    hush = _draw_level("hush", generator) * int(generator.integers(2))
    seed = int(generator.integers(2**31))
    lead = _draw(4.0, 6.0, generator)
    return ClipPlan(seed, speaker, (), lead=lead, pauses=(), trail=0.0, level=0.0, hush=hush)


def _plan_clip(speaker: Speaker, generator: np.random.Generator, *, held_out: bool) -> ClipPlan:
    seed = int(generator.integers(2**31))
    sentences = _draw_sentences(speaker, generator, held_out=held_out)
    return ClipPlan(
        seed,
        speaker,
        sentences,
        lead=_draw(0.1, 0.8, generator),
        pauses=tuple(_draw(0.3, 0.9, generator) for _ in sentences[1:]),
        trail=_draw(0.1, 0.8, generator),
        level=_draw_level("speech", generator),
        hush=_draw_level("hush", generator) * int(generator.integers(2)),
        noise=_draw_level("noise", generator) * int(generator.random() < _NOISY_SHARE),
    )


def _draw_sentences(
    speaker: Speaker, generator: np.random.Generator, *, held_out: bool
) -> tuple[str, ...]:
    """One to three sentences, in a drawn order, until they last long enough.

    One too long is passed over.
    """
    least, most = _SPOKEN_SECONDS
    choices = read_sentences(find_language(speaker), held_out=held_out)
    chosen: list[str] = []
    seconds = 0.0
    for index in generator.permutation(len(choices)):
        estimate = len(choices[index]) / (_CHARACTERS_PER_SECOND * speaker.speed)
        if seconds + estimate <= most:
            chosen.append(choices[index])
            seconds += estimate
        if seconds >= least or len(chosen) == _MOST_SENTENCES:
            break
    return tuple(chosen)


def _draw(low: float, high: float, generator: np.random.Generator) -> float:
    return round(float(generator.uniform(low, high)), 3)


def _draw_level(name: str, generator: np.random.Generator) -> float:
    low, high = _LEVELS[name]
    return round(float(np.exp(generator.uniform(np.log(low), np.log(high)))), 2)


def _check_keys(entry: Any, kind: type[Any]) -> None:
    wanted = {field.name for field in fields(kind)}
    if not isinstance(entry, dict) or set(entry) != wanted:
        raise ValueError(f"the keys {', '.join(sorted(wanted))} are wanted, no more and no less")
