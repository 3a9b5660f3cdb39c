"""What a mouth does for a sound, without any synthesizer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.export.demo.speech.visemes import REST, is_pause, read_visemes


@pytest.mark.parametrize("name", ["p", "b", "m", "mː", "pʰ", "ˈb"])
def test_lips_meet_for_p_b_and_m(name: str) -> None:
    assert read_visemes(name)[0].lips
    assert read_visemes(name)[0].openness == 0


@pytest.mark.parametrize("name", ["f", "v", "ʋ"])
def test_lips_nearly_meet_for_f_and_v(name: str) -> None:
    (viseme,) = read_visemes(name)
    assert 0 < viseme.openness <= 0.15
    assert not viseme.lips


def test_an_open_vowel_opens_the_mouth_more_than_a_close_one() -> None:
    openness = [read_visemes(name)[0].openness for name in ("a", "ɛ", "e", "i")]
    assert openness == sorted(openness, reverse=True)
    assert openness[0] == 1


@pytest.mark.parametrize("name", ["uː", "w", "y", "oː"])
def test_rounded_sounds_round_the_lips(name: str) -> None:
    assert read_visemes(name)[0].rounding >= 0.8
    assert read_visemes(name)[0].width < 0


def test_a_diphthong_has_two_mouths_and_an_affricate_too() -> None:
    assert [one.vowel for one in read_visemes("aɪ")] == [True, True]
    assert [one.plosive for one in read_visemes("tʃ")] == [True, False]


def test_a_long_vowel_takes_more_of_its_sound() -> None:
    vowel, glide = read_visemes("ɑːɹ")
    assert vowel.share == 2 * glide.share


def test_stress_and_nasal_marks_change_nothing() -> None:
    assert read_visemes("ˈɑ̃") == read_visemes("ɑ")


def test_a_cedilla_is_not_passed_over() -> None:
    assert read_visemes("ç") != read_visemes("c")


@pytest.mark.parametrize("name", ["", "_", "_:"])
def test_pauses_are_at_rest(name: str) -> None:
    assert is_pause(name)
    assert read_visemes(name) == (REST,)


@given(st.text(max_size=8))
def test_any_name_gives_mouths_within_their_ranges(name: str) -> None:
    visemes = read_visemes(name)
    assert visemes
    for one in visemes:
        assert 0 <= one.openness <= 1
        assert -1 <= one.width <= 1
        assert 0 <= one.rounding <= 1
        assert one.share > 0
