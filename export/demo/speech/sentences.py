"""What is said and by which voices, each split in two: for training, and never used in it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from echoexport.export.demo.speech.espeak import Speaker

__all__ = ["HELD_OUT_SPEAKERS", "TRAINING_SPEAKERS", "find_language", "read_sentences"]

_FILE = Path(__file__).with_name("sentences.txt")
_HELD_OUT_EVERY = 6  # of a language's sentences, each sixth is kept from training
_HELD_OUT_LANGUAGE = "pl"

# espeak-ng's variants (m.. and f..): which vocal tract and voice quality a language is
# spoken with.
_TRAINING_VARIANTS = {
    "en-us": "m1 m2 m3 m4 m7 f1 f2 f3 f5",
    "en-gb-x-rp": "m1 m3 m7 f2 f5",
    "de": "m1 m2 m5 f1 f2 f3",
    "es": "m1 m3 m4 f1 f5",
    "fr": "m2 m3 m7 f2 f3",
    "it": "m1 m4 m5 f1 f3",
    "pt-br": "m2 m7 f2 f5",
    "nl": "m3 m4 f1 f2",
    "sv": "m1 m5 f3 f5",
}
_HELD_OUT_VARIANTS = {
    "en-us": "f4 m6",
    "en-gb-x-rp": "f4 m8",
    "de": "f4 m6",
    "es": "m8",
    "fr": "f4",
    "it": "m6",
    "nl": "f4",
    "pl": "m1 f2",
}
_SPEEDS = (150, 165, 140, 180, 130, 170, 200, 155, 190)  # words a minute
_PITCHES = {"m": (45, 35, 52, 60, 40), "f": (50, 60, 42, 68, 55)}
_RANGES = (50, 60, 40, 70, 30, 55, 45)


def _list_speakers(variants: dict[str, str]) -> tuple[Speaker, ...]:
    """One speaker a language and variant.

    Speeds, pitches and ranges go around with different periods.
    """
    names = [
        f"{language}+{one}" for language, several in variants.items() for one in several.split()
    ]
    speakers = []
    for index, name in enumerate(names):
        pitches = _PITCHES[name.partition("+")[2][0]]
        speed = _SPEEDS[index % len(_SPEEDS)]
        pitch = pitches[index % len(pitches)]
        speakers.append(Speaker(name, speed, pitch, _RANGES[index % len(_RANGES)]))
    return tuple(speakers)


TRAINING_SPEAKERS = _list_speakers(_TRAINING_VARIANTS)
HELD_OUT_SPEAKERS = _list_speakers(_HELD_OUT_VARIANTS)
"""Speakers whose variant, or whose whole language, no training speaker has."""


def find_language(speaker: Speaker) -> str:
    """The language of a speaker's sentences: "en" for "en-gb-x-rp+m1"."""
    return speaker.voice.partition("+")[0].partition("-")[0]


@cache
def read_sentences(language: str, *, held_out: bool = False) -> tuple[str, ...]:
    """The sentences of a language ("en", "de", ...) of one side of the split.

    None for an unknown language.
    """
    lines = _read_sections().get(language, ())
    if language == _HELD_OUT_LANGUAGE:
        return lines if held_out else ()
    return tuple(
        line for index, line in enumerate(lines) if (index % _HELD_OUT_EVERY == 0) == held_out
    )


@cache
def _read_sections() -> dict[str, tuple[str, ...]]:
    sections: dict[str, tuple[str, ...]] = {}
    language = ""
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            language = line.strip("[]")
        elif line and not line.startswith("#"):
            sections[language] = (*sections.get(language, ()), line)
    return sections
