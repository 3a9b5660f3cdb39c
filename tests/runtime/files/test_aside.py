"""Reports as files: what cannot become one is refused and left as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from echoexport.runtime.errors import OutputError
from echoexport.runtime.files.aside import require_writable, write_whole


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("old")
    write_whole(tmp_path / "report.json", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
        ("report.json", "new")
    ]


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="pipe: is no plain file"):
        write_whole(pipe, "text")
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    "name", ["/dev/null", "/dev/stdout", "/dev/../dev/null", "/proc/self/fd/1"]
)
def test_devices_are_refused(name: str) -> None:
    with pytest.raises(OutputError, match="is no plain file"):
        require_writable(Path(name))


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(OutputError, match="is no plain file"):
        write_whole(tmp_path / "link", "text")
