"""Raw frames reach a pipe byte by byte, and a failure is said once."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.errors import OutputError, SettingError
from echoexport.runtime.sinks.raw import RawSink, open_stdout

SIZE = (64, 48)


def test_raw_frames_are_bytes_in_order(
    make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    stream = io.BytesIO()
    frames = make_frames(3)
    # The second is not contiguous.
    write_all(RawSink(stream), [frames[0], frames[1][::-1], frames[2]])
    assert (
        stream.getvalue() == frames[0].tobytes() + frames[1][::-1].tobytes() + frames[2].tobytes()
    )
    assert not stream.closed


class StingyStream(io.RawIOBase):
    """Takes at most 1000 bytes a time, as a pipe may."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        self.taken += bytes(data[:1000])
        return len(data[:1000])


def test_a_pipe_that_takes_parts_gets_everything(
    make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    stream = StingyStream()
    frames = make_frames(2)
    write_all(RawSink(stream), frames)
    assert stream.taken == frames[0].tobytes() + frames[1].tobytes()


def test_a_reader_that_has_gone_is_said_so(
    make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with (
        io.FileIO(writer, "wb") as stream,
        pytest.raises(OutputError, match="reading it has ended"),
    ):
        write_all(RawSink(stream), make_frames(1))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_raw_output_to_a_full_device_is_refused(
    make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    with io.FileIO("/dev/full", "wb") as stream, pytest.raises(OutputError, match="No space left"):
        write_all(RawSink(stream), make_frames(1))


def test_a_standard_output_that_is_closed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as Python has it where it began so
    with pytest.raises(OutputError, match="output -: standard output is closed; pipe it"):
        open_stdout()


class LateStream(io.BytesIO):
    """Takes everything and finds the disk full when it is flushed, as a buffered file does."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_found_full_when_flushing_is_refused(
    make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    with pytest.raises(OutputError, match="No space left"):
        write_all(RawSink(LateStream()), make_frames(1))


def test_a_dash_writes_to_standard_output(tmp_path: Path) -> None:
    script = """
        import numpy as np
        from echoexport.runtime.sinks.open import open_sink
        with open_sink("-", size=(4, 2), fps=24) as sink:
            sink.write(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    assert run.stdout == bytes(range(24))
    assert not run.stderr


def test_a_closed_standard_output_gives_one_error_and_no_second_one(tmp_path: Path) -> None:
    script = """
        import sys
        import numpy as np
        from echoexport.runtime.errors import OutputError
        from echoexport.runtime.sinks.open import open_sink
        try:
            with open_sink("-", size=(640, 480), fps=24) as sink:
                for _ in range(100):
                    sink.write(np.zeros((480, 640, 3), np.uint8))
        except OutputError as error:
            sys.exit(str(error))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as run:
        run.stdout.read(1000)
        run.stdout.close()
        assert run.stderr.read().decode() == "raw output: the program reading it has ended\n"
    assert run.returncode == 1


def test_frames_of_a_raw_stream_may_not_change_size(
    make_frames: Callable[..., list[np.ndarray]], write_all: Callable[..., None]
) -> None:
    with pytest.raises(SettingError, match=r"frame of shape \(2, 2, 3\)"):
        write_all(RawSink(io.BytesIO()), [*make_frames(1), np.zeros((2, 2, 3), np.uint8)])
