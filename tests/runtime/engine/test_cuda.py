"""CUDA's calls on a fake CUDA: each error has its name and a fix."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.engine.cuda import describe_bytes, find_cuda_trouble, open_cuda
from echoexport.runtime.errors import DeviceError


def test_bytes_go_to_the_device_and_come_back(cuda: Any) -> None:
    runtime = open_cuda()
    stream = runtime.create_stream()
    address = runtime.malloc(64)
    given = np.arange(16, dtype=np.float32)
    found = np.zeros(16, np.float32)
    runtime.upload(address, given, stream)
    runtime.download(found, address, stream)
    runtime.synchronize(stream)
    np.testing.assert_array_equal(found, given)


def test_pinned_memory_is_read_when_the_stream_gets_there(cuda: Any) -> None:
    runtime = open_cuda()
    stream = runtime.create_stream()
    address = runtime.malloc(4)
    pinned = runtime.host_alloc(4)
    pinned[:] = 1
    runtime.upload(address, pinned, stream)
    pinned[:] = 2
    runtime.synchronize(stream)
    assert cuda.read(address, 4) == bytes([2, 2, 2, 2])


def test_all_that_is_given_back_is_free_again(cuda: Any) -> None:
    runtime = open_cuda()
    stream = runtime.create_stream()
    address = runtime.malloc(8)
    pinned = runtime.host_alloc(8)
    runtime.begin_capture(stream)
    ready = runtime.end_capture(stream)
    assert cuda.live == {"memory": 1, "pinned": 1, "streams": 1, "graphs": 1}
    runtime.destroy_graph(ready)
    runtime.host_free(pinned)
    runtime.free(address)
    runtime.destroy_stream(stream)
    assert cuda.live == {}


def test_recorded_work_runs_only_when_it_is_launched(cuda: Any) -> None:
    runtime = open_cuda()
    stream = runtime.create_stream()
    done = []
    runtime.begin_capture(stream)
    cuda.enqueue(stream, lambda: done.append(1))
    ready = runtime.end_capture(stream)
    runtime.synchronize(stream)
    assert done == []
    runtime.launch(ready, stream)
    runtime.launch(ready, stream)
    runtime.synchronize(stream)
    assert done == [1, 1]


def test_a_capture_that_went_wrong_leaves_the_stream_usable(cuda: Any) -> None:
    runtime = open_cuda()
    stream = runtime.create_stream()
    done = []
    runtime.begin_capture(stream)
    cuda.spoil_capture(stream)
    with pytest.raises(
        DeviceError, match=r"cudaStreamEndCapture failed: cudaErrorStreamCaptureInvalidated"
    ):
        runtime.end_capture(stream)
    runtime.abandon_capture(stream)
    cuda.enqueue(stream, lambda: done.append(1))
    runtime.synchronize(stream)
    assert done == [1]


def test_out_of_memory_says_how_much_was_wanted_and_is_free_and_what_to_do(
    make_cuda: Callable[..., Any],
) -> None:
    make_cuda(memory=3 << 20)
    runtime = open_cuda()
    runtime.malloc(2 << 20)
    with pytest.raises(DeviceError) as caught:
        runtime.malloc(2 << 20)
    assert str(caught.value) == (
        "CUDA: cudaMalloc of 2.0 MiB failed: cudaErrorMemoryAllocation (out of memory), 1.0 "
        "MiB of 3.0 MiB are free; "
        "close other programs, or take a bundle with a smaller picture or window"
    )


def test_an_error_of_a_streams_work_is_told_at_the_wait(cuda: Any) -> None:
    runtime = open_cuda()
    stream = runtime.create_stream()
    cuda.enqueue(stream, lambda: cuda.write(1, b"beside every buffer"))
    with pytest.raises(DeviceError, match=r"cudaErrorIllegalAddress .*; start the program again"):
        runtime.synchronize(stream)


def test_giving_back_raises_nothing_even_after_an_error(cuda: Any, cuda_errors: Any) -> None:
    runtime = open_cuda()
    address = runtime.malloc(4)
    cuda.fail("cudaFree", cuda_errors.cudaErrorIllegalAddress)
    runtime.free(address)
    assert cuda.calls["cudaFree"] == 1


def test_a_function_that_this_cuda_python_lacks_is_named(cuda: Any) -> None:
    cuda.remove("cudaGraphLaunch")
    with pytest.raises(DeviceError, match=r"this cuda-python has no cudaGraphLaunch; pip install"):
        open_cuda().launch(1, 2)


def test_the_device_is_described(cuda: Any) -> None:
    found = open_cuda().find_device()
    assert (found.name, found.compute_capability, found.memory, found.integrated) == (
        "Fake Orin",
        "8.7",
        8 << 30,
        True,
    )


def test_the_older_name_of_the_module_is_taken_too(
    make_cuda: Callable[..., Any], monkeypatch: Any
) -> None:
    fake = make_cuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    monkeypatch.setitem(sys.modules, "cuda.cudart", fake)
    assert open_cuda().count_devices() == 1


def test_where_all_is_well_nothing_is_said(cuda: Any) -> None:
    assert find_cuda_trouble() is None


def test_a_driver_older_within_its_major_version_is_no_trouble(
    make_cuda: Callable[..., Any],
) -> None:
    make_cuda(library=12090, driver=12060)
    assert find_cuda_trouble() is None


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"driver": 0}, "no NVIDIA driver is installed (libcuda.so.1 is missing)"),
        (
            {"library": 13050, "driver": 12060},
            "the NVIDIA driver knows CUDA 12.6 only and cuda-python is for 13.5: update the "
            "driver, or "
            "pip install 'cuda-python==12.6.*'",
        ),
        (
            {"devices": 0},
            "CUDA: cudaGetDeviceCount failed: cudaErrorNoDevice (some error); "
            "this process sees no NVIDIA GPU",
        ),
    ],
    ids=["no driver", "old driver", "no GPU"],
)
def test_each_thing_that_is_missing_has_its_line(
    make_cuda: Callable[..., Any], settings: dict[str, int], line: str
) -> None:
    make_cuda(**settings)
    assert find_cuda_trouble() == line


def test_cuda_python_that_is_not_installed_is_told_with_the_fix(
    make_cuda: Callable[..., Any], monkeypatch: Any
) -> None:
    make_cuda()
    for name in ("cuda.bindings.runtime", "cuda.cudart"):
        monkeypatch.setitem(sys.modules, name, None)
    assert (find_cuda_trouble() or "").startswith(
        "cuda-python is not installed: pip install cuda-python (on "
    )


def test_older_wheels_that_raise_without_a_driver_are_a_line_too(cuda: Any) -> None:
    cuda.raising["cudaDriverGetVersion"] = 'Function "cuDriverGetVersion" not found'
    line = find_cuda_trouble() or ""
    assert line == (
        'CUDA: cudaDriverGetVersion failed: Function "cuDriverGetVersion" not found; '
        "is NVIDIA's driver installed?"
    )


def test_whatever_a_broken_installation_raises_is_a_line(cuda: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(cuda, "library", None)
    assert (find_cuda_trouble() or "").startswith("CUDA does not work: TypeError: ")


@pytest.mark.parametrize(
    ("size", "text"),
    [(16, "16 bytes"), (1 << 19, "0.5 MiB"), (3 << 20, "3.0 MiB"), (3 << 29, "1.5 GiB")],
)
def test_sizes_are_told_in_readable_units(size: int, text: str) -> None:
    assert describe_bytes(size) == text
