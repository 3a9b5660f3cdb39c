"""A text cut into what is said in one breath, so that the first of it is heard early."""

from __future__ import annotations

import re

MOST_SENTENCE = 140
"""Letters that are said at once, as many as a caption holds; a longer sentence is cut at a
comma, or at a blank."""

_SHORTEST = 12  # letters; less than that goes with what comes next, as "Dr." does
# A full stop of any script, with what closes behind it; those of CJK need no blank. A run of them
# is looked at from its first alone, else a long one would take the square of its length.
_ENDS = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？｡]+[」』”’）]*|\n+")
_PAUSES = re.compile(r"[,;:，；、–—](?=\s|$)|[，；、]")


def cut_sentences(text: str) -> list[str]:
    """Sentences in their order, none of them blank or longer than ``MOST_SENTENCE``."""
    found: list[str] = []
    begun = 0
    for end in [*(match.end() for match in _ENDS.finditer(text)), len(text)]:
        sentence = text[begun:end].strip()
        if len(sentence) < _SHORTEST and end < len(text) and "\n" not in text[begun:end].lstrip():
            continue
        begun = end
        found += _cut_long(sentence)
    return found


def clean_text(text: str) -> str:
    """The text without what nobody can say: control characters become blanks."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def _cut_long(sentence: str) -> list[str]:
    found = []
    while len(sentence) > MOST_SENTENCE:
        head = sentence[:MOST_SENTENCE]
        pauses = [match.end() for match in _PAUSES.finditer(head)]
        place = pauses[-1] if pauses else head.rfind(" ")
        if place < _SHORTEST:
            place = MOST_SENTENCE
        found.append(sentence[:place].strip())
        sentence = sentence[place:].strip()
    if sentence:
        found.append(sentence)
    return found
