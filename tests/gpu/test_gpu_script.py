"""The script that proves a GPU and its benchmark, as far as a CPU can.

Plans, budgets, readers, files.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
BENCHMARKS = HERE.parent / "benchmarks"
ROOT = HERE.parent.parent


def load(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> Any:
    return load(HERE / "run_gpu_tests.py")


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    """The benchmark, with its neighbours found as when it is run from its own folder."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield load(BENCHMARKS / "bench_denoiser_gpu.py")
    finally:
        sys.path.remove(str(BENCHMARKS))


def passing(script: Any, seconds: float = 1.0, **how: Any) -> Any:
    return script.Step(
        "a", seconds, lambda left: script.Outcome("passed", details={"left": left}, **how)
    )


def test_without_a_gpu_every_step_is_skipped_with_the_reason_and_written(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "find_trouble", lambda device: "no GPU here")
    assert script.main(["--output", str(tmp_path / "deep" / "results.json")]) == 0
    results = json.loads((tmp_path / "deep" / "results.json").read_text())
    assert {
        name: (step["state"], step["reason"]) for name, step in results["steps"].items()
    } == dict.fromkeys(("tests", "parity", "benchmark"), ("skipped", "no GPU here"))
    assert results["schema"] == 1
    assert results["conditions"]["python"] and results["conditions"]["date"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["results.json"]


def test_a_dry_run_names_steps_and_backends_and_writes_nothing(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--dry-run", "--output", str(tmp_path / "results.json")]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert list(plan["steps"]) == ["tests", "parity", "benchmark"]
    assert list(plan["backends"]) == ["ort_cuda", "ort_tensorrt", "tensorrt", "tensorrt_rtx"]
    assert list(tmp_path.iterdir()) == []


def test_all_of_it_ends_within_eight_minutes(script: Any) -> None:
    assert script.make_parser().parse_args([]).budget < 480


def test_a_step_gets_its_limit_and_no_more_than_is_left(script: Any) -> None:
    now = iter([0.0, 0.0, 0.0, 90.0, 90.0, 90.0, 95.0])
    steps = [passing(script, 60), passing(script, 60)]
    steps[1] = script.Step("b", 60, steps[1].run)
    found = script.run_steps(
        steps, budget=100, trouble=None, keep=lambda _: None, clock=lambda: next(now)
    )
    assert [
        (name, outcome.details["left"], outcome.seconds) for name, outcome in found.items()
    ] == [
        ("a", 60, 90.0),
        ("b", 10, 5.0),
    ]


def test_a_step_without_time_is_skipped_and_says_so(script: Any) -> None:
    now = iter([0.0, 200.0, 200.0, 200.0])
    found = script.run_steps(
        [passing(script)], budget=100, trouble=None, keep=lambda _: None, clock=lambda: next(now)
    )
    assert (found["a"].state, found["a"].reason) == ("skipped", "no time left of 100 s")


def test_results_are_kept_after_every_step(script: Any) -> None:
    kept: list[list[str]] = []
    steps = [
        passing(script),
        script.Step("b", 1.0, lambda left: script.Outcome("failed", "broken")),
    ]
    script.run_steps(steps, budget=100, trouble=None, keep=lambda found: kept.append(list(found)))
    assert kept == [["a"], ["a", "b"]]


def test_a_failed_step_is_the_exit_code(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "find_trouble", lambda device: None)
    failing = script.Step("tests", 1.0, lambda left: script.Outcome("failed", "2 tests failed"))
    monkeypatch.setattr(script, "plan_steps", lambda options, folder: [failing])
    assert script.main(["--output", str(tmp_path / "results.json")]) == 1
    assert (
        json.loads((tmp_path / "results.json").read_text())["steps"]["tests"]["reason"]
        == "2 tests failed"
    )


@pytest.mark.parametrize(
    ("code", "seconds", "reason"),
    [
        ("import time; time.sleep(30)", 0.5, "took more than 0 s"),
        ("import os; os.abort()", 20, "exit code -6"),
        (
            "raise SystemExit('CUDA error: illegal access')",
            20,
            "exit code 1: CUDA error: illegal access",
        ),
        ("print('nothing to read')", 20, "exit code 0: nothing to read"),
    ],
)
def test_a_child_that_hangs_dies_or_says_nothing_costs_its_step(
    script: Any, code: str, seconds: float, reason: str
) -> None:
    found = script.run_child([sys.executable, "-c", code], seconds, read=script.read_parity)
    assert (found.state, found.reason) == ("failed", reason)


JUNIT = """<testsuites>
<testsuite tests="{tests}" failures="{failures}" errors="0" skipped="{skipped}">
<testcase name="one">{one}</testcase><testcase name="two"><skipped message="no GPU"/></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("one", "counts", "state", "reason"),
    [
        ("", (2, 0, 1), "passed", ""),
        ('<failure message="wrong"/>', (2, 1, 1), "failed", "1 tests failed"),
        ('<skipped message="no GPU"/>', (2, 0, 2), "skipped", "no GPU"),
        ("", (0, 0, 0), "failed", "no test was found"),
    ],
)
def test_pytests_report_becomes_an_outcome(
    script: Any, tmp_path: Path, one: str, counts: tuple[int, int, int], state: str, reason: str
) -> None:
    tests, failures, skipped = counts
    path = tmp_path / "tests.xml"
    path.write_text(JUNIT.format(tests=tests, failures=failures, skipped=skipped, one=one))
    found = script.read_junit(path)
    assert (found.state, found.reason) == (state, reason)


def entry(passed: bool = True) -> dict[str, Any]:
    return {"networks": {"vae_decoder": {"error": 0.1, "tolerance": 0.2, "passed": passed}}}


@pytest.mark.parametrize(
    ("found", "state", "reason"),
    [
        ({"ort_cuda fp16": entry(), "tensorrt fp16": {"skipped": "not installed"}}, "passed", ""),
        ({"ort_cuda fp16": entry(False)}, "failed", "ort_cuda fp16 vae_decoder"),
        (
            {"ort_cuda fp16": {"failed": "out of GPU memory"}},
            "failed",
            "ort_cuda fp16: out of GPU memory",
        ),
        ({"ort_cuda fp16": {"skipped": "no driver"}}, "skipped", "no backend works here"),
    ],
)
def test_parity_becomes_an_outcome(
    script: Any, found: dict[str, Any], state: str, reason: str
) -> None:
    outcome = script.read_parity(f"a library's chatter\n{json.dumps(found)}\n")
    assert (outcome.state, outcome.reason) == (state, reason)


@pytest.mark.parametrize(
    ("device", "ratio", "state"),
    [
        ("cuda", 1.6, "passed"),
        ("cuda", 1.5, "passed"),
        ("cuda", 1.4, "failed"),
        ("cpu", 0.1, "passed"),
        ("cuda", None, "skipped"),
    ],
)
def test_the_figure_that_is_wanted_decides_on_a_gpu_alone(
    script: Any, tmp_path: Path, device: str, ratio: float | None, state: str
) -> None:
    (tmp_path / "b.json").write_text(
        json.dumps({"device": device, "times_faster": ratio, "wanted": 1.5})
    )
    assert script.read_benchmark(tmp_path / "b.json", "").state == state


def test_a_benchmark_that_says_why_not_is_skipped_with_its_words(
    script: Any, tmp_path: Path
) -> None:
    found = script.read_benchmark(
        tmp_path / "none.json", "not measured: this PyTorch sees no NVIDIA GPU\n"
    )
    assert (found.state, found.reason) == (
        "skipped",
        "not measured: this PyTorch sees no NVIDIA GPU",
    )


def test_every_network_of_a_bundle_is_tested_on_a_backend(
    script: Any, build_tiny: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    found = script.check_bundle(build_tiny(), "ort", engines=tmp_path / "engines")
    assert found["backend"].startswith("onnxruntime ")
    assert [result["passed"] for result in found["networks"].values()] == [True] * 6


def test_a_backend_that_does_not_work_is_skipped_with_its_reason(
    script: Any, null_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = script.check_bundle(null_bundle, "ort_cuda", engines=tmp_path / "engines")
    assert "onnxruntime-gpu is not installed" in found["skipped"]


def test_a_bundle_that_fails_on_a_backend_is_told_in_a_line(
    script: Any, null_bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    (null_bundle / "self-test" / "vae_encoder.npz").unlink()
    found = script.check_bundle(null_bundle, "ort", engines=tmp_path / "engines")
    assert "vae_encoder.npz" in found["failed"]


def test_the_benchmarks_default_is_the_figure_that_counts(bench: Any) -> None:
    arguments = bench.make_parser().parse_args([])
    work = bench.describe_work(arguments)
    assert (work["widths"], work["pixels"], work["frames"], work["precision"], work["device"]) == (
        [320, 640, 1280, 1280],
        512,
        12,
        "fp16",
        "cuda",
    )
    assert work["rounds"] >= 10 and work["warmup"] >= 1


def test_pytorchs_ways_are_all_in_the_plan(bench: Any) -> None:
    plan = bench.describe_plan(bench.make_parser().parse_args([]))
    assert [("channels-last" in label, "CUDA graph" in label) for label in plan["baselines"]] == [
        (False, False),
        (True, False),
        (False, True),
        (True, True),
    ]
    assert set(plan["engines"]) == {
        "ort_cuda",
        "ort_cuda plain",
        "ort_tensorrt",
        "tensorrt",
        "tensorrt_rtx",
    }


@pytest.mark.parametrize(
    ("medians", "wanted"),
    [
        (
            {"pytorch eager": 3.0, "pytorch CUDA graph": 2.0, "ort_cuda": 1.0, "tensorrt": 0.5},
            ("pytorch CUDA graph", "tensorrt", 4.0),
        ),
        ({"pytorch eager": 3.0}, (None, None, None)),
        ({"ort_cuda": 1.0}, (None, None, None)),
    ],
)
def test_our_quickest_is_held_against_pytorchs_quickest(
    bench: Any, medians: dict[str, float], wanted: tuple[str | None, str | None, float | None]
) -> None:
    found = bench.judge({label: {"p50": seconds} for label, seconds in medians.items()})
    assert (found["best_baseline"], found["best_engine"], found["times_faster"]) == wanted


@pytest.mark.slow
def test_on_a_cpu_the_contestants_agree_and_the_results_say_what_was_measured(
    bench: Any, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    arguments = bench.make_parser().parse_args(
        [
            "--device",
            "cpu",
            "--size",
            "tiny",
            "--pixels",
            "64",
            "--frames",
            "2",
            "--precision",
            "fp32",
            "--rounds",
            "2",
            "--warmup",
            "1",
            "--engine",
            "ort",
            "--engine",
            "ort fused",
            "--engine",
            "ort_cuda",
        ]
    )
    denoiser = bench.make_denoiser(
        tmp_path / "tiny", size="tiny", pixels=64, frames=2, precision="fp32"
    )
    results = bench.measure(denoiser, arguments)
    assert list(results["contestants"]) == [
        "pytorch eager",
        "pytorch channels-last",
        "ort",
        "ort fused",
    ]
    assert all(entry["difference"] < 5e-4 for entry in results["contestants"].values())
    assert all(
        entry["repeats"] == 2 and entry["p50"] > 0 for entry in results["contestants"].values()
    )
    assert "ort_cuda" in results["not_measured"]
    assert json.loads(json.dumps(results))["times_faster"] == results["times_faster"]


def test_an_engine_that_has_no_time_is_not_begun(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = argparse.Namespace(device="cpu", engine=["ort"], seconds=0.0)
    monkeypatch.setattr(bench, "load_modules", lambda denoiser, device: {False: None, True: None})
    monkeypatch.setattr(bench, "TorchDenoiser", lambda *_, **__: dict)
    missing: dict[str, str] = {}
    calls = bench.open_contestants(None, arguments, stack=None, missing=missing, notes={})
    assert list(calls) == ["pytorch eager", "pytorch channels-last"]
    assert missing == {"ort": "no time left of 0 s"}


def test_make_gpu_has_an_environment_with_onnxruntimes_gpu_package_and_what_else_is_asked_for() -> (
    None
):
    command = ["make", "-n", "gpu", "VENV=nowhere", "GPU_PACKAGES=tensorrt cuda-python==13.*"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(
        r"nowhere-gpu/bin/python -m pip install .*-e '\.\[export,onnxruntime-gpu,dev\]'", told
    )
    assert re.search(r"nowhere-gpu/bin/python -m pip install .* tensorrt cuda-python==13\.\*", told)
    assert "nowhere-gpu/bin/python tests/gpu/run_gpu_tests.py" in told
