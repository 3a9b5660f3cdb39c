"""Sentences and speakers: what is drawn, and what training never sees."""

from __future__ import annotations

import pytest

from echoexport.export.demo.speech.sentences import (
    HELD_OUT_SPEAKERS,
    TRAINING_SPEAKERS,
    find_language,
    read_sentences,
)

LANGUAGES = ("en", "de", "es", "fr", "it", "pt", "nl", "sv")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_25_sentences_split_without_overlap(language: str) -> None:
    training = read_sentences(language)
    held_out = read_sentences(language, held_out=True)
    assert len(training) + len(held_out) >= 25
    assert len(held_out) >= 4
    assert not set(training) & set(held_out)


def test_held_out_voices_are_never_trained_on() -> None:
    languages = {find_language(one) for one in TRAINING_SPEAKERS}
    variants = {one.voice.partition("+")[2] for one in TRAINING_SPEAKERS}
    assert len(TRAINING_SPEAKERS) >= 30
    assert len(HELD_OUT_SPEAKERS) >= 8
    for one in HELD_OUT_SPEAKERS:
        assert find_language(one) not in languages or one.voice.partition("+")[2] not in variants


def test_every_speaker_has_sentences_of_its_side() -> None:
    assert all(read_sentences(find_language(one)) for one in TRAINING_SPEAKERS)
    assert all(read_sentences(find_language(one), held_out=True) for one in HELD_OUT_SPEAKERS)
