"""A bundle's files: one that is not what the manifest says is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.manifests import edit_manifest

from echoexport.runtime import open_bundle
from echoexport.runtime.errors import BundleError


@pytest.mark.parametrize("name", ["audio_encoder.bin", "self-test/vae_encoder.npz"])
def test_a_missing_file_is_refused_with_its_name(null_bundle: Path, name: str) -> None:
    (null_bundle / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}: missing"):
        open_bundle(null_bundle)


def test_a_folder_in_the_place_of_a_file_is_refused(null_bundle: Path) -> None:
    (null_bundle / "vae_decoder.bin").unlink()
    (null_bundle / "vae_decoder.bin").mkdir()
    with pytest.raises(BundleError, match=r"vae_decoder\.bin: missing"):
        open_bundle(null_bundle)


def test_a_file_of_another_size_is_refused_when_the_bundle_is_opened(null_bundle: Path) -> None:
    with (null_bundle / "reference_unet.bin").open("ab") as file:
        file.write(b"!")
    with pytest.raises(BundleError, match=r"reference_unet\.bin: 26 bytes, the manifest says 25"):
        open_bundle(null_bundle)


@pytest.mark.parametrize("suffix", ["bin", "onnx"])
def test_a_changed_file_of_the_same_size_is_refused_before_its_network_opens(
    null_bundle: Path, suffix: str
) -> None:
    path = null_bundle / f"landmark_encoder.{suffix}"
    path.write_bytes(path.read_bytes().swapcase())
    with open_bundle(null_bundle) as bundle:
        bundle.network("vae_encoder")
        with pytest.raises(
            BundleError,
            match=rf"landmark_encoder\.{suffix}: sha256 is [0-9a-f]{{64}}, the manifest",
        ):
            bundle.network("landmark_encoder")


def test_a_linked_file_is_refused_even_if_its_content_is_right(
    null_bundle: Path, tmp_path: Path
) -> None:
    path = null_bundle / "vae_decoder.bin"
    (tmp_path / "elsewhere.bin").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.bin")
    with pytest.raises(BundleError, match=r"vae_decoder\.bin: is a symbolic link"):
        open_bundle(null_bundle)


def test_a_linked_subfolder_is_refused_even_if_its_files_are_right(
    null_bundle: Path, tmp_path: Path
) -> None:
    (null_bundle / "self-test").rename(tmp_path / "elsewhere")
    (null_bundle / "self-test").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=r"self-test: is a symbolic link"):
        open_bundle(null_bundle)


def test_checking_the_files_gives_every_name(null_bundle: Path) -> None:
    with open_bundle(null_bundle) as bundle:
        assert sorted(bundle.check_files()) == sorted(bundle.manifest.files)


def test_checking_the_files_finds_a_change_made_after_opening(null_bundle: Path) -> None:
    with open_bundle(null_bundle) as bundle:
        path = null_bundle / "vae_decoder.onnx"
        path.write_bytes(path.read_bytes().swapcase())
        with pytest.raises(BundleError, match=r"vae_decoder\.onnx: sha256 is"):
            list(bundle.check_files())


@pytest.mark.parametrize("name", ["notes.txt", "self-test/more.npz", ".hidden"])
def test_checking_the_files_finds_one_that_is_not_listed(null_bundle: Path, name: str) -> None:
    (null_bundle / name).write_text("new")
    with (
        open_bundle(null_bundle) as bundle,
        pytest.raises(BundleError, match=rf"{name}: not in the manifest"),
    ):
        list(bundle.check_files())


def test_checking_the_files_finds_a_linked_folder_that_is_not_listed(
    null_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (null_bundle / "extra").symlink_to(tmp_path / "outside")
    with (
        open_bundle(null_bundle) as bundle,
        pytest.raises(BundleError, match=r"extra: not in the manifest"),
    ):
        list(bundle.check_files())


def test_a_file_that_cannot_be_read_is_refused_with_its_name(
    null_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("echoexport.runtime.files.held_file.HeldFile._read", fail)
    with (
        open_bundle(null_bundle) as bundle,
        pytest.raises(BundleError, match=r"vae_encoder\.onnx: cannot be read: In"),
    ):
        bundle.network("vae_encoder")


def test_a_file_name_too_long_for_any_disk_is_refused(null_bundle: Path) -> None:
    entry = {"sha256": "", "bytes": 0}
    edit_manifest(null_bundle, lambda data: data["files"].update({"n" * 300: entry}))
    with pytest.raises(BundleError, match=r"nnn: (cannot be read|missing)"):
        open_bundle(null_bundle)
