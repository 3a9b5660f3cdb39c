"""What a weight file is not: its first bytes say so, and the message what would help."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from echoexport.export.checkpoint.configs import read_config
from echoexport.export.checkpoint.first_bytes import find_container
from echoexport.export.checkpoint.tensor_files import open_tensor_file
from echoexport.runtime.errors import CheckpointError

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1700000\n"
)
every_suffix = pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])


@every_suffix
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (POINTER, "a Git LFS pointer.*git lfs pull"),
        (b"/annex/objects/SHA256E-s17--00.pth\n", "git annex get"),
        (b"\n <!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error/>", "a web page"),
        (b'{"error": "Repository not found"}', "JSON text, not weights"),
        (b"", "truncated: it is empty"),
        (bytes(5000), "zeros only.*fetch it again"),
        (b"GGUF\3\0\0\0", "a GGUF file"),
        (b"\x1f\x8b\x08\0", "a gzip archive; unpack it"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ],
    ids=["LFS", "annex", "page", "XML", "JSON", "empty", "zeros", "GGUF", "gzip", "HDF5"],
)
def test_what_is_no_weight_file_is_called_by_its_name(
    tmp_path: Path, suffix: str, content: bytes, words: str
) -> None:
    path = tmp_path / f"denoising_unet{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"denoising_unet{suffix}: .*{words}") as caught:
        open_tensor_file(path)
    assert "\n" not in str(caught.value)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(("content", "words"), [(POINTER, "git lfs pull"), (b"<html>", "web page")])
def test_a_config_that_is_none_is_called_by_its_name(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"config\.json: a.*{words}"):
        read_config(tmp_path / "config.json")


def test_a_wrong_suffix_is_no_fault(tmp_path: Path) -> None:
    table = {"w": torch.arange(6.0).reshape(2, 3)}
    torch.save(table, tmp_path / "new.safetensors")
    torch.save(table, tmp_path / "old.safetensors", _use_new_zipfile_serialization=False)
    save_file(table, tmp_path / "plain.pth")
    for name in ("new.safetensors", "old.safetensors", "plain.pth"):
        found = open_tensor_file(tmp_path / name)
        assert found["w"].read().tolist() == table["w"].tolist()


@pytest.mark.parametrize("length", [0x3C, 0x5B, 0x7B, 0x120, 0x13C])
def test_a_header_whose_length_begins_like_a_text_is_none(tmp_path: Path, length: int) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    path = tmp_path / "plain.pth"
    path.write_bytes(length.to_bytes(8, "little") + header + b"\0\0\x80\x3f")
    assert open_tensor_file(path)["w"].read().tolist() == [1.0]


def test_what_weights_lie_in_is_found_without_the_name(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "weights")
    assert find_container(tmp_path / "weights") == "zip"
    (tmp_path / "weights").write_bytes(pickle.dumps({}, protocol=2))
    assert find_container(tmp_path / "weights") == "pickle"


def test_a_file_without_permission_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the refusal is the double's."""
    (tmp_path / "weights.pth").write_bytes(b"PK\3\4")

    def refuse(*arguments: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointError, match=r"weights\.pth: cannot be read: Permission denied"):
        open_tensor_file(tmp_path / "weights.pth")


def test_the_files_found_in_the_field() -> None:
    folder = Path(__file__).parents[4] / "shared" / "faults"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here: it holds files that the project does not ship")
    for name, words in (
        ("lfs_pointer.pth", "git lfs pull"),
        ("lfs_pointer.safetensors", "git lfs pull"),
        ("web_page.pth", "a web page"),
    ):
        with pytest.raises(CheckpointError, match=words):
            open_tensor_file(folder / name)
    assert len(open_tensor_file(folder / "pth_named.safetensors")) > 0
    assert read_config(folder / "config_bom.json")
