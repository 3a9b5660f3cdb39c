"""What a cache keeps under a check sum comes back as it was, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.files.sealed_file import read_sealed, write_sealed

CONTENT = np.random.default_rng(8).bytes(1000)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "kept"
    write_sealed(path, CONTENT, key="key")
    return path


@pytest.mark.parametrize("content", [b"", b"a", bytes(3 << 20)])
def test_what_was_written_is_read(tmp_path: Path, content: bytes) -> None:
    write_sealed(tmp_path / "kept", memoryview(content), key="key")
    assert read_sealed(tmp_path / "kept", key="key") == content


def test_a_flipped_bit_anywhere_is_noticed(kept: Path) -> None:
    whole = kept.read_bytes()
    for byte, bit in enumerate(np.random.default_rng(9).integers(0, 8, len(whole))):
        flipped = bytearray(whole)
        flipped[byte] ^= 1 << int(bit)
        kept.write_bytes(flipped)
        assert read_sealed(kept, key="key") is None, byte


def test_one_that_was_cut_or_grew_is_noticed(kept: Path) -> None:
    whole = kept.read_bytes()
    for length in (0, 1, 31, 32, 63, 64, 500, len(whole) - 1):
        kept.write_bytes(whole[:length])
        assert read_sealed(kept, key="key") is None, length
    kept.write_bytes(whole + b"\0")
    assert read_sealed(kept, key="key") is None


@pytest.mark.parametrize("key", ["", "ke", "key2", "other"])
def test_one_of_another_key_is_not_read(kept: Path, key: str) -> None:
    assert read_sealed(kept, key=key) is None


def test_one_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_sealed(tmp_path / "none", key="key")
