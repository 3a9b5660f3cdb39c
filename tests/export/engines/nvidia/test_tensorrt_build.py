"""Building engines in child processes: faults end in one message and leave nothing."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.engines import EngineSettings, tensorrt
from echoexport.export.engines.nvidia import tensorrt_build, tensorrt_process
from echoexport.export.engines.nvidia.tensorrt_build import build_with
from echoexport.export.engines.nvidia.tensorrt_child import TIMING_KEY
from echoexport.export.engines.nvidia.tensorrt_library import TENSORRT, TENSORRT_RTX
from echoexport.export.engines.nvidia.tensorrt_memory import MemoryNeed
from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.errors import BackendError, EchoExportError, OutputError
from echoexport.runtime.files.sealed_file import read_sealed, write_sealed

FAKE = Path(__file__).parents[3] / "fakes" / "fake_tensorrt.py"


FAKED = replace(TENSORRT, library=str(FAKE))


AXES = (("rows", 2), ("columns", 4))


SPEC = SubnetSpec(
    "tiny", (TensorSpec("x", "float16", AXES),), (TensorSpec("y", "float16", AXES),), {}
)


Fail = Callable[[str], None]


Build = Callable[..., tuple[Any, Path]]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """A function that switches a fault of the double on, "" for none."""
    return lambda fault: monkeypatch.setenv("FAKE_TENSORRT_FAULT", fault)


@pytest.fixture
def build(graph: Path, tmp_path: Path) -> Build:
    """A function that builds with the double, and gives the result and where the engine is."""
    output = tmp_path / "engines" / "tiny.plan"
    output.parent.mkdir()

    def run(
        *, product: Any = FAKED, report: Any = lambda text: None, timer: Any = None, **settings: Any
    ) -> Any:
        timing = {} if timer is None else {"timer": timer}
        wanted = EngineSettings(timeout=settings.pop("timeout", 120.0), **settings)
        return build_with(
            product, graph, SPEC, output, settings=wanted, report=report, **timing
        ), output

    return run


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_plan(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_bytes()))


@pytest.mark.parametrize("version", ["10.3", "10.16", "11.4"])
def test_an_engine_is_built_by_every_tensorrt(
    build: Build, graph: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_VERSION", version)
    built, output = build(workspace=10**9, level=2)
    assert read_plan(output) == {
        "fake": version,
        "onnx": str(graph),
        "outputs": ["y", "z"],
        "device": {"name": "Fake Orin", "compute_capability": "8.7"},
    }
    assert built.bytes == output.stat().st_size
    assert built.seconds > 0
    assert built.peak_bytes > built.bytes
    assert built.notes[0].startswith(f"built by TensorRT {version}.")
    assert left_in(output.parent) == ["tiny.plan"]


def test_the_builder_of_the_backend_uses_the_product_of_its_module(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt, "_PRODUCT", FAKED)
    settings = EngineSettings(timeout=120.0)
    output = tmp_path / "tiny.plan"
    tensorrt.build_engine(graph, SPEC, output, settings=settings, report=lambda text: None)
    assert read_plan(output)["fake"] == "10.3"


FAULTS = {
    "import": r"fake_tensorrt\.py does not load: libnvinfer\.so\.10: cannot open shared object "
    r"file",
    "old": r"^TensorRT 8\.6\.2 is too old: 10\.3 or newer is needed, which JetPack 6\.1 brings$",
    "no-parser": r"^TensorRT 10\.3\.0\.30 has no OnnxParser: .* install both anew",
    "no-workspace": r"^TensorRT 10\.3\.0\.30 has no set_memory_pool_limit: .* install both anew",
    "no-gpu": r"^TensorRT 10\.3\.0\.30 does not start here, it needs a GPU and a driver: "
    r".*no CUDA-capable device",
    "parser": r"tiny\.onnx: TensorRT 10\.3\.0\.30 refuses it: Resize the\.culprit: cubic is not "
    r"supported$",
    "none": r"tiny\.onnx: TensorRT 10\.3\.0\.30 refuses it: .*any implementation for node "
    r".*conv_in",
    "silent": r"tiny\.onnx: TensorRT 10\.3\.0\.30 refuses it: the builder gave no engine and no "
    r"reason$",
    "out-of-memory": r"tiny\.onnx: TensorRT 10\.3\.0\.30 ran out of memory "
    r"\(.*out of memory.*\): 1\.5 GB were needed",
    "memory-error": r"tiny\.onnx: TensorRT 10\.3\.0\.30 ran out of memory \(std::bad_alloc\): "
    r"1\.5 GB were needed",
    "kill": r"tiny\.onnx: TensorRT 10\.3\.0\.30 was killed, most likely for memory: 1\.5 GB were "
    r"needed by estimate, "
    r"16\.0 GB of memory and swap free; close programs, add swap, or lower --workspace$",
    "segfault": r"10\.3\.0\.30 died of SIGSEGV: .*the library's; last words; a fault of the "
    r"library: try a lower",
    "abort": r"10\.3\.0\.30 died of SIGABRT: .*the library's; last words; a fault of the library",
    "exit": r"10\.3\.0\.30 ended with exit code 3: chatter on the standard output; a fault of "
    r"the library",
    "disk": r"tiny\.plan: cannot be written: File too large$",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_in_its_message_leaves_nothing_and_a_retry_works(
    build: Build, fail: Fail, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = MemoryNeed(1_500_000_000, 16_000_000_000)
    monkeypatch.setattr(tensorrt_build, "find_need", lambda graph, *, workspace: need)
    fail(fault)
    with pytest.raises(EchoExportError, match=FAULTS[fault]) as caught:
        build(workspace=10**9, timing_cache=tmp_path / "timings" / "cache")
    assert isinstance(caught.value, OutputError if fault == "disk" else BackendError)
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path / "engines") == []
    assert left_in(tmp_path / "timings") == []
    fail("")
    _, output = build(workspace=10**9, timing_cache=tmp_path / "timings" / "cache")
    assert read_plan(output)["outputs"] == ["y", "z"]


def test_a_child_that_hangs_is_stopped_and_another_works(
    build: Build, fail: Fail, tmp_path: Path
) -> None:
    fail("hang")
    with pytest.raises(BackendError, match=r"took more than 2 s and was stopped; lower --level$"):
        build(timeout=2.0)
    assert left_in(tmp_path / "engines") == []
    fail("")
    assert build()[1].exists()


def test_a_failed_build_leaves_the_engine_that_was_there(build: Build, fail: Fail) -> None:
    _, output = build()
    before = output.read_bytes()
    fail("segfault")
    with pytest.raises(BackendError):
        build()
    assert output.read_bytes() == before
    assert left_in(output.parent) == ["tiny.plan"]


def test_too_little_memory_is_said_before_anything_is_built(
    build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    need = MemoryNeed(10_120_000_000, 3_000_000_000)
    monkeypatch.setattr(tensorrt_build, "find_need", lambda graph, *, workspace: need)
    monkeypatch.setattr(tensorrt_build, "run_child", None)
    wanted = (
        r"tiny\.onnx: not enough memory to compile it: 10\.1 GB were needed by estimate, "
        r"3\.0 GB .* free; close "
    )
    with pytest.raises(BackendError, match=wanted):
        build()
    assert left_in(tmp_path / "engines") == []


def test_a_builder_without_levels_and_progress_builds_all_the_same(
    build: Build, fail: Fail
) -> None:
    fail("no-level")
    _, output = build(level=5)
    assert output.exists()


def test_kernels_left_out_for_lack_of_memory_are_in_the_notes(build: Build, fail: Fail) -> None:
    fail("skipped")
    built, _ = build()
    assert any(
        note.startswith("2 kernels were left out for lack of memory") for note in built.notes
    )


def test_outputs_may_come_in_another_order_than_the_graphs(build: Build, fail: Fail) -> None:
    fail("reordered")
    _, output = build()
    assert read_plan(output)["outputs"] == ["z", "y"]


def test_progress_is_told_and_the_librarys_chatter_is_not(build: Build) -> None:
    told: list[str] = []
    build(report=told.append)
    assert told[0] == "build with TensorRT"
    assert told[1].endswith("7 layers")
    assert not any("chatter" in line for line in told)


def test_a_long_build_says_what_it_is_at(
    build: Build, fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_process, "HEARTBEAT", 0.2)

    def stop_at_the_line(text: str) -> None:
        if text.startswith("still at work after") and text.endswith(" s, Timing kernels"):
            raise EOFError(text)

    fail("hang")
    with pytest.raises(EOFError):
        build(report=stop_at_the_line)


def test_timings_are_kept_and_used_again(build: Build, tmp_path: Path) -> None:
    cache = tmp_path / "timings" / "cache"
    build(timing_cache=cache)
    first = read_timings(cache)
    built, _ = build(timing_cache=cache)
    assert read_timings(cache) == first
    assert not any("timing cache" in note for note in built.notes)
    assert left_in(cache.parent) == ["cache"]


def read_timings(path: Path) -> Any:
    content = read_sealed(path, key=TIMING_KEY)
    assert content is not None
    return json.loads(bytes(content))


def write_timings(
    *, version: str = "10.3.0.30", device: str = "Fake Orin", **entries: int
) -> bytes:
    made_by = {"version": version, "device": {"name": device, "compute_capability": "8.7"}}
    return json.dumps({"made_by": made_by, "entries": entries}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"\x00 no cache at all",
        write_timings(device="Other", tiny=1),
        write_timings(version="10.1.0.27", tiny=1),
    ],
    ids=["damaged", "of another device", "of another version"],
)
def test_a_timing_cache_that_cannot_be_used_is_started_anew(
    build: Build, tmp_path: Path, content: bytes
) -> None:
    cache = tmp_path / "cache"
    write_sealed(cache, content, key=TIMING_KEY)
    built, _ = build(timing_cache=cache)
    assert any(
        note.startswith("the timing cache is damaged or of another device") for note in built.notes
    )
    assert read_timings(cache)["entries"]["tiny"] != 1


def test_the_best_of_three_is_kept_with_its_timings(build: Build, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    write_sealed(cache, write_timings(other=1, tiny=2), key=TIMING_KEY)
    figures = iter([0.03, 0.01, 0.02])
    seen = []

    def timer(product: Any, engine: Path, spec: SubnetSpec, settings: EngineSettings) -> float:
        seen.append(engine.name)
        return next(figures)

    built, output = build(best_of=3, timing_cache=cache, timer=timer)
    assert len(set(seen)) == 3
    assert (
        "kept the quickest of 3 builds: 10.00 ms a call of 30.00, 10.00, 20.00 (measured)"
        in built.notes
    )
    entries = read_timings(cache)["entries"]
    assert entries["other"] == 1, "what other networks left there stays"
    assert entries["tiny"] != 2, "timed anew, or every build would be the same"
    assert left_in(output.parent) == ["tiny.plan"]
    assert left_in(tmp_path) == ["bundle", "cache", "engines"]


def test_without_a_device_to_time_on_the_first_build_is_kept_and_no_other_made(
    build: Build,
) -> None:
    told: list[str] = []
    built, output = build(best_of=4, timer=lambda *_: "no CUDA device", report=told.append)
    assert "not timed, so the first is kept: no CUDA device" in built.notes
    assert [line for line in told if line.startswith("build ")] == ["build 1 of 4 with TensorRT"]
    assert output.exists()


def test_a_second_build_that_dies_leaves_the_first(build: Build, fail: Fail) -> None:
    def timer(*_: Any) -> float:
        fail("kill")
        return 0.5

    built, output = build(best_of=2, timer=timer)
    assert any(
        note.startswith("build 2 of 2 failed, the best before it is kept: ") for note in built.notes
    )
    assert "kept the quickest of 1 builds: 500.00 ms a call of 500.00 (measured)" in built.notes
    assert left_in(output.parent) == ["tiny.plan"]


def test_ahead_of_time_nothing_is_timed_cached_or_built_twice(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_VERSION", "rtx-1.7")
    told: list[str] = []
    product = replace(TENSORRT_RTX, library=str(FAKE))
    built, output = build(
        product=product, best_of=3, timing_cache=tmp_path / "cache", report=told.append
    )
    assert read_plan(output)["device"] == {}
    assert [line for line in told if line.startswith("build ")] == ["build with TensorRT-RTX"]
    assert not (tmp_path / "cache").exists()
    assert built.notes == ("built by TensorRT-RTX 1.7.1.116",)


def test_an_interrupt_ends_the_child(
    build: Build, fail: Fail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **keywords: Any) -> subprocess.Popen[str]:
        started.append(popen(*arguments, **keywords))
        return started[-1]

    def interrupt(text: str) -> None:
        if text.startswith("parsed"):
            raise KeyboardInterrupt

    monkeypatch.setattr(tensorrt_process.subprocess, "Popen", start)
    fail("hang")
    with pytest.raises(KeyboardInterrupt):
        build(report=interrupt)
    assert started[0].poll() == -signal.SIGKILL
    assert left_in(tmp_path / "engines") == []
