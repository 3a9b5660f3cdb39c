"""The data plane of the Open Inference Protocol: what there is, and one network run once.

REST and gRPC both call it, and nothing here knows of either.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

import numpy as np

from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.device.reading import package_version
from echoexport.runtime.errors import BackendError, CapacityError, DeviceError, UnknownNameError
from echoexport.runtime.live.opening import find_host
from echoexport.runtime.serve.figures import ServeFigures
from echoexport.runtime.serve.inference.tensors import (
    SentTensor,
    choose_outputs,
    count_bytes,
    read_tensors,
)
from echoexport.runtime.serve.refusals import RefusedError, explain_error, refuse

SERVER = "echoexport"
EXTENSIONS = ("binary_tensor_data",)
"""Of the protocol, that are spoken here."""
VERSION = "1"
"""Of every network: a bundle holds one of each."""

# How the figures call what went well, who left before it did, and networks that there are not.
_DONE = "done"
_LEFT = "left"
_UNKNOWN = "unknown"
_MOST_WAITING = 4
_PATIENCE = 60.0  # seconds that a request waits for a worker, and then for its engine
_LOOK = 0.2  # seconds between two looks whether the server stops
_HEADS = 1 << 20  # bytes of a request beside its tensors


@dataclass(frozen=True)
class InferenceRequest:
    """One network, to be run once."""

    network: str
    """Its name."""
    version: str
    """"1", or "" for whichever there is."""
    inputs: tuple[SentTensor, ...]
    """Each input once, in any order."""
    outputs: tuple[str, ...] = ()
    """Those that are wanted, in the order that they are wanted in; () for all."""
    identity: str = ""
    """The client's own, given back."""


@dataclass(frozen=True)
class InferenceAnswer:
    """What a network gave."""

    network: str
    """Its name."""
    identity: str
    """The request's."""
    tensors: tuple[tuple[TensorSpec, np.ndarray], ...]
    """Each output that was wanted, C-contiguous in its spec's dtype."""


class InferencePlane:
    """Runs networks on the engines and workers of the live sessions, after all of their work.

    Any thread may call.
    """

    def __init__(self, bundle: Bundle, figures: ServeFigures) -> None:
        """``figures`` count each request that is looked at."""
        self._bundle = bundle
        self._figures = figures
        self._specs: dict[str, SubnetSpec] = {
            name: entry.describe(name) for name, entry in bundle.manifest.networks.items()
        }
        # Half of the workers at most, so that a long call never stands before all sessions.
        self._most_running = max(1, find_host(bundle).workers.count // 2)
        self._running = threading.Semaphore(self._most_running)
        self._admitted = 0
        self._lock = threading.Lock()
        self._warm = False
        self._closed = False

    def close(self) -> None:
        """Let those who wait go, and take no other."""
        self._closed = True

    @property
    def ready(self) -> bool:
        """Whether every network is open."""
        return self._warm and not self._closed

    @property
    def most_at_once(self) -> int:
        """Requests that run or wait."""
        return self._most_running + _MOST_WAITING

    @property
    def most_request(self) -> int:
        """Bytes that a request may have: those of the largest network's inputs, and its heads."""
        return _HEADS + max(count_bytes(spec.inputs) for spec in self._specs.values())

    @property
    def most_answer(self) -> int:
        """Bytes that an answer may have."""
        return _HEADS + max(count_bytes(spec.outputs) for spec in self._specs.values())

    @property
    def platform(self) -> str:
        """What runs the networks."""
        return f"echoexport_{self._bundle.backend.name}"

    @property
    def release(self) -> str:
        """Of this package; "0" where it runs from its sources alone."""
        return package_version("echoexport") or "0"

    def warm_up(self) -> None:
        """Open every network. Raises as :meth:`Bundle.network` does."""
        host = find_host(self._bundle)
        for name in self._specs:
            host.network(name)
        self._warm = True

    def find(self, name: str, version: str = "") -> SubnetSpec:
        """The network of this name and version; version "" is whichever there is.

        Raises:
            UnknownNameError: there is none.
        """
        if name not in self._specs:
            raise UnknownNameError("network", name[:60], known=self._specs)
        if version not in ("", VERSION):
            raise UnknownNameError(f"version of {name}", version[:60], known=(VERSION,))
        return self._specs[name]

    @contextmanager
    def admit(self, network: str, version: str = "") -> Iterator[None]:
        """A place for one request, to be taken before its tensors are; counted when it is over.

        Raises:
            UnknownNameError: no such network or version.
            CapacityError: as many as may be run or wait.
            RefusedError: the networks are not open yet, or the server stops.
        """
        begun = monotonic()
        outcome = _DONE
        try:
            self.find(network, version)
            with self._take_place():
                yield
        except BaseException as error:
            outcome = _name_outcome(error)
            raise
        finally:
            # A client's own names are no labels: there would be no end to them.
            known = network if network in self._specs else _UNKNOWN
            self._figures.count_inference(known, outcome, monotonic() - begun)

    @contextmanager
    def _take_place(self) -> Iterator[None]:
        with self._lock:
            if not self.ready:
                raise RefusedError(refuse(503, "the server stops or warms up"))
            if self._admitted >= self.most_at_once:
                raise CapacityError(
                    f"{self._admitted} requests run or wait, and no more may; try again"
                )
            self._admitted += 1
        try:
            yield
        finally:
            with self._lock:
                self._admitted -= 1

    def infer(self, request: InferenceRequest) -> InferenceAnswer:
        """Run one network; returns once it has.

        Raises:
            UnknownNameError: no such network or version.
            InputError: an input or output that is not the network's, see
                :func:`read_tensors`.
            CapacityError: the live sessions left no worker free in time.
            BackendError: the engine failed.
            RefusedError: the server stops.
        """
        spec = self.find(request.network, request.version)
        wanted = choose_outputs(spec, request.outputs)
        arrays = read_tensors(spec, request.inputs)
        found = self._run(request.network, arrays)
        tensors = tuple(
            (tensor, np.ascontiguousarray(found[tensor.name], tensor.dtype)) for tensor in wanted
        )
        return InferenceAnswer(request.network, request.identity, tensors)

    def _run(self, name: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        until = monotonic() + _PATIENCE
        while not self._running.acquire(timeout=_LOOK):
            self._look_at_time(until)
        host = find_host(self._bundle)
        future: Future[dict[str, np.ndarray]] = Future()
        future.add_done_callback(lambda _: self._running.release())

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(host.network(name)(arrays))
            except BaseException as error:  # it belongs to whoever waits
                future.set_exception(error)

        # After everything that a session has a time for.
        host.workers.submit("inference", work, due=math.inf, done=lambda seconds: None)
        try:
            return self._wait(future, until)
        except DeviceError as error:
            host.note_failure(error)
            raise

    def _wait(self, future: Future[dict[str, np.ndarray]], until: float) -> dict[str, np.ndarray]:
        while True:
            try:
                return future.result(timeout=_LOOK)
            except (LateError, TimeoutError):
                if future.done():  # by now; or it is the engine's own error, of that kind
                    return future.result()
            if future.running() and monotonic() > until + _PATIENCE:
                raise BackendError("the engine gives no answer; the request is given up")
            if not future.running():
                try:
                    self._look_at_time(until)
                except BaseException:
                    if future.cancel():
                        raise

    def _look_at_time(self, until: float) -> None:
        if self._closed:
            raise RefusedError(refuse(503, "the server stops"))
        if monotonic() > until:
            raise CapacityError(
                f"no worker was free for {_PATIENCE:g} s: the live sessions take them all"
            )


def _name_outcome(error: BaseException) -> str:
    """The kind of a refusal, of which there are few; what is no error is a client that left."""
    return explain_error(error).kind if isinstance(error, Exception) else _LEFT
