"""The faces that sessions may show: those of the server by name, and each owner's uploads."""

from __future__ import annotations

import secrets
import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from echoexport.runtime.errors import PortraitError, SettingError
from echoexport.runtime.inputs.picture_file import StoredPicture
from echoexport.runtime.serve.limits.memory import HeldBytes, MemoryBudget
from echoexport.runtime.serve.refusals import RefusedError, refuse
from echoexport.runtime.serve.settings import ServeSettings

UPLOAD_FORMATS = ("JPEG", "PNG", "WEBP")
"""What browsers and phones send; no other decoder sees what a stranger uploads."""


class PortraitShelf:
    """Portraits by name. Uploads stay in memory and never touch a path."""

    def __init__(self, files: Sequence[Path], settings: ServeSettings) -> None:
        """The first of the files is shown where nobody asks for another.

        Raises:
            SettingError: two of them have one name.
        """
        self._settings = settings
        self._named: dict[str, Path] = {}
        for file in files:
            if file.stem in self._named:
                raise SettingError(
                    f"portraits {self._named[file.stem]} and {file} are both called {file.stem}: "
                    "rename one"
                )
            self._named[file.stem] = file
        self.budget = MemoryBudget(settings.most_memory)
        """Of all that is uploaded, and more; the server's one."""
        self._uploads: OrderedDict[str, _Upload] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Of the server's own."""
        return list(self._named)

    def find(self, name: str | None, owner: str) -> Path | StoredPicture:
        """A portrait that an owner may show; None is the first.

        Raises:
            RefusedError: there is none of that name for this owner.
        """
        if name is None:
            name = next(iter(self._named), None)
        if name is None:
            raise RefusedError(refuse(400, "the server has no portrait of its own: upload one"))
        if name in self._named:
            return self._named[name]
        with self._lock:
            found = self._uploads.get(name)
        if found is None or found.owner != owner:
            known = ", ".join(self._named) or "none"
            raise RefusedError(refuse(404, f"no such portrait; the server's own: {known}"))
        return found.picture

    def upload(self, content: bytes, owner: str) -> str:
        """Keep a picture for an owner, under a name that nobody can guess; his oldest go.

        Raises:
            PortraitError: it is no picture of the formats and the size that are taken.
            RefusedError: the server holds too much already.
        """
        check_upload(content, most_pixels=self._settings.most_pixels)
        name = secrets.token_urlsafe(18)
        held = self.budget.take(len(content))
        with self._lock:
            self._uploads[name] = _Upload(owner, name_upload(content), held)
            mine = [key for key, upload in self._uploads.items() if upload.owner == owner]
            for key in mine[: -self._settings.portraits_per_token]:
                self._uploads.pop(key).held.give_back()
        return name


@dataclass(frozen=True)
class _Upload:
    """A picture that somebody sent."""

    owner: str
    picture: StoredPicture
    held: HeldBytes


def name_upload(content: bytes) -> StoredPicture:
    """An upload as what reads pictures takes it; errors call it "the upload"."""
    return StoredPicture(Path("the upload"), content)


def check_upload(content: bytes, *, most_pixels: int) -> None:
    """Look at a picture's head, before any of it is decoded.

    Raises:
        PortraitError: another format, or too many pixels.
    """
    from PIL import Image

    known = ", ".join(UPLOAD_FORMATS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes that are refused below
            image = Image.open(BytesIO(content), formats=UPLOAD_FORMATS)
    except Exception as error:  # decoders raise all kinds of things
        raise PortraitError(f"the upload is no picture that is taken; {known} are") from error
    if image.width * image.height > most_pixels:
        raise PortraitError(
            f"the upload is {image.width}x{image.height}; at most {most_pixels / 1e6:g} megapixels "
            "are taken: scale it down first"
        )
