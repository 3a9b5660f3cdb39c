"""A network's inputs and outputs in a GPU's memory, kept there between calls."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.contract.spec import TensorSpec
from echoexport.runtime.engine.cuda import CudaRuntime
from echoexport.runtime.engine.held_arrays import Held, is_frozen


class DeviceInput:
    """One input. A frozen array that is there already is not copied again; see :class:`Held`."""

    def __init__(self, cuda: CudaRuntime, tensor: TensorSpec, owned: ExitStack) -> None:
        """``owned`` gives the memory back."""
        self.tensor = tensor
        self.address = cuda.malloc(_count_bytes(tensor))
        owned.callback(cuda.free, self.address)
        self._cuda = cuda
        self._owned = owned
        self._pinned: NDArray[Any] | None = None
        self._held = Held()

    def upload(self, array: NDArray[Any], stream: int) -> int:
        """Put a C-contiguous array of the tensor's shape and dtype there.

        Returns how many bytes were copied. Others than frozen ones pass through pinned
        memory, so that the copy needs no wait; the stream has to be empty. Frozen ones
        are copied once and are large: they are read where they are, and must live until
        the stream is done.
        """
        if self._held.is_same(array):
            return 0
        source = array
        if not is_frozen(array):
            source = self._find_pinned()
            np.copyto(source, array)
        self._cuda.upload(self.address, source, stream)
        self._held.hold(array)
        return array.nbytes

    def forget(self) -> None:
        """Know no more what is there, after an error."""
        self._held.forget()

    def _find_pinned(self) -> NDArray[Any]:
        if self._pinned is None:  # most inputs of the denoiser never need it
            self._pinned = _allocate_pinned(self._cuda, self.tensor, self._owned)
        return self._pinned


class DeviceOutput:
    """One output, and pinned memory that it is copied to."""

    def __init__(self, cuda: CudaRuntime, tensor: TensorSpec, owned: ExitStack) -> None:
        """``owned`` gives the memory back."""
        self.tensor = tensor
        self.address = cuda.malloc(_count_bytes(tensor))
        owned.callback(cuda.free, self.address)
        self._cuda = cuda
        self._pinned = _allocate_pinned(cuda, tensor, owned)

    def download(self, stream: int) -> int:
        """Begin to copy it to the host, in the stream's order; returns how many bytes."""
        self._cuda.download(self._pinned, self.address, stream)
        return self._pinned.nbytes

    def read(self) -> NDArray[Any]:
        """A copy of what arrived; the stream has to be done."""
        arrived: NDArray[Any] = self._pinned.copy()
        return arrived


def _allocate_pinned(cuda: CudaRuntime, tensor: TensorSpec, owned: ExitStack) -> NDArray[Any]:
    memory = cuda.host_alloc(_count_bytes(tensor))
    owned.callback(cuda.host_free, memory)
    shaped: NDArray[Any] = np.frombuffer(memory, tensor.dtype).reshape(tensor.shape)
    return shaped


def _count_bytes(tensor: TensorSpec) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64)) * np.dtype(tensor.dtype).itemsize
