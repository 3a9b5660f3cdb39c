"""NVIDIA's own parser and builder, through TensorRT-RTX: they need no GPU, so any machine can ask them.

A proxy for the TensorRT of a Jetson, not proof: it takes newer opsets than JetPack 6 does, hence our own lint.
Each network is parsed and built in a child process, because the library aborts on some errors and keeps its memory.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from echoexport.profiles.clip_run import find_peak_memory
from echoexport.runtime.errors import GraphError, MissingPackageError

# Peak memory of a build over the weights' bytes: 9.3 GB for the full fp16 denoiser's 2.6 GB (measured).
MEMORY_FACTOR = 3.7


@dataclass(frozen=True)
class ParserReport:
    """What parsing and building one network gave; seconds are wall clock on this machine, *measured*."""

    network: str
    version: str
    parse_seconds: float
    build_seconds: float
    engine_bytes: int
    peak_bytes: int


def is_installed() -> bool:
    """Whether the bindings and the libraries are here; neither is imported."""
    return all(importlib.util.find_spec(name) is not None for name in ("tensorrt_rtx_libs", "tensorrt_rtx_bindings"))


def require_installed() -> None:
    """Raise ``MissingPackageError`` where they are not."""
    if not is_installed():
        raise MissingPackageError("TensorRT-RTX", extra="tensorrt-rtx", purpose="the parser check")


def estimate_memory(weight_bytes: int) -> int:
    """Bytes that a build is expected to need at its peak."""
    return int(MEMORY_FACTOR * weight_bytes) + 500_000_000


def check_network(graph: Path, *, timeout: float = 1800.0) -> ParserReport:
    """Parse and build one ONNX file.

    Raises:
        GraphError: the parser or the builder refuses it; names the node where it can.
    """
    require_installed()
    command = [sys.executable, "-m", __name__, str(graph)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise GraphError(f"{graph}: TensorRT-RTX took more than {timeout:.0f} s") from error
    answer = _find_answer(result.stdout)
    if "refusal" in answer or not answer:
        chatter = [line for line in result.stderr.splitlines() if line.strip()]
        reason = answer.get("refusal") or f"exit code {result.returncode}{': ' * bool(chatter)}{''.join(chatter[-1:])}"
        raise GraphError(f"{graph}: TensorRT-RTX refuses it: {reason[:600]}")
    return ParserReport(**answer)


def _find_answer(output: str) -> dict[str, Any]:
    """The child's answer is a JSON object on its last line; the library may write before it. Empty where none came."""
    lines = output.strip().splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def parse_and_build(graph: Path) -> ParserReport:
    """The same within this process.

    Raises:
        GraphError: the parser or the builder refuses the graph.
    """
    import tensorrt_rtx_libs  # noqa: F401  - loads the shared libraries that the bindings look for
    import tensorrt_rtx_bindings as trt  # isort: skip

    class Listener(trt.ILogger):  # type: ignore[misc]
        """Keeps what the library complains about; the builder itself only answers with nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.complaints: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            # without a GPU it complains about that on every build, good or bad
            if severity in (self.Severity.ERROR, self.Severity.INTERNAL_ERROR) and "Cuda Runtime" not in message:
                self.complaints.append(" ".join(message.split()))

    logger = Listener()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    start = time.perf_counter()
    if not parser.parse_from_file(str(graph)):
        details = [parser.get_error(i) for i in range(min(3, parser.num_errors))]
        raise GraphError("; ".join(_describe(error) for error in details))
    parsed = time.perf_counter()
    engine = builder.build_serialized_network(network, builder.create_builder_config())
    if engine is None:
        raise GraphError("; ".join(logger.complaints[:3]) or "the builder gave no engine")
    return ParserReport(
        network=graph.stem,
        version=trt.__version__,
        parse_seconds=round(parsed - start, 2),
        build_seconds=round(time.perf_counter() - parsed, 2),
        engine_bytes=engine.nbytes,
        peak_bytes=find_peak_memory() or 0,
    )


def _describe(error: Any) -> str:
    """One of the parser's errors, in a line: operator and name of the node where there is one, and what is wrong."""
    return " ".join(f"{error.node_operator()} {error.node_name()}: {error.desc()}".split()).lstrip(": ")


def _main() -> int:
    """The child: its last line on the standard output is the report, or the refusal, as JSON."""
    try:
        answer, code = asdict(parse_and_build(Path(sys.argv[1]))), 0
    except GraphError as error:
        answer, code = {"refusal": str(error)}, 1
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(_main())
