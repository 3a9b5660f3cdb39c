"""A network's inputs and outputs on the device: copied when they have to be, and given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.contract.spec import TensorSpec
from echoexport.runtime.engine.cuda import CudaRuntime
from echoexport.runtime.engine.device_arrays import DeviceInput, DeviceOutput
from echoexport.runtime.engine.held_arrays import freeze
from echoexport.runtime.errors import DeviceError

TENSOR = TensorSpec("latents", "float16", (("batch", 2), ("width", 3)))
BYTES = 12  # six values of two


@pytest.fixture
def owned() -> Iterator[ExitStack]:
    """What gives the memory back at the end."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def runtime(cuda: Any) -> CudaRuntime:
    """CUDA's calls on the fake GPU."""
    return CudaRuntime(cuda)


def values(first: float) -> np.ndarray:
    return (np.arange(6, dtype=np.float16) + np.float16(first)).reshape(2, 3)


def read_back(runtime: CudaRuntime, given: DeviceInput, stream: int) -> np.ndarray:
    found = np.empty((2, 3), np.float16)
    runtime.download(found, given.address, stream)
    runtime.synchronize(stream)
    return found


def test_what_goes_up_is_there_once_the_stream_is_done(
    runtime: CudaRuntime, owned: ExitStack
) -> None:
    stream = runtime.create_stream()
    given = DeviceInput(runtime, TENSOR, owned)
    assert given.upload(values(5), stream) == BYTES
    np.testing.assert_array_equal(read_back(runtime, given, stream), values(5))


def test_an_array_that_can_change_goes_up_by_pinned_memory_at_every_call(
    runtime: CudaRuntime, owned: ExitStack, cuda: Any
) -> None:
    stream = runtime.create_stream()
    given = DeviceInput(runtime, TENSOR, owned)
    array = values(0)
    for number in range(2):
        array += np.float16(number)
        assert given.upload(array, stream) == BYTES
        np.testing.assert_array_equal(read_back(runtime, given, stream), array)
    up = [pinned for way, _, pinned in cuda.copies if way == "up"]
    assert up == [True, True]


def test_a_frozen_array_goes_up_once_and_needs_no_pinned_memory(
    runtime: CudaRuntime, owned: ExitStack, cuda: Any
) -> None:
    stream = runtime.create_stream()
    given = DeviceInput(runtime, TENSOR, owned)
    array = freeze(values(1))
    assert [given.upload(array, stream) for _ in range(3)] == [BYTES, 0, 0]
    np.testing.assert_array_equal(read_back(runtime, given, stream), array)
    assert "pinned" not in cuda.live


def test_another_frozen_array_with_the_same_values_goes_up(
    runtime: CudaRuntime, owned: ExitStack
) -> None:
    stream = runtime.create_stream()
    given = DeviceInput(runtime, TENSOR, owned)
    given.upload(freeze(values(1)), stream)
    assert given.upload(freeze(values(1)), stream) == BYTES


def test_what_was_forgotten_goes_up_again(runtime: CudaRuntime, owned: ExitStack) -> None:
    stream = runtime.create_stream()
    given = DeviceInput(runtime, TENSOR, owned)
    array = freeze(values(1))
    given.upload(array, stream)
    given.forget()
    assert given.upload(array, stream) == BYTES


def test_an_output_is_read_as_a_copy_that_later_calls_leave_alone(
    runtime: CudaRuntime, owned: ExitStack
) -> None:
    stream = runtime.create_stream()
    output = DeviceOutput(runtime, TENSOR, owned)
    found = []
    for first in (3, 40):
        runtime.upload(output.address, values(first), stream)
        assert output.download(stream) == BYTES
        runtime.synchronize(stream)
        found.append(output.read())
    np.testing.assert_array_equal(found[0], values(3))
    np.testing.assert_array_equal(found[1], values(40))
    assert found[0].dtype == np.float16


def test_all_memory_goes_back_with_its_owner(runtime: CudaRuntime, cuda: Any) -> None:
    with ExitStack() as stack:
        given = DeviceInput(runtime, TENSOR, stack)
        DeviceOutput(runtime, TENSOR, stack)
        given.upload(values(0), runtime.create_stream())
        assert cuda.live["memory"] == 2
        assert cuda.live["pinned"] == 2
    assert cuda.live.keys() == {"streams"}


def test_no_memory_for_pinned_pages_still_gives_the_devices_back(
    runtime: CudaRuntime, cuda: Any, cuda_errors: Any
) -> None:
    cuda.fail("cudaHostAlloc", cuda_errors.cudaErrorMemoryAllocation)
    with ExitStack() as stack, pytest.raises(DeviceError, match="cudaHostAlloc of 12 bytes"):
        DeviceOutput(runtime, TENSOR, stack)
    assert cuda.live == {}
