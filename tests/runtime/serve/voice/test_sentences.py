"""Texts are cut where a speaker breathes, and nothing of them is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.serve.voice.sentences import MOST_SENTENCE, clean_text, cut_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Hello.", ["Hello."]),
        ("Good morning, all. How are you today?", ["Good morning, all.", "How are you today?"]),
        ("Dr. Smith is in. He waits.", ["Dr. Smith is in.", "He waits."]),
        ("It costs 3.50 today, as ever.", ["It costs 3.50 today, as ever."]),
        ('She said "It is late." Then she left.', ['She said "It is late."', "Then she left."]),
        ("So it is...... Then it goes on.", ["So it is......", "Then it goes on."]),
        ("One line\nand the next", ["One line", "and the next"]),
        (
            "今日は良い天気ですね本当に。散歩に行きましょう。",
            ["今日は良い天気ですね本当に。", "散歩に行きましょう。"],
        ),
        ("  \n ", []),
    ],
)
def test_a_text_is_cut_at_its_full_stops(text: str, sentences: list[str]) -> None:
    assert cut_sentences(text) == sentences


def test_a_long_sentence_is_cut_at_a_comma() -> None:
    text = ("a word " * 15).strip() + ", " + ("another " * 12).strip()
    first, second = cut_sentences(text)
    assert first.endswith("word,")
    assert second.startswith("another")


@given(st.text(alphabet=st.sampled_from("ab ,.!?\n…。"), max_size=900))
def test_nothing_is_lost_and_nothing_is_too_long(text: str) -> None:
    found = cut_sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(0 < len(sentence) <= MOST_SENTENCE for sentence in found)


def test_control_characters_become_blanks() -> None:
    assert clean_text("a\0b\x1b[31mc\td\ne") == "a b [31mc d\ne"
