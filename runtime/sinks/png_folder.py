"""Frames as a folder of PNGs, which appears whole or not at all."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import OutputError
from echoexport.runtime.files.aside import refuse_output
from echoexport.runtime.files.staging import staged_folder
from echoexport.runtime.sinks.sink import check_frame


class PngFolderSink:
    """Writes frame_00000.png, frame_00001.png ... into a new folder.

    The folder appears whole or not at all.
    """

    def __init__(self, folder: str | Path, *, size: tuple[int, int] | None = None) -> None:
        self.folder = Path(folder)
        self._size = size
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> PngFolderSink:
        """Make the folder to write into, beside the target. Raises ``OutputError``."""
        self._refuse_occupied()
        try:
            self._staging = self._stack.enter_context(staged_folder(self.folder))
        except OSError as error:
            raise refuse_output(self.folder, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename the folder to its name after a clean run; remove it after any other."""
        try:
            if kind is None:
                self._commit()
        finally:
            self._stack.close()

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Write the next PNG. Raises ``OutputError`` or ``SettingError``."""
        from PIL import Image

        check_frame(frame, self._size)
        self._size = (frame.shape[1], frame.shape[0])
        try:
            Image.fromarray(frame).save(self._staging / f"frame_{self._count:05d}.png")
        except OSError as error:
            raise refuse_output(self.folder, error) from error
        self._count += 1

    def _refuse_occupied(self) -> None:
        try:
            occupied = self.folder.is_dir() and any(self.folder.iterdir())
        except OSError as error:
            raise refuse_output(self.folder, error) from error
        if occupied:
            raise OutputError(
                f"{self.folder}: the folder is not empty; remove it, or name a new one"
            )
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder}: a file is in the way; name a new folder, or a .mp4")

    def _commit(self) -> None:
        if not self._count:
            raise OutputError(f"{self.folder}: no frame was written, so there is no folder to keep")
        self._refuse_occupied()
        try:
            # an empty one; renaming onto a folder works on some systems only
            with suppress(FileNotFoundError):
                self.folder.rmdir()
            self._staging.rename(self.folder)
        except OSError as error:
            raise refuse_output(self.folder, error) from error
