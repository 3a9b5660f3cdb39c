"""A child that reads one mutation after another, as a line of its input asks for."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

from fuzz.commands import Workplace, run_command
from fuzz.kinds import KINDS, Kind, make_input

_MOST_PRINTED = 4000
_ADDRESSES = 24 << 30  # bytes: beyond that something has gone wild, and the machine is to live


def main() -> None:
    """Answer each line, a request, with a line of JSON; what libraries print is looked at too."""
    answers = os.fdopen(os.dup(1), "w")
    name, seeds_folder, seed = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seeds = [path.read_bytes() for path in sorted(Path(seeds_folder).iterdir())]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as printed:
        os.environ["ECHOEXPORT_CACHE"] = str(Path(folder) / "cache")
        (Path(folder) / "place").mkdir()
        reader = Reader(KINDS[name], seeds, Path(folder), seed=int(seed))
        for number in (1, 2):
            os.dup2(printed.fileno(), number)
        for line in sys.stdin:
            answer = reader.answer(json.loads(line))
            answer |= {"printed": _take(printed), "bytes": _peak()}
            answers.write(f"{json.dumps(answer)}\n")
            answers.flush()


class Reader:
    """Reads the mutations of one kind, as a function or by a whole command."""

    def __init__(self, kind: Kind, seeds: list[bytes], folder: Path, *, seed: int) -> None:
        self._kind = kind
        self._seeds = seeds
        self._seed = seed
        self._folder = folder
        self._place = Workplace(folder / "place")

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What an honest seed or a mutation gives; ``command``: by a whole command."""
        if "honest" in request:
            number = request["honest"]
            content = self._seeds[number]
        else:
            index = request["index"]
            number, content = make_input(self._kind, self._seeds, seed=self._seed, index=index)
        work = self._folder / "work"
        work.mkdir()
        _forget_peak()
        try:
            way = self._command if request.get("command") else self._read
            return {"seed": number, **way(content, work)}
        except Exception:
            return {"traceback": traceback.format_exc()}
        finally:
            shutil.rmtree(work)

    def _read(self, content: bytes, folder: Path) -> dict[str, Any]:
        from echoexport.runtime.errors import EchoExportError

        try:
            with warnings.catch_warnings(record=True):
                return {"outcome": self._kind.read(content, folder)}
        except EchoExportError as error:
            return {"refusal": str(error)}

    def _command(self, content: bytes, folder: Path) -> dict[str, Any]:
        assert self._kind.command is not None
        path = folder / "given"
        path.write_bytes(content)
        code = run_command(self._kind.command(self._place, path))
        (self._place.folder / "out.mp4").unlink(missing_ok=True)
        return {"code": code}


def _take(printed: Any) -> str:
    """What was printed since the last time."""
    sys.stdout.flush()
    sys.stderr.flush()
    size = os.fstat(printed.fileno()).st_size
    found = os.pread(printed.fileno(), min(size, _MOST_PRINTED), 0)
    printed.seek(0)
    printed.truncate()
    return found.decode(errors="replace")


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most bytes in memory since it was forgotten."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()
