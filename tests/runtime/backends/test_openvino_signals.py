"""Ctrl-C reaches Python whatever became of OpenVINO's networks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from echoexport.runtime.backends.openvino import open_core
from echoexport.runtime.contract.spec import SubnetSpec

Graph = tuple[Path, SubnetSpec]

CLOSE_AND_INTERRUPT = """
import gc, signal, sys, threading
from pathlib import Path
from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.spec import TOLERANCES, SubnetSpec, TensorSpec
from echoexport.runtime.engine.protocol import EngineOptions

noise, reference, product = (
    TensorSpec(name, "float32", (("batch", 1), ("width", 4)))
    for name in ("noise", "reference", "product")
)
spec = SubnetSpec("small", (noise, reference), (product,), TOLERANCES)
engines = [load_backend("openvino").open(Path(sys.argv[1]), spec, EngineOptions())]

def close():
    engines.pop().close()
    gc.collect()

thread = threading.Thread(target=close)
thread.start()
thread.join()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_is_heard_after_another_thread_closed_a_network(
    small_graph: Callable[[str], Graph],
) -> None:
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", CLOSE_AND_INTERRUPT, str(small_graph("float32")[0])]
    done = subprocess.run(command, timeout=100, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n")  # a crash is -11


def test_threads_that_ask_for_openvinos_core_at_once_have_the_same() -> None:
    pytest.importorskip("openvino")
    with ThreadPoolExecutor(4) as pool:
        cores = list(pool.map(lambda _: open_core(), range(8)))
    assert {id(core) for core in cores} == {id(open_core())}
