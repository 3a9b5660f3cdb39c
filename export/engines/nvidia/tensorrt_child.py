"""A child process that builds one engine: ``python -m`` this, a job as JSON on the standard input.

It answers with one JSON object a line. NVIDIA's library aborts on some errors, keeps
its memory, and is what the system kills first when memory runs out: all of that ends
here and costs one network. Neither torch nor onnx is loaded.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from echoexport.export.engines.nvidia.tensorrt_library import (
    PRODUCTS,
    BuilderLibrary,
    BuildOptions,
    load_builder_library,
)
from echoexport.runtime.errors import BackendError, GraphError
from echoexport.runtime.files.sealed_file import read_sealed, seal_bytes

LONGEST_REASON = 600
"""Characters of a refusal; a line so short is written to a pipe whole, whatever other
threads write."""
TIMING_KEY = "timings"
"""Of the file in which timings are kept, see ``sealed_file``."""
_DAMAGED = b"\x00"
"""What no library takes for timings: it then says so, and starts anew."""


@dataclass(frozen=True)
class BuildJob:
    """What the child is told."""

    backend: str
    """"tensorrt" or "tensorrt_rtx"."""
    library: str
    """As in ``Product``."""
    graph: str
    """The ONNX file's path."""
    output: str | None = None
    """Where the engine goes, None to keep nothing."""
    workspace: int | None = None
    """As in ``BuildOptions``."""
    level: int | None = None
    """As in ``BuildOptions``."""
    timing_cache: str | None = None
    """Read, if it is there."""
    timing_output: str | None = None
    """Where it goes with what was added."""
    fresh: bool = False
    """As in ``BuildOptions``."""


class Answers:
    """Where a child's answers go.

    The standard output as it was, which the library's own chatter no longer reaches.
    """

    def __init__(self) -> None:
        self._pipe = os.dup(1)
        os.dup2(2, 1)

    def send(self, event: str, **values: Any) -> None:
        """One line; several threads may send."""
        os.write(self._pipe, (json.dumps({"event": event, **values}) + "\n").encode())

    def refuse(self, kind: str, reason: object) -> int:
        """The last line where it did not work, and the exit code.

        Kind: "graph", "library", "memory" or "output".
        """
        text = " ".join(str(reason).split())
        self.send("refused", kind=kind, reason=text[:LONGEST_REASON])
        return 1


def stand_back() -> None:
    """Be the process that is killed when memory runs out.

    And do not outlive the one that waits for the answer.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: linux/prctl.h


def main() -> int:
    """Read the job, build, answer; the exit code is 0 where there is an engine."""
    from echoexport.runtime.contract.schema import parse

    answers = Answers()
    stand_back()
    job = parse(BuildJob, json.load(sys.stdin), where="job")
    try:
        return _build(
            job, load_builder_library(replace(PRODUCTS[job.backend], library=job.library)), answers
        )
    except GraphError as error:
        return answers.refuse("graph", error)
    except BackendError as error:
        return answers.refuse("library", error)
    except MemoryError as error:
        return answers.refuse("memory", error)
    except OSError as error:
        return answers.refuse("output", error.strerror or error)


def _build(job: BuildJob, library: BuilderLibrary, answers: Answers) -> int:
    from echoexport.profiles.measuring.clip_run import find_peak_memory

    answers.send("library", version=library.version)
    try:
        parsed = library.parse(Path(job.graph))
        answers.send("progress", text=f"parsed in {parsed.seconds:.1f} s, {parsed.layers} layers")
        plan = library.build(
            parsed,
            BuildOptions(
                job.workspace,
                job.level,
                timing=_read_timing(job),
                fresh=job.fresh,
                tell_phase=lambda name: answers.send("phase", text=name[:80]),
            ),
        )
    except AttributeError as error:
        raise library.lack(str(getattr(error, "name", None) or error)) from error
    size = memoryview(plan.content).nbytes
    if job.output is not None:
        _write(Path(job.output), plan.content)
    if job.timing_output is not None and plan.timing is not None:
        _write(Path(job.timing_output), seal_bytes(plan.timing, key=TIMING_KEY))
    answers.send(
        "built",
        version=library.version,
        parse_seconds=round(parsed.seconds, 2),
        build_seconds=round(plan.seconds, 2),
        engine_bytes=size,
        peak_bytes=find_peak_memory() or 0,
        notes=list(plan.notes),
    )
    return 0


def _read_timing(job: BuildJob) -> bytes | None:
    """The cache's bytes, none at all where it is not there yet; None where no cache is kept."""
    if job.timing_cache is None:
        return None
    try:
        content = read_sealed(Path(job.timing_cache), key=TIMING_KEY)
    except OSError:
        return b""
    return _DAMAGED if content is None else bytes(content)


def _write(path: Path, content: Any) -> None:
    with path.open("wb") as file:
        file.write(memoryview(content))
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    sys.exit(main())
