"""Where a graph's nodes run: a GPU provider that takes none, or not all, is found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine import ort_providers
from echoexport.runtime.engine.ort_providers import CPU, CUDA_PROVIDER, TENSORRT_PROVIDER
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError

real = pytest.importorskip("onnxruntime")

Make = Callable[..., Any]
Graph = tuple[Path, SubnetSpec]


def test_a_silent_fall_back_to_the_cpu_is_an_error(
    make_ort: Make, open_ort: Make, gpu_backend: str, gpu_provider: str, arithmetic_graph: Graph
) -> None:
    make_ort(gives=(CPU,))
    with pytest.raises(
        BackendError, match=rf"asked for {gpu_provider}, got {CPU}: pip install"
    ) as caught:
        open_ort(gpu_backend, arithmetic_graph)
    assert "\n" not in str(caught.value)


def test_a_fall_back_from_tensorrt_to_cuda_is_an_error_too(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort(gives=(CUDA_PROVIDER, CPU))
    with pytest.raises(
        BackendError, match=rf"asked for {TENSORRT_PROVIDER}, got {CUDA_PROVIDER}, {CPU}"
    ):
        open_ort("ort_tensorrt", arithmetic_graph)


def test_the_librarys_own_fall_back_is_switched_off(
    make_ort: Make, open_ort: Make, gpu_backend: str, gpu_provider: str, arithmetic_graph: Graph
) -> None:
    fake = make_ort(runs_on=gpu_provider)
    open_ort(gpu_backend, arithmetic_graph)
    assert fake.disabled == len(fake.asked) == 1


def test_a_provider_that_claims_the_session_but_runs_nothing_is_an_error(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort(placement=((CPU, ("Sub", "Mul")),))
    with pytest.raises(
        BackendError,
        match=rf"not one node runs on {CUDA_PROVIDER}, all on {CPU}; use backend 'ort'",
    ):
        open_ort("ort_cuda", arithmetic_graph)


@pytest.mark.parametrize("records", [True, False], ids=["recorded", "from a profile"])
def test_nodes_on_the_cpu_are_named_in_the_notes(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph, records: bool
) -> None:
    fake = make_ort(
        placement=((CUDA_PROVIDER, ("Sub", "Sub", "Mul")), (CPU, ("Gelu", "Gelu", "Resize"))),
        records=records,
    )
    engine = open_ort("ort_cuda", arithmetic_graph)
    assert engine.notes == [
        f"{CUDA_PROVIDER}: 3 of 6 nodes run elsewhere: 2 Gelu on {CPU}, 1 Resize on {CPU}, "
        "which is slow"
    ]
    assert fake.settings[-1].enable_profiling is not records


def test_a_profile_leaves_no_files_behind(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    fake = make_ort(records=False)
    open_ort("ort_cuda", arithmetic_graph)
    assert not Path(fake.settings[-1].profile_file_prefix).parent.exists()


def test_nodes_that_tensorrt_leaves_to_cuda_are_named_without_alarm(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    make_ort(placement=((TENSORRT_PROVIDER, ("Mul",) * 9), (CUDA_PROVIDER, ("Sub",))))
    assert open_ort("ort_tensorrt", arithmetic_graph).notes == [
        f"{TENSORRT_PROVIDER}: 1 of 10 nodes run elsewhere: 1 Sub on {CUDA_PROVIDER}"
    ]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"cat": "Node", "name": "a_kernel_time"}]'])
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "profile.json").write_text(content)
    with pytest.raises(BackendError, match=r"profile\.json: not a profile of ONNX Runtime's"):
        ort_providers.read_placement(tmp_path / "profile.json", CUDA_PROVIDER)


def test_the_real_library_tells_where_nodes_run(arithmetic_graph: Graph) -> None:
    """What the double imitates, on the CPU provider."""
    if not hasattr(real.InferenceSession, "get_provider_graph_assignment_info"):
        pytest.skip("this onnxruntime records no placement")
    settings = ort_providers.make_gpu_settings(real, EngineOptions(), backend="ort")
    session = ort_providers.start_gpu_inference(
        real, arithmetic_graph[0], settings, providers=[(CPU, {})]
    )
    placement = ort_providers.find_placement(session, CPU)
    assert placement is not None
    assert sum(placement.nodes.values()) >= 2 and placement.describe() is None


def test_the_real_librarys_profile_tells_it_too(arithmetic_graph: Graph, tmp_path: Path) -> None:
    path, spec = arithmetic_graph
    settings = ort_providers.make_gpu_settings(real, EngineOptions(), backend="ort")
    settings.enable_profiling = True
    settings.profile_file_prefix = str(tmp_path / "nodes")
    session = ort_providers.start_gpu_inference(real, path, settings, providers=[(CPU, {})])
    session.run(None, {t.name: np.ones(t.shape, t.dtype) for t in spec.inputs})
    placement = ort_providers.read_placement(Path(session.end_profiling()), CPU)
    assert placement.nodes[CPU] >= 2 and not placement.elsewhere
