"""What a mouth does for a sound, by its IPA symbol: how open, spread and rounded it is."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

__all__ = ["REST", "Viseme", "is_pause", "read_visemes"]


@dataclass(frozen=True)
class Viseme:
    """A sound's target mouth, and how firmly it holds against its neighbours.

    After Cohen and Massaro 1993. The mouth's three numbers are those of the face's state.
    """

    openness: float
    """0 for closed lips to 1."""
    width: float
    """-1 for narrow to 1 for spread."""
    rounding: float
    """0 to 1 for pursed lips."""
    opening: float = 1.0
    """How firm the openness is."""
    shaping: float = 1.0
    """How firm width and rounding are."""
    share: float = 1.0
    """The part of the sound's time it takes, against the other visemes of the same
    sound."""
    lips: bool = False
    """Whether the lips must meet."""
    plosive: bool = False
    """Whether it is heard only after its closure."""
    vowel: bool = False
    """Whether it carries a syllable."""


REST = Viseme(0.0, 0.0, 0.0)
"""The mouth in silence: closed."""


def _vowels(openness: float, width: float, *, rounding: float = 0.0) -> Viseme:
    return Viseme(openness, width, rounding, vowel=True)


# Openness follows vowel height, width frontness, rounding the lips: the axes of the
# IPA's vowel chart. Consonants' openness is the jaw's; where lips and jaw are free to
# follow the vowels, the firmness is small.
_CLASSES: tuple[tuple[str, Viseme], ...] = (
    ("aɑɐæ", _vowels(1.0, 0.2)),
    ("ʌɜ", _vowels(0.8, 0.1)),
    ("əɚɝɵɘᵊ", _vowels(0.6, 0.0)),
    ("ɛ", _vowels(0.78, 0.6)),
    ("e", _vowels(0.62, 0.7)),
    ("ø", _vowels(0.55, -0.3, rounding=0.75)),
    ("iɪɨᵻ", _vowels(0.45, 0.95)),
    ("ɔɒ", _vowels(0.8, -0.4, rounding=0.65)),
    ("o", _vowels(0.62, -0.6, rounding=0.85)),
    ("uʊʉɯ", _vowels(0.4, -0.8, rounding=1.0)),
    ("œ", _vowels(0.7, -0.2, rounding=0.6)),
    ("yʏ", _vowels(0.42, -0.5, rounding=0.95)),
    ("pb", Viseme(0.0, 0.0, 0.05, 1.2, 0.3, lips=True, plosive=True)),
    ("m", Viseme(0.0, 0.0, 0.05, 1.5, 0.3, lips=True)),
    ("fvʋɸβ", Viseme(0.08, 0.1, 0.1, 1.4, 0.6)),
    ("wʍɥʷ", Viseme(0.16, -0.8, 1.0, 1.2, 1.2)),
    ("ʃʒʂʐɕʑ", Viseme(0.15, -0.35, 0.65, 1.0, 0.9)),
    ("szθðçɟʝ", Viseme(0.1, 0.4, 0.0, 1.0, 0.5)),
    ("tdʔ", Viseme(0.1, 0.2, 0.0, 0.9, 0.3, plosive=True)),
    ("nɲɳ", Viseme(0.14, 0.2, 0.0, 0.9, 0.3)),
    ("lʎɫɾrɽ", Viseme(0.22, 0.1, 0.0, 0.8, 0.3)),
    ("ɹɻ", Viseme(0.25, -0.3, 0.4, 0.8, 0.6)),
    ("kɡgqc", Viseme(0.15, 0.1, 0.0, 0.8, 0.2, plosive=True)),
    ("ŋxɣχʁʀ", Viseme(0.15, 0.1, 0.0, 0.8, 0.2)),
    ("jʲ", Viseme(0.25, 0.8, 0.0, 0.7, 0.7)),
    ("hɦ", Viseme(0.3, 0.0, 0.0, 0.4, 0.1)),
)
_TABLE = {symbol: viseme for symbols, viseme in _CLASSES for symbol in symbols}
_UNKNOWN_VOWEL = _vowels(0.5, 0.1)
_UNKNOWN_CONSONANT = Viseme(0.25, 0.1, 0.0, 0.5, 0.2)
# espeak-ng's own names for sounds, where a letter means another sound than in IPA.
_MNEMONICS = str.maketrans(
    {"@": "ə", "A": "ɑ", "E": "ɛ", "I": "ɪ", "O": "ɔ", "U": "ʊ", "V": "ʌ", "Q": "ɣ", "Y": "ʏ"}
)
_MNEMONICS |= str.maketrans(
    {"0": "ɒ", "3": "ɜ", "D": "ð", "T": "θ", "N": "ŋ", "S": "ʃ", "Z": "ʒ", "C": "ç", "W": "œ"}
)
_CEDILLA = "\N{LATIN SMALL LETTER C WITH CEDILLA}"
_LONG = ":ː"
_LONG_SHARE = 2.0


def is_pause(name: str) -> bool:
    """Whether a phoneme's name stands for silence: empty, or espeak-ng's "_:" and the like."""
    return not name or name.startswith("_")


def read_visemes(name: str) -> tuple[Viseme, ...]:
    """The mouths of one sound, in order.

    One for "m", two for a diphthong as "aɪ", ``REST`` for a pause.

    Takes IPA or espeak-ng's names; stress, nasal and other marks are passed over; a
    symbol that is not in the table is taken for a vowel or consonant of the middle.
    Never raises.
    """
    if is_pause(name):
        return (REST,)
    visemes: list[Viseme] = []
    for symbol in _split_marks(name.translate(_MNEMONICS)):
        if symbol in _LONG:
            if visemes:
                visemes[-1] = replace(visemes[-1], share=_LONG_SHARE)
        elif symbol in _TABLE or (
            symbol.isalpha() and unicodedata.category(symbol) != "Lm"
        ):  # Lm: modifiers, stress
            visemes.append(_find_viseme(symbol))
    return tuple(visemes) or (_UNKNOWN_CONSONANT,)


def _split_marks(name: str) -> list[str]:
    """A name's symbols without combining marks.

    The cedilla of ç is no mark but makes another sound.
    """
    letters = (
        symbol if symbol == _CEDILLA else unicodedata.normalize("NFD", symbol)[0] for symbol in name
    )
    return [letter for letter in letters if not unicodedata.combining(letter)]


def _find_viseme(symbol: str) -> Viseme:
    known = _TABLE.get(symbol)
    if known is not None:
        return known
    base = unicodedata.normalize("NFKD", symbol)[0].lower()
    return _TABLE.get(base, _UNKNOWN_VOWEL if base in "aeiouyɞɤɶ" else _UNKNOWN_CONSONANT)
