"""Pages that are read back, and a profile that has something in every section."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from echoexport.profiles.measuring.circumstances import describe_circumstances
from echoexport.profiles.quality.report import BundleSide
from echoexport.profiles.tuning.choices import TuningChoice
from echoexport.profiles.tuning.limits import TuningLimits, find_front, summarize_choice
from echoexport.profiles.tuning.report import TUNING_SCHEMA, TuningReport
from echoexport.profiles.tuning.trials import ClipTrial

VOID = {"meta", "img", "br", "link", "polyline"}


class Page(HTMLParser):
    """Checks that what is opened is closed in order, and gathers text, tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], Page]:
    """A function that reads HTML, whole or a part: its text, tags, attributes, and what is open."""
    return Page


@pytest.fixture(scope="session")
def make_tuning() -> Callable[..., TuningReport]:
    """A function that gives a tuning of 1, 2, 3 and 6 steps, of which the first breaks a limit.

    3 steps are beaten by 2. ``label`` is what the bundle is called.
    """

    def run(label: str = "fp32") -> TuningReport:
        figures = {6: (10.0, 60.0, 1.0), 3: (15.0, 44.0, 0.98), 2: (20.0, 45.0, 0.99)}
        limits = TuningLimits()
        results = []
        for steps, (speed, decibels, likeness) in (figures | {1: (40.0, 33.0, 0.9)}).items():
            seconds = (10 / speed,)
            trial = ClipTrial(
                "anna",
                10,
                *(decibels, decibels, likeness, likeness, 1.0, 1.0),
                *({}, {}, seconds, seconds, seconds),
            )
            results.append(summarize_choice(TuningChoice(label, steps, 1), [trial], limits))
        side = BundleSide(label, "demo", "acc", "cpu", "fp32", "null: zeros", "fp32", 0, 1, 2, "")
        now = TuningChoice(label, 6, 1)
        return TuningReport(
            schema=TUNING_SCHEMA,
            origin="measured",
            sides=(side,),
            own=(label,),
            limits=limits,
            fps=25.0,
            seed=0,
            reference=now,
            present=now,
            chosen=TuningChoice(label, 2, 1),
            results=tuple(results),
            front=tuple(one.choice for one in find_front(results)),
            notes=(),
            conditions=describe_circumstances(),
        )

    return run
