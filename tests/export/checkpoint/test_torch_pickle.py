"""The pickles of weight files: nothing of them runs, and none takes more than its length."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echoexport.export.checkpoint.tensor_files import open_tensor_file
from echoexport.export.checkpoint.torch_pickle import TensorUnpickler
from echoexport.runtime.errors import CheckpointError

formats = pytest.mark.parametrize("new", [True, False], ids=["new", "old"])


def repack(path: Path, name: str, content: bytes, *, method: int = zipfile.ZIP_STORED) -> None:
    """Put other content into one entry of a saved file."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    place = next(entry for entry in entries if entry.endswith(name))
    entries[place] = content
    with zipfile.ZipFile(path, "w", method) as archive:
        for entry, data in entries.items():
            archive.writestr(entry, data)


def change_pickle(path: Path, old: bytes, new: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        place = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        content = archive.read(place)
    assert content.count(old) == 1
    repack(path, "data.pkl", content.replace(old, new))


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_tensor_file(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@formats
def test_parameters_saved_as_such_are_their_values(tmp_path: Path, new: bool) -> None:
    values = torch.arange(6.0).reshape(2, 3)
    table = OrderedDict(w=torch.nn.Parameter(values), v=torch.nn.Parameter(values.half()))
    table["w"].note = "kept as a state"  # type: ignore[attr-defined]
    torch.save(table, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
    found = open_tensor_file(tmp_path / "w.pth")
    np.testing.assert_array_equal(found["w"].read(), values.numpy())
    np.testing.assert_array_equal(found["v"].read(), values.half().numpy())


@formats
def test_a_whole_training_state_gives_its_table(tmp_path: Path, new: bool) -> None:
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {"epoch": 3, "optimizer": optimizer.state_dict(), "model": module.state_dict()}
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
    found = open_tensor_file(tmp_path / "w.pth")
    np.testing.assert_array_equal(found["weight"].read(), module.weight.detach().numpy())
    assert set(found) == {"weight", "bias"}
    assert found.extras["epoch"] == 3


@pytest.mark.parametrize(
    "wrapper", ["model_state_dict", "state_dict", "model", "ema", "params_ema", "unet"]
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_what_trainers_put_round_a_table_is_taken_off(
    tmp_path: Path, wrapper: str, prefix: str
) -> None:
    torch.save(
        {wrapper: {f"{prefix}a.w": torch.ones(2), f"{prefix}b.w": torch.zeros(3)}},
        tmp_path / "w.pth",
    )
    found = open_tensor_file(tmp_path / "w.pth")
    assert set(found) == {"a.w", "b.w"}
    assert found["b.w"].read().tolist() == [0, 0, 0]


def test_a_prefix_that_not_every_key_has_stays(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "w.pth")
    assert set(open_tensor_file(tmp_path / "w.pth")) == {"module.a", "b"}


def test_an_average_over_the_training_comes_before_its_last_step(tmp_path: Path) -> None:
    table = {"params": {"w": torch.ones(1)}, "params_ema": {"w": torch.zeros(1)}}
    torch.save(table, tmp_path / "w.pth")
    assert open_tensor_file(tmp_path / "w.pth")["w"].read().tolist() == [0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"K\x07K\x05\x86", b"K\x08K\x05\x86"),
        (b"K\x07K\x05\x86", b"J\xff\xff\xff\xffK\x05\x86"),
        (b"K\x07K\x05\x86", b"\x8a\x09\0\0\0\0\0\0\0\0\1K\x05\x86"),
        (b"K\x05K\x01\x86", b"K\x00K\x00\x86"),
        (b"K\x05K\x01\x86", b"K\x06K\x01\x86"),
        (b"K\x05K\x01\x86", b"J\xff\xff\xff\xffK\x01\x86"),
        (b"K\x05K\x01\x86", b"G?\xf0\0\0\0\0\0\0K\x01\x86"),
    ],
    ids=["more rows", "no rows", "2^64 rows", "one for all", "a wide row", "backwards", "a float"],
)
def test_a_tensor_that_makes_no_sense_is_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "w.pth"
    torch.save({"w": torch.ones(7, 5)}, path)
    change_pickle(path, old, new)
    assert "truncated or not a torch file" in refusal(path)


@pytest.mark.parametrize("old_format", [False, True])
def test_another_byte_order_is_refused_in_words(tmp_path: Path, old_format: bool) -> None:
    path = tmp_path / "w.pth"
    torch.save({"w": torch.ones(7, 5)}, path, _use_new_zipfile_serialization=not old_format)
    if old_format:
        content = path.read_bytes()
        mark = content.index(b"little_endian")
        path.write_bytes(content[:mark] + content[mark:].replace(b"\x88", b"\x89", 1))
    else:
        repack(path, "byteorder", b"big")
    assert "big-endian byte order" in refusal(path)


def test_what_is_compressed_is_refused_before_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"w": torch.ones(7, 5)}, path)
    repack(path, "data.pkl", b"\x80\x02" + b"0" * (1 << 20), method=zipfile.ZIP_DEFLATED)
    assert "compressed" in refusal(path)


def test_a_torchscript_program_and_another_archive_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("weights/real.pth", b"")
    assert "a zip archive of 'weights/real.pth'" in refusal(tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("w/data.pkl", b"")
        archive.writestr("w/constants.pkl", b"")
    assert "a TorchScript program" in refusal(tmp_path / "w.pth")


def load(content: bytes) -> Any:
    return TensorUnpickler(BytesIO(content)).load()


def test_a_memo_index_takes_no_memory() -> None:
    assert load(b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b".") == {}


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cos\nsystem\n.",
        b"\x80\x02}K\x01\x85K\x01s.",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b".",
        b"\x80\x02X" + struct.pack("<I", 1 << 31) + b"short.",
        b"\x80\x02K\x01)R.",
        b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"\x80\x02X\x01\x00\x00\x00aQ.",
        pickle.dumps({1, 2}),
    ],
    ids=[
        "a function",
        "a tuple as key",
        "a buffer",
        "a frame",
        "a long text",
        "a call of 1",
        "of 1",
        "of nothing",
        "no storage",
        "a set",
    ],
)
def test_what_no_table_needs_ends_the_reading(content: bytes) -> None:
    with pytest.raises((pickle.UnpicklingError, EOFError, TypeError, IndexError)):
        load(content)


def test_the_same_bytes_give_what_torch_gives(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(6, 5, 4, generator=generator)
    table = {
        "plain": base,
        "turned": base.permute(2, 0, 1),
        "part": base[1:4, ::2],
        "last": base[..., -1],
        "one": base[2, 2, 2],
        "none": base[:0],
        "long": torch.arange(5),
        "bool": torch.tensor([True, False]),
        "half": base.bfloat16()[3],
    }
    for new in (True, False):
        torch.save(table, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
        found = open_tensor_file(tmp_path / "w.pth")
        for key, tensor in table.items():
            wanted = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
            np.testing.assert_array_equal(found[key].read(), wanted.numpy())
