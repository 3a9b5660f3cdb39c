"""OpenVINO's compiled models, kept between runs under a check sum of ours.

The library's own cache notices no damage: a flipped bit is another model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from echoexport.runtime.engine.freed_memory import give_memory_back
from echoexport.runtime.engine.openvino.library import load_openvino
from echoexport.runtime.files.sealed_file import read_sealed, write_sealed

__all__ = ["ModelCache", "import_compiled"]

_SUFFIX = ".engine"
_OF_THE_LIBRARY = "*.blob"
"""What releases before 0.2 let the library keep, which nothing reads any more."""


class ModelCache:
    """One network's place in a cache folder: for these files, settings and this machine."""

    def __init__(self, folder: Path, *, made_of: Mapping[str, Any]) -> None:
        """``made_of``: all that the compiled model depends on."""
        self._key = json.dumps(made_of, sort_keys=True)
        name = hashlib.sha256(self._key.encode()).hexdigest()[:24]
        self._path = folder / f"{name}{_SUFFIX}"
        self.note: str | None = None
        """What is wrong with the cache, for people."""

    def load(self, core: Any, config: Mapping[str, str]) -> tuple[Any, Any] | None:
        """The compiled model and the memory that it reads, or None where there is none."""
        try:
            content = read_sealed(self._path, key=self._key)
            if content is None:
                self.note = "its compiled model in the cache was damaged, and was made anew"
                return None
            return import_compiled(core, content, config)
        except OSError:
            return None  # none yet
        except RuntimeError as error:  # the library refuses it
            self.note = f"its compiled model in the cache was refused, and was made anew: {error}"
            return None

    def keep(self, compiled: Any) -> None:
        """Write a compiled model down; what prevents it is noted."""
        try:
            write_sealed(self._path, compiled.export_model().getbuffer(), key=self._key)
        except (OSError, RuntimeError) as error:
            self.note = f"its compiled model could not be kept: {error}"
        give_memory_back()  # the library exports by way of two copies
        for left in self._path.parent.glob(_OF_THE_LIBRARY):
            with suppress(OSError):
                left.unlink()


def import_compiled(
    core: Any, content: memoryview, config: Mapping[str, str]
) -> tuple[Any, np.ndarray]:
    """A model that was exported, and the memory that it reads for as long as it runs.

    Raises:
        RuntimeError: the library refuses it.
    """
    memory = np.frombuffer(content, np.uint8)
    tensor = load_openvino().Tensor(memory, shared_memory=True)
    return core.import_model(tensor, "CPU", dict(config)), memory
