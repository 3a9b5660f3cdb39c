"""Networks run as their files were hashed, whatever happens to the files, on both CPU engines."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.network_files import NetworkFiles
from echoexport.runtime.engine.protocol import Backend, Engine, EngineOptions
from echoexport.runtime.errors import BundleError

NAME = "landmark_encoder"
WEIGHTS = f"{NAME}.bin"
LIBRARIES = {"openvino": "openvino", "ort": "onnxruntime"}
Change = Callable[[Path], object]


class Disturbed(Backend):
    """A backend in front of another that does something to a file just before that opens it."""

    def __init__(self, inner: Backend, change: Change, *, times: int = 1) -> None:
        self.name = inner.name
        self.in_memory = inner.in_memory
        self._inner = inner
        self._change = change
        self._left = times

    def unavailable(self) -> str | None:
        return self._inner.unavailable()

    def describe(self) -> str:
        return self._inner.describe()

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> Engine:
        return self._inner.open(graph, spec, options)

    def open_held(self, files: NetworkFiles, spec: SubnetSpec, options: EngineOptions) -> Engine:
        if self._left:
            self._left -= 1
            self._change(files.beside[0].path)
        return self._inner.open_held(files, spec, options)


@pytest.fixture(params=LIBRARIES)
def backend(request: pytest.FixtureRequest) -> Backend:
    pytest.importorskip(LIBRARIES[request.param])
    return load_backend(request.param)


def open_with(folder: Path, backend: Backend) -> Bundle:
    return Bundle(folder, read_manifest(folder), backend=backend, options=EngineOptions(threads=1))


def compute(bundle: Bundle) -> Any:
    (given,) = bundle.manifest.networks[NAME].inputs
    picture = np.random.default_rng(4).standard_normal(given.shape).astype(np.float32)
    (result,) = bundle.network(NAME)({given.name: picture}).values()
    return result


def replace_it(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(path.stat().st_size))
    other.replace(path)


def overwrite_it(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def cut_it(path: Path) -> None:
    os.truncate(path, 0)


CHANGES = [replace_it, overwrite_it, cut_it]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_its_hash_and_its_opening_never_runs(
    computing_bundle: Path, backend: Backend, change: Change
) -> None:
    with (
        open_with(computing_bundle, Disturbed(backend, change)) as bundle,
        pytest.raises(BundleError, match=rf"{WEIGHTS}: (sha256 is|0 bytes)") as caught,
    ):
        compute(bundle)
    assert "\n" not in str(caught.value)


def test_what_changes_at_every_opening_is_refused_as_such(
    computing_bundle: Path, backend: Backend
) -> None:
    def link_it(path: Path) -> None:
        path.with_name(f"link{len(list(path.parent.iterdir()))}").hardlink_to(path)

    with (
        open_with(computing_bundle, Disturbed(backend, link_it, times=9)) as bundle,
        pytest.raises(BundleError, match=rf"{WEIGHTS}: changed while it was opened; leave"),
    ):
        compute(bundle)


def test_a_link_that_another_process_makes_meanwhile_changes_nothing(
    computing_bundle: Path, backend: Backend
) -> None:
    def link_it(path: Path) -> None:
        path.with_name("link").hardlink_to(path)

    with open_with(computing_bundle, backend) as bundle:
        wanted = compute(bundle)
    with open_with(computing_bundle, Disturbed(backend, link_it)) as bundle:
        assert np.array_equal(compute(bundle), wanted)


def test_a_file_that_is_exchanged_and_put_back_is_opened_again(
    computing_bundle: Path, backend: Backend
) -> None:
    def exchange(path: Path) -> None:
        away = path.rename(path.with_name("away"))
        path.write_bytes(bytes(away.stat().st_size))
        away.replace(path)

    with open_with(computing_bundle, backend) as bundle:
        wanted = compute(bundle)
    with open_with(computing_bundle, Disturbed(backend, exchange)) as bundle:
        assert np.array_equal(compute(bundle), wanted)


def test_a_folder_that_takes_the_bundles_place_meanwhile_is_not_read(
    computing_bundle: Path, backend: Backend
) -> None:
    def take_its_place(path: Path) -> None:
        path.parent.rename(path.parent.with_name("away"))
        path.parent.mkdir()
        for name in (path.name, f"{NAME}.onnx"):
            path.with_name(name).write_bytes(b"other")

    with open_with(computing_bundle, backend) as bundle:
        wanted = compute(bundle)
    with open_with(computing_bundle, Disturbed(backend, take_its_place)) as bundle:
        assert np.array_equal(compute(bundle), wanted)


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_while_it_runs_makes_no_difference_and_is_noted(
    computing_bundle: Path, backend: Backend, change: Change
) -> None:
    with open_with(computing_bundle, backend) as bundle:
        wanted = compute(bundle)
        assert bundle.notes() == ()
        change(computing_bundle / WEIGHTS)
        assert np.array_equal(compute(bundle), wanted)
        (note,) = bundle.notes()
        assert f"{WEIGHTS} was changed meanwhile" in note


def test_no_file_of_a_bundle_is_mapped(computing_bundle: Path, backend: Backend) -> None:
    with open_with(computing_bundle, backend) as bundle:
        compute(bundle)
        assert str(computing_bundle) not in Path("/proc/self/maps").read_text("utf-8")


def test_an_onnxruntime_that_takes_no_weights_from_memory_reads_copies_of_its_own(
    computing_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("onnxruntime")
    with open_with(computing_bundle, load_backend("ort")) as bundle:
        wanted = compute(bundle)
    if hasattr(library.SessionOptions, "add_external_initializers_from_files_in_memory"):
        monkeypatch.delattr(
            library.SessionOptions, "add_external_initializers_from_files_in_memory"
        )
    with open_with(computing_bundle, load_backend("ort")) as bundle:
        assert np.array_equal(compute(bundle), wanted)
        cut_it(computing_bundle / WEIGHTS)
        assert np.array_equal(compute(bundle), wanted)
