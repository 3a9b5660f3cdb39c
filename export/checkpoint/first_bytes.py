"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal

from echoexport.runtime.errors import CheckpointError

__all__ = ["Container", "find_container", "name_instead_of_text"]

Container = Literal["safetensors", "zip", "pickle"]
"""What weights lie in: "zip" and "pickle" are the new and the old format of ``torch.save``."""

_READ = 1024  # bytes
_TAR_MARK = slice(257, 262)
_ZEROS = "it begins with zeros only, as a broken download does"
_WANTED = "wanted: safetensors, or what torch.save writes"
_LFS = "a Git LFS pointer, not the file itself; run: git lfs pull"
_ANNEX = "a git-annex pointer, not the file itself; run: git annex get"
_WEB = "a web page, not the file (a sign-in or an error?); fetch it again with its own link"
_JSON = f"JSON text, not weights (a server's message, an index?); {_WANTED}"
_TEXTS = {
    b"version https://git-lfs": _LFS,
    b"version https://hawser": _LFS,
    b"/annex/objects/": _ANNEX,
    b".git/annex/": _ANNEX,
    b"../.git/annex/": _ANNEX,
    b"<": _WEB,
    b"{": _JSON,
    b"[": _JSON,
}
_MARKS = {
    b"GGUF": "a GGUF file",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"\xfd7zXZ": "an xz archive; unpack it",
    b"(\xb5/\xfd": "a zstd archive; unpack it",
    b"\x89HDF": "an HDF5 file (Keras, TensorFlow)",
    b"\x93NUMPY": "a NumPy array",
    b"%PDF": "a PDF",
}


def find_container(path: Path) -> Container:
    """What the weights in a file lie in.

    Raises:
        CheckpointError: the file cannot be read, or is something else; says what.
    """
    head, size = _read_head(path)
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    # before texts: the length may begin like one
    if _leads_a_table(head, size):
        return "safetensors"
    impostor = _name_impostor(head)
    if impostor is not None:
        raise CheckpointError(f"{path}: {impostor}")
    if head[:1] == b"\x80" and head[1:2] in b"\1\2\3\4\5":
        return "pickle"
    if path.suffix == ".safetensors":
        return "safetensors"
    raise CheckpointError(
        f"{path}: not a readable weight file: it begins with {head[:8]!r}; {_WANTED}; "
        "fetch it again"
    )


def name_instead_of_text(path: Path) -> str | None:
    """What a file that should be JSON is instead: a pointer, a web page; None for neither.

    Raises:
        CheckpointError: the file cannot be read.
    """
    head, _ = _read_head(path)
    what = _find_text(head)
    return None if what == _JSON else what


def _name_impostor(head: bytes) -> str | None:
    """What begins so and is no weight file, with what would help; None for nothing we know."""
    if not head:
        return "truncated: it is empty; fetch it again"
    if not head.strip(b"\0"):
        return f"not a readable weight file: {_ZEROS}; fetch it again"
    if head[_TAR_MARK] == b"ustar":
        return "a tar archive; unpack it, or save it again with a PyTorch of today"
    named = next((what for mark, what in _MARKS.items() if head.startswith(mark)), None)
    return _find_text(head) if named is None else f"{named}; {_WANTED}"


def _find_text(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((what for mark, what in _TEXTS.items() if text.startswith(mark)), None)


def _read_head(path: Path) -> tuple[bytes, int]:
    """A file's first bytes and its size."""
    try:
        with path.open("rb") as file:
            return file.read(_READ), path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error


def _leads_a_table(head: bytes, size: int) -> bool:
    """Whether eight bytes of length and an opening brace come first, as in safetensors."""
    if len(head) < 9:
        return False
    (length,) = struct.unpack("<Q", head[:8])
    return bool(length <= size - 8) and head[8:9] == b"{"
