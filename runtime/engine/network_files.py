"""The files that a network is opened from, held while a backend opens it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from echoexport.runtime.files.held_file import HeldFile

__all__ = ["NetworkFiles"]


class NetworkFiles:
    """A graph or an engine, first, and what lies beside it; a context manager."""

    def __init__(self, files: Sequence[HeldFile]) -> None:
        """``files``: one or more, which close with it."""
        self.main = files[0]
        self.beside = tuple(files[1:])
        self._held = ExitStack()
        for file in files:
            self._held.enter_context(file)

    def __enter__(self) -> NetworkFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @property
    def path(self) -> Path:
        """Where the graph or the engine lies, as people know it."""
        return self.main.path

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(file.size for file in (self.main, *self.beside))

    @property
    def hashes(self) -> tuple[str, ...]:
        """sha256 of each in hex, as the manifest says."""
        return tuple(file.sha256 for file in (self.main, *self.beside))

    def find_changed(self) -> Path | None:
        """The first file that changed since it was opened, None where none did."""
        files = (self.main, *self.beside)
        return next((file.path for file in files if file.has_changed()), None)

    def find_replaced(self) -> tuple[Path, ...]:
        """Files at whose paths others may lie by now; they need not be held any more."""
        return tuple(file.path for file in (self.main, *self.beside) if file.was_replaced())
