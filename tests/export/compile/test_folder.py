"""A compiled bundle that is replaced is kept beside the new one, and put back when asked for."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.compile.bundle import CompileReport
from echoexport.export.compile.folder import previous_of, roll_back
from echoexport.runtime.backends.null import NullBackend
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.errors import BackendError, BundleError, OutputError, SettingError

Compile = Callable[..., tuple[CompileReport, list[str]]]


def version(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    """Let the null backend's library be of this version."""
    values = {"library": "null", "version": number, "os": "Linux", "arch": "x86_64"}
    monkeypatch.setattr(NullBackend, "fingerprint", lambda *_: dict(values))


def test_what_is_replaced_is_kept_and_can_be_put_back(
    compile_null: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    version(monkeypatch, "10.3")
    output = compile_null()[0].output
    assert output is not None
    version(monkeypatch, "10.7")
    compile_null()
    with pytest.raises(BackendError, match=r"version '10\.3' there, '10\.7' here"):
        roll_back(output)  # as long as the library is the newer one
    open_bundle(output).close()
    version(monkeypatch, "10.3")
    compiled = roll_back(output).compiled
    assert compiled is not None
    assert compiled.fingerprint["version"] == "10.3"
    with open_bundle(output) as bundle:
        assert bundle.self_test("vae_decoder").passed
    version(monkeypatch, "10.7")
    roll_back(output)  # and forth again
    open_bundle(output).close()


def test_the_last_good_one_outlives_compiles_that_change_nothing(
    compile_null: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    version(monkeypatch, "10.3")
    output = compile_null()[0].output
    assert output is not None
    version(monkeypatch, "10.7")
    compile_null()
    compile_null()
    compiled = read_manifest(previous_of(output)).compiled
    assert compiled is not None
    assert compiled.fingerprint["version"] == "10.3"


def test_a_spoilt_bundle_does_not_take_the_place_of_the_last_good_one(
    compile_null: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    version(monkeypatch, "1")
    output = compile_null()[0].output
    assert output is not None
    version(monkeypatch, "2")
    compile_null()
    engine = output / "engines" / "vae_decoder.json"
    size = engine.stat().st_size
    engine.unlink()
    engine.write_bytes(b"x" * size)
    version(monkeypatch, "3")
    compile_null()
    compiled = read_manifest(previous_of(output)).compiled
    assert compiled is not None
    assert compiled.fingerprint["version"] == "1"


def test_there_is_nothing_to_roll_back_to_at_first(compile_null: Compile) -> None:
    output = compile_null()[0].output
    assert output is not None
    with pytest.raises(OutputError, match=r"\.previous: no such compiled bundle"):
        roll_back(output)
    open_bundle(output).close()


def test_a_spoilt_previous_bundle_is_not_put_back(
    compile_null: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    version(monkeypatch, "1")
    output = compile_null()[0].output
    assert output is not None
    version(monkeypatch, "2")
    compile_null()
    shutil.rmtree(previous_of(output) / "self-test")
    version(monkeypatch, "1")
    with pytest.raises(BundleError, match="missing"):
        roll_back(output)
    assert (output / "manifest.json").is_file()


def test_a_lost_bundle_is_rolled_back_too(
    compile_null: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    version(monkeypatch, "1")
    output = compile_null()[0].output
    assert output is not None
    version(monkeypatch, "2")
    compile_null()
    shutil.rmtree(output)
    version(monkeypatch, "1")
    roll_back(output)
    open_bundle(output).close()
    assert not previous_of(output).exists()


def test_files_are_shared_with_the_cache_or_copied(
    compile_null: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, _ = compile_null()
    assert report.output is not None
    assert (report.output / "engines" / "vae_decoder.json").stat().st_nlink == 2

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    again = report.output.with_name("elsewhere")
    compile_null(again)
    assert (again / "engines" / "vae_decoder.json").stat().st_nlink == 1
    open_bundle(again).close()


def test_the_portable_bundle_is_never_the_output(compile_null: Compile, null_bundle: Path) -> None:
    with pytest.raises(SettingError, match="is the bundle itself"):
        compile_null(null_bundle)
    open_bundle(null_bundle).close()


def test_nothing_is_compiled_into_the_portable_bundle(
    compile_null: Compile, null_bundle: Path
) -> None:
    with pytest.raises(SettingError, match="lies within the bundle"):
        compile_null(null_bundle / "compiled")
    assert not (null_bundle / "compiled").exists()


def test_another_portable_bundle_is_not_replaced(
    compile_null: Compile, make_null_bundle: Callable[..., Path]
) -> None:
    other = make_null_bundle("other")
    with pytest.raises(OutputError, match="holds no compiled bundle"):
        compile_null(other)
    open_bundle(other).close()
