"""Weight files: every format gives the same lazy tensors.

None of them runs code, or fails without a name.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from echoexport.export.checkpoint.tensor_files import StoredTensor, open_tensor_file
from echoexport.runtime.errors import CheckpointError

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}


def make_table(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"a.weight": (3, 5), "b.bias": (7,), "scalar": (), "empty": (0, 4)}
    return {key: torch.randn(shape, generator=generator).to(dtype) for key, shape in shapes.items()}


def save(path: Path, table: dict[str, Any], *, how: str) -> Path:
    if how == "safetensors":
        save_file(table, path.with_suffix(".safetensors"))
        return path.with_suffix(".safetensors")
    torch.save(table, path, _use_new_zipfile_serialization=how == "zip")
    return path


@pytest.mark.parametrize("how", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_format_and_precision_gives_the_values(tmp_path: Path, how: str, dtype: str) -> None:
    table = make_table(DTYPES[dtype])
    found = open_tensor_file(save(tmp_path / "weights.pth", table, how=how))
    assert set(found) == set(table)
    for key, tensor in table.items():
        wanted = tensor.float().numpy() if dtype == "bfloat16" else tensor.numpy()
        np.testing.assert_array_equal(found[key].read(), wanted)
        assert found[key].shape == tuple(tensor.shape) == found[key].read().shape


@pytest.mark.parametrize("how", ["zip", "safetensors"])
def test_opening_reads_no_values(tmp_path: Path, how: str) -> None:
    path = save(tmp_path / "weights.pth", make_table(), how=how)
    assert all(
        tensor.values is None and tensor.offset > 0 for tensor in open_tensor_file(path).values()
    )


@pytest.mark.parametrize("how", ["zip", "legacy"])
def test_views_and_turned_tensors_are_read_right(tmp_path: Path, how: str) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    table = {"rows": whole[1:3], "turned": whole.t(), "column": whole[:, 2], "whole": whole}
    found = open_tensor_file(save(tmp_path / "weights.pth", table, how=how))
    for key, tensor in table.items():
        np.testing.assert_array_equal(found[key].read(), tensor.numpy())


@pytest.mark.parametrize("wrapper", ["model_state_dict", "state_dict"])
@pytest.mark.parametrize("how", ["zip", "legacy"])
def test_wrapped_tables_are_unwrapped_and_the_rest_is_kept(
    tmp_path: Path, wrapper: str, how: str
) -> None:
    path = save(tmp_path / "weights.pt", {"dims": {"n_mels": 80}, wrapper: make_table()}, how=how)
    found = open_tensor_file(path)
    assert set(found) == set(make_table())
    assert found.extras == {"dims": {"n_mels": 80}}
    np.testing.assert_array_equal(found["b.bias"].read(), make_table()["b.bias"].numpy())


def test_what_is_no_tensor_is_left_out(tmp_path: Path) -> None:
    path = save(tmp_path / "weights.pth", {**make_table(), "epoch": 3, "name": "x"}, how="zip")
    assert set(open_tensor_file(path)) == set(make_table())


def test_renaming_keeps_the_values(tmp_path: Path) -> None:
    found = open_tensor_file(save(tmp_path / "weights.pth", make_table(), how="zip")).renamed(
        {"b.bias": "c"}
    )
    assert set(found) == {"a.weight", "c", "scalar", "empty"}
    np.testing.assert_array_equal(found["c"].read(), make_table()["b.bias"].numpy())


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.pth: no such file"):
        open_tensor_file(tmp_path / "gone.pth")


class Payload:
    """What a malicious pickle does: a call on loading."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("how", ["zip", "legacy"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_a_pickle_that_wants_code_is_refused_and_not_run(
    tmp_path: Path, how: str, suffix: str
) -> None:
    target = tmp_path / "pwned"
    path = tmp_path / f"weights{suffix}"
    torch.save(
        {**make_table(), "x": Payload(target)}, path, _use_new_zipfile_serialization=how == "zip"
    )
    with pytest.raises(
        CheckpointError, match=rf"weights\{suffix}: refused: it is a pickle that wants more"
    ) as caught:
        open_tensor_file(path)
    assert "\n" not in str(caught.value)
    assert not target.exists()


@pytest.mark.parametrize("how", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused_with_its_name(tmp_path: Path, how: str, share: float) -> None:
    path = save(tmp_path / "weights.pth", {"w": torch.ones(40, 50)}, how=how)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    problem = "(truncated|not a readable|is damaged)"
    with pytest.raises(
        CheckpointError, match=rf"{path.name}: .*{problem}.*fetch it again"
    ) as caught:
        open_tensor_file(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["zip", "safetensors"])
def test_a_file_cut_after_opening_is_refused_when_read(tmp_path: Path, how: str) -> None:
    path = save(tmp_path / "weights.pth", {"w": torch.ones(40, 50)}, how=how)
    found = open_tensor_file(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CheckpointError, match="truncated at 'w': wanted 2000 values, found"):
        found["w"].read()
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot read 'w'"):
        found["w"].read()


@pytest.mark.parametrize("contents", [{"a": 1}, {}, [torch.ones(2)], torch.ones(2), 3], ids=repr)
def test_a_file_without_a_table_is_refused(tmp_path: Path, contents: Any) -> None:
    torch.save(contents, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights\.pth: holds .*state dict is wanted"):
        open_tensor_file(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    "table",
    [
        {3: torch.ones(2)},
        {"w": torch.ones(2, dtype=torch.complex64)},
        {"w": torch.eye(3).to_sparse()},
        {"w": torch.ones(4).to(torch.float8_e4m3fn)},
    ],
    ids=["number for a key", "complex", "sparse", "float8"],
)
@pytest.mark.parametrize("how", ["zip", "legacy"])
def test_tensors_that_are_no_weights_are_refused(
    tmp_path: Path, table: dict[Any, Any], how: str
) -> None:
    path = save(tmp_path / "weights.pth", table, how=how)
    with pytest.raises(CheckpointError, match=r"weights\.pth: "):
        open_tensor_file(path)


def write_safetensors(path: Path, header: Any, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"\xff\xfe",
        b"[" * 5000,
        [1],
        {"w": 1},
        {"w": {}},
        {"w": {**ENTRY, "dtype": "F7"}},
        {"w": {**ENTRY, "shape": [3]}},
        {"w": {**ENTRY, "shape": [-2]}},
        {"w": {**ENTRY, "shape": ["x"]}},
        {"w": {**ENTRY, "shape": None}},
        {"w": {**ENTRY, "data_offsets": [-8, 0]}},
        {"w": {**ENTRY, "data_offsets": [4, 8]}},
        {"w": {**ENTRY, "data_offsets": [0]}},
        {"w": {**ENTRY, "data_offsets": ["0", "8"]}},
        {"w": {**ENTRY, "data_offsets": [8, 16]}},
        {"w": {**ENTRY, "data_offsets": [0.0, 8.0]}},
        {"w": {**ENTRY, "data_offsets": [False, 8]}},
        {"w": {**ENTRY, "shape": [2.0]}},
        {"w": {**ENTRY, "shape": [True, 2]}},
        {"w": {**ENTRY, "shape": [1 << 64], "data_offsets": [0, 1 << 66]}},
        {"w": {**ENTRY, "dtype": ["F32"]}},
        {"w": {**ENTRY, "shape": [1], "data_offsets": [0, 4]}},
        {"w": ENTRY, "v": ENTRY},
    ],
    ids=lambda header: str(header)[:40],
)
def test_a_broken_safetensors_header_is_refused(tmp_path: Path, header: Any) -> None:
    path = write_safetensors(tmp_path / "weights.safetensors", header, b"\0" * 8)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: .*fetch it again"):
        open_tensor_file(path)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F4"])
def test_weights_of_eight_bits_are_called_so(tmp_path: Path, dtype: str) -> None:
    entry = {"dtype": dtype, "shape": [8], "data_offsets": [0, 8]}
    path = write_safetensors(tmp_path / "weights.safetensors", {"w": entry}, b"\0" * 8)
    with pytest.raises(CheckpointError, match=f"'w' is {dtype}; wanted float16, bfloat16 or"):
        open_tensor_file(path)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_gives_tensors_or_a_checkpoint_error_but_never_another(
    tmp_path: Path, data: Any
) -> None:
    how = data.draw(st.sampled_from(["zip", "legacy", "safetensors"]))
    path = save(tmp_path / "weights.pth", {"w": torch.ones(2, 3), "v": torch.ones(2)}, how=how)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(damaged))
    try:
        for tensor in open_tensor_file(path).values():
            assert isinstance(tensor, StoredTensor)
            tensor.read()
    except CheckpointError as error:
        assert "\n" not in str(error)
