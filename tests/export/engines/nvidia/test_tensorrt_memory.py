"""Memory for compiling: the estimate, what is free, and the refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.export.engines.nvidia import tensorrt_memory
from echoexport.export.engines.nvidia.tensorrt_memory import (
    MemoryNeed,
    estimate_memory,
    find_free_memory,
    find_need,
    require_memory,
)
from echoexport.runtime.device import detect_device
from echoexport.runtime.errors import BackendError

MEMINFO = (
    "MemTotal:       7607324 kB\nMemFree:  100 kB\n"
    "MemAvailable:   5000000 kB\nSwapFree:  3900000 kB\n"
)
SWAPS = """Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority
/dev/zram0                              partition\t2900000\t\t0\t\t5
/swapfile                               file\t\t1500000\t\t500000\t\t-2
"""


def test_free_is_memory_and_swap_on_disks_but_none_in_compressed_memory(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    assert find_free_memory(tmp_path) == 5_000_000 * 1024
    (tmp_path / "swaps").write_text(SWAPS)
    assert find_free_memory(tmp_path) == 6_000_000 * 1024


def test_this_machine_tells() -> None:
    if not Path("/proc/meminfo").exists():
        pytest.skip("no proc file system")
    free = find_free_memory()
    assert free is not None and free > 1_000_000


@pytest.mark.parametrize(
    "content", [None, b"", b"MemAvailable: much kB\n", b"MemAvailable:\n", b"\xff\xfe"]
)
def test_where_the_system_does_not_tell_free_memory_is_unknown(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "meminfo").write_bytes(content)
    assert find_free_memory(tmp_path) is None


def test_unknown_free_memory_is_no_reason_to_refuse(tmp_path: Path) -> None:
    need = MemoryNeed(10**12, None)
    require_memory(tmp_path / "graph.onnx", need)
    assert (
        need.describe()
        == "1000.0 GB were needed by estimate; close programs, add swap, or lower --workspace"
    )


@given(needed=st.integers(0, 10**12), free=st.integers(0, 10**12))
def test_a_build_is_refused_exactly_where_less_is_free_than_needed(needed: int, free: int) -> None:
    refused = False
    try:
        require_memory(Path("graph.onnx"), MemoryNeed(needed, free))
    except BackendError as error:
        refused = True
        assert f"{needed / 1e9:.1f} GB" in str(error) and f"{free / 1e9:.1f} GB" in str(error)
    assert refused == (free < needed)


@given(weights=st.integers(0, 10**11), more=st.integers(1, 10**9), workspace=st.integers(0, 10**11))
def test_more_weights_and_workspace_need_more(weights: int, more: int, workspace: int) -> None:
    assert estimate_memory(weights + more) > estimate_memory(weights) > weights
    assert estimate_memory(weights, workspace) == estimate_memory(weights) + workspace


@pytest.mark.parametrize(("kind", "counted"), [("jetson", 10**9), ("gpu", 0), ("cpu", 0)])
def test_the_workspace_counts_where_the_gpu_shares_the_memory(
    tmp_path: Path, kind: str, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = replace(detect_device(tmp_path, run=lambda command: None), kind=kind)
    monkeypatch.setattr(tensorrt_memory, "detect_device", lambda: here)
    graph = tmp_path / "net.onnx"
    graph.write_bytes(b"1" * 10)
    graph.with_suffix(".bin").write_bytes(b"1" * 1000)
    assert find_need(graph, workspace=10**9).needed == estimate_memory(1010) + counted
    assert find_need(graph, workspace=None).needed == estimate_memory(1010)
