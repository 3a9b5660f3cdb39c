"""Writing a checkpoint.

What was wanted is read back, and only a folder with the same mark is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint.reader import open_checkpoint
from echoexport.export.checkpoint.settings import SETTINGS_NAME, read_checkpoint_settings
from echoexport.export.checkpoint.writer import CheckpointContents, write_checkpoint
from echoexport.runtime.errors import CheckpointError, OutputError

MARK = "# a mark of this test"
Tables = dict[str, dict[str, torch.Tensor]]


@pytest.fixture
def wanted(micro: Architecture) -> CheckpointContents:
    return CheckpointContents(micro, "acc", mark=MARK)


def refuse(network: str) -> Mapping[str, torch.Tensor]:
    raise AssertionError(f"{network} was asked for")


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_samplers_settings_are_read_back(
    tmp_path: Path, wanted: CheckpointContents, micro_tables: Tables
) -> None:
    given = {"shared_noise": 1.0, "steps": 4, "noise_clamp": 1.25}
    folder = write_checkpoint(
        tmp_path / "weights", replace(wanted, sampler=given), micro_tables.__getitem__
    )
    assert read_checkpoint_settings(folder).sampler == given
    variant = open_checkpoint(folder, "acc").variant
    assert (variant.shared_noise, variant.steps, variant.noise_clamp, variant.guidance) == (
        1.0,
        4,
        1.25,
        1.0,
    )


def test_without_sampler_settings_the_variants_hold(
    tmp_path: Path, wanted: CheckpointContents, micro_tables: Tables, micro: Architecture
) -> None:
    folder = write_checkpoint(tmp_path / "weights", wanted, micro_tables.__getitem__)
    assert (folder / SETTINGS_NAME).read_text(encoding="utf-8").splitlines()[0] == MARK
    opened = open_checkpoint(folder, "acc")
    assert dict(read_checkpoint_settings(folder).sampler) == {}
    assert (opened.variant.steps, opened.variant.shared_noise) == (6, 0.0)
    assert opened.architecture == micro


def test_every_value_is_what_was_given(
    tmp_path: Path, wanted: CheckpointContents, micro_tables: Tables
) -> None:
    opened = open_checkpoint(
        write_checkpoint(tmp_path / "weights", wanted, micro_tables.__getitem__), "acc"
    )
    for network, table in micro_tables.items():
        stored = opened.weights(network, {key: tuple(value.shape) for key, value in table.items()})
        for key, tensor in stored.items():
            given = (
                micro_tables["denoising_unet"][key.replace(".reader.", ".attn1.")]
                if ".reader." in key
                else table[key]
            )
            np.testing.assert_array_equal(tensor.read(), given.numpy(), err_msg=key)


def test_a_networks_tensors_are_asked_for_one_after_the_other(
    tmp_path: Path, wanted: CheckpointContents, micro_tables: Tables
) -> None:
    asked: list[str] = []

    def give(network: str) -> Mapping[str, torch.Tensor]:
        asked.append(network)
        return micro_tables[network]

    write_checkpoint(tmp_path / "weights", wanted, give)
    assert sorted(asked) == sorted(micro_tables)


def test_a_folder_with_the_same_mark_is_replaced_whole(
    tmp_path: Path, wanted: CheckpointContents, micro_tables: Tables
) -> None:
    folder = write_checkpoint(
        tmp_path / "weights", replace(wanted, variant="base"), micro_tables.__getitem__
    )
    (folder / "more.txt").write_text("of the older one")
    write_checkpoint(folder, wanted, micro_tables.__getitem__)
    names = names_in(folder)
    assert "denoising_unet_acc.pth" in names
    assert not names & {"denoising_unet.pth", "more.txt"}
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


@pytest.mark.parametrize(
    "settings", [None, "# another mark\n", "", "motion_heads: 2\n# a mark of this test\n"]
)
def test_a_folder_with_another_mark_is_left_as_it_is(
    tmp_path: Path, wanted: CheckpointContents, settings: str | None
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "denoising_unet_acc.pth").write_bytes(b"a month of training")
    if settings is not None:
        (folder / SETTINGS_NAME).write_text(settings)
    before = {name: (folder / name).read_bytes() for name in names_in(folder)}
    with pytest.raises(OutputError, match="weights: already there, and not weights of ours"):
        write_checkpoint(folder, wanted, refuse)
    assert {name: (folder / name).read_bytes() for name in names_in(folder)} == before


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path, wanted: CheckpointContents) -> None:
    (tmp_path / "weights").write_text("mine")
    with pytest.raises(OutputError, match="not weights of ours"):
        write_checkpoint(tmp_path / "weights", wanted, refuse)


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos")]
)
def test_a_disk_that_fills_up_leaves_the_older_checkpoint(
    tmp_path: Path,
    wanted: CheckpointContents,
    micro_tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    folder = write_checkpoint(tmp_path / "weights", wanted, micro_tables.__getitem__)
    before = {name: (folder / name).read_bytes() for name in names_in(folder)}
    save: Callable[..., None] = torch.save

    def fail_later(contents: object, path: Path) -> None:
        if path.name == "face_locator.pth":
            raise error
        save(contents, path)

    monkeypatch.setattr(torch, "save", fail_later)
    with pytest.raises(OutputError, match="weights: cannot be written"):
        write_checkpoint(folder, wanted, micro_tables.__getitem__)
    assert {name: (folder / name).read_bytes() for name in names_in(folder)} == before
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_a_sampler_setting_that_cannot_be_is_refused_when_it_is_read(
    tmp_path: Path, wanted: CheckpointContents, micro_tables: Tables
) -> None:
    folder = write_checkpoint(
        tmp_path / "w", replace(wanted, sampler={"shared_noise": 1.5}), micro_tables.__getitem__
    )
    with pytest.raises(CheckpointError, match=r"sampler\.shared_noise is 1\.5"):
        open_checkpoint(folder, "acc")
