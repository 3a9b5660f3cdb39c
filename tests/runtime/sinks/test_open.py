"""The output's name chooses the sink, or is refused with those that work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from echoexport.runtime.errors import SettingError
from echoexport.runtime.sinks.mp4 import Mp4Sink
from echoexport.runtime.sinks.open import open_sink
from echoexport.runtime.sinks.png_folder import PngFolderSink

SIZE = (64, 48)


@pytest.mark.parametrize(
    ("out", "kind"),
    [
        ("a.mp4", Mp4Sink),
        ("A.MP4", Mp4Sink),
        ("a.mov", Mp4Sink),
        ("frames", PngFolderSink),
        ("v1.2/", PngFolderSink),
    ],
)
def test_the_name_chooses_the_sink(tmp_path: Path, out: str, kind: Any) -> None:
    assert type(open_sink(f"{tmp_path}/{out}", size=SIZE, fps=24)) is kind
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", " ", ".mp4", "clips/.MOV"])
def test_an_output_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(
        SettingError, match=r"output '.*': has no name; name a file, e\.g\. clip\.mp4"
    ):
        open_sink(name, size=SIZE, fps=24)


@pytest.mark.parametrize("name", ["a.avi", "a.gif", "a.png"])
def test_a_suffix_that_no_sink_writes_is_refused_with_those_that_work(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(
        SettingError, match=r"no way to write \.\w+; name a \.mp4 or \.mov file, a folder"
    ):
        open_sink(tmp_path / name, size=SIZE, fps=24)
