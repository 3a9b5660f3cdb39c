"""The picture of a tuning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from echoexport.profiles.pages.tuning_chart import draw_front, format_picture

Make = Callable[..., Any]
NAME = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def points(make_tuning: Make) -> Callable[..., list[ElementTree.Element]]:
    """A function that gives the points of a report's chart, in the order of their names' room."""

    def run(**changed: Any) -> list[ElementTree.Element]:
        picture = ElementTree.fromstring(draw_front(make_tuning(**changed)))
        return [one for one in picture.iter(f"{NAME}circle") if len(one)]

    return run


def test_every_choice_is_a_point_that_tells_of_itself(points: Make) -> None:
    told = [one[0].text for one in points()]
    assert len(told) == 4
    assert told[0] == (
        "2 steps, overlap 1, fp32: 20.0 frames/s, 45.0 dB, SSIM 0.9900; keeps all limits"
    )


def test_quicker_is_further_right_and_better_is_higher(points: Make) -> None:
    places = {
        one[0].text.split(",")[0]: (float(one.get("cx")), float(one.get("cy"))) for one in points()
    }
    assert places["1 step"][0] > places["2 steps"][0] > places["6 steps"][0]
    assert places["6 steps"][1] < places["2 steps"][1] < places["1 step"][1]


def test_a_choice_that_breaks_a_limit_is_hollow(points: Make) -> None:
    hollow = [one[0].text for one in points() if "fill:var(--paper)" in one.get("style")]
    assert len(hollow) == 1 and hollow[0].startswith("1 step")


def test_the_front_leaves_out_what_is_beaten(make_tuning: Make) -> None:
    picture = ElementTree.fromstring(draw_front(make_tuning()))
    line = next(one for one in picture.iter(f"{NAME}path") if len(one))
    assert line[0].text == "Pareto front" and line.get("d").count("L") == 2


def test_a_single_choice_can_be_drawn(make_tuning: Make) -> None:
    report = make_tuning()
    one = report.find(report.reference)
    alone = replace(
        report, results=(one,), front=(one.choice,), present=one.choice, chosen=one.choice
    )
    picture = ElementTree.fromstring(draw_front(alone))
    told = [one.text for one in picture.iter(f"{NAME}title")]
    assert any(text.startswith(f"{one.choice.steps} step") for text in told if text)


def test_names_of_bundles_are_escaped(make_tuning: Make) -> None:
    picture = ElementTree.fromstring(draw_front(make_tuning(label="<&>")))
    assert any("<&>" in (text or "") for text in picture.itertext())


def test_the_picture_is_a_file_of_its_own_without_requests(make_tuning: Make) -> None:
    text = format_picture(make_tuning())
    ElementTree.fromstring(text)
    assert "<style>" in text and "prefers-color-scheme: dark" in text
    assert "url(" not in text and "<script" not in text
