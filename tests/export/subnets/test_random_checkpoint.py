"""Random checkpoints.

The official layout, the same for a seed, and never in the place of trained weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint.reader import open_checkpoint
from echoexport.export.subnets import random_checkpoint as random_weights
from echoexport.export.subnets.networks import build_network, wanted_shapes
from echoexport.export.subnets.random_checkpoint import TINY, write_random_checkpoint
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.errors import OutputError
from echoexport.runtime.files import aside


def digest(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def values(folder: Path, network: str, architecture: Architecture) -> dict[str, np.ndarray]:
    shapes = wanted_shapes(build_network(network, architecture))
    return {
        key: tensor.read()
        for key, tensor in open_checkpoint(folder, "acc").weights(network, shapes).items()
    }


def test_the_files_are_those_of_the_official_layout(tmp_path: Path, micro: Architecture) -> None:
    assert set(digest(write_random_checkpoint(tmp_path / "weights", architecture=micro))) == {
        "audio_processor/whisper_tiny.pt",
        "denoising_unet_acc.pth",
        "echoexport.yaml",
        "face_locator.pth",
        "motion_module_acc.pth",
        "reference_unet.pth",
        "sd-image-variations-diffusers/unet/config.json",
        "sd-vae-ft-mse/config.json",
        "sd-vae-ft-mse/diffusion_pytorch_model.bin",
    }


@pytest.mark.parametrize("variant", ["base", "pose_acc"])
def test_it_opens_as_a_checkpoint_of_the_same_shape(
    tmp_path: Path, micro: Architecture, variant: str
) -> None:
    channels = 3 if variant.startswith("pose") else 1
    wanted = replace(micro, landmark=replace(micro.landmark, in_channels=channels))
    folder = write_random_checkpoint(tmp_path / "weights", architecture=wanted, variant=variant)
    opened = open_checkpoint(folder, variant)
    assert (opened.architecture.vae, opened.architecture.audio) == (wanted.vae, wanted.audio)
    assert opened.architecture.landmark == wanted.landmark
    assert opened.architecture.unet == wanted.unet


@pytest.mark.parametrize("network", FAMILY.required)
def test_every_tensor_is_there_and_finite(
    tmp_path: Path, micro: Architecture, network: str
) -> None:
    folder = write_random_checkpoint(tmp_path / "weights", architecture=micro)
    for key, value in values(folder, network, micro).items():
        assert np.isfinite(value).all(), key
        assert value.any(), key


def test_the_tiny_architecture_is_read_back_as_it_is(tmp_path: Path) -> None:
    assert (
        open_checkpoint(write_random_checkpoint(tmp_path / "weights"), "acc").architecture == TINY
    )


def test_a_seed_decides_every_value(tmp_path: Path, micro: Architecture) -> None:
    names = ("a", "b", "c")
    for name, seed in zip(names, (1, 1, 2), strict=True):
        write_random_checkpoint(tmp_path / name, architecture=micro, seed=seed)
    a, b, c = (values(tmp_path / name, "vae_encoder", micro) for name in names)
    assert all(np.array_equal(a[key], b[key]) for key in a)
    assert not any(np.array_equal(a[key], c[key]) for key in a)


def test_older_random_weights_are_replaced_whole(tmp_path: Path, micro: Architecture) -> None:
    folder = write_random_checkpoint(
        tmp_path / "weights", architecture=micro, variant="base", seed=1
    )
    write_random_checkpoint(folder, architecture=micro, variant="acc")
    assert not (folder / "denoising_unet.pth").exists()
    assert (folder / "denoising_unet_acc.pth").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(28, "No space left on device"), RuntimeError("write")]
)
def test_a_failure_leaves_the_older_weights_as_they_were(
    tmp_path: Path, micro: Architecture, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    folder = write_random_checkpoint(tmp_path / "weights", architecture=micro, seed=1)
    before = digest(folder)

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(random_weights.torch, "save", fail)
    with pytest.raises((KeyboardInterrupt, OutputError)):
        write_random_checkpoint(folder, architecture=micro, seed=2)
    assert digest(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_an_interrupt_between_the_renames_puts_the_older_weights_back(
    tmp_path: Path, micro: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_random_checkpoint(tmp_path / "weights", architecture=micro, seed=1)
    before = digest(folder)
    rename = Path.rename
    count = 0

    def interrupted(path: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        return rename(path, target)

    # As where the system exchanges no two names in one step.
    monkeypatch.setattr(aside, "exchange_names", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_random_checkpoint(folder, architecture=micro, seed=2)
    assert digest(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_trained_weights_are_never_replaced(tmp_path: Path, micro: Architecture) -> None:
    (tmp_path / "denoising_unet_acc.pth").write_bytes(b"a month on eight GPUs")
    with pytest.raises(OutputError, match=f"{tmp_path}: already there, and not weights of ours"):
        write_random_checkpoint(tmp_path, architecture=micro)
    assert [path.name for path in tmp_path.iterdir()] == ["denoising_unet_acc.pth"]


def test_a_file_in_the_way_is_named(tmp_path: Path, micro: Architecture) -> None:
    (tmp_path / "weights").write_text("hello")
    with pytest.raises(OutputError, match="weights: already there"):
        write_random_checkpoint(tmp_path / "weights", architecture=micro)
