"""What a board is and what suits it: the classes of a target, and the reader of target files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Generic, TypeVar

from echoexport.targets.errors import TargetError, UnknownNameError
from echoexport.targets.strict_yaml import LARGEST_FILE, Table, parse_table

__all__ = [
    "Backends",
    "BuildDefaults",
    "EngineDefaults",
    "Figure",
    "Hardware",
    "TargetSpec",
    "TensorRTLine",
    "find_target",
    "list_targets",
    "load_target",
    "read_target",
]

_T = TypeVar("_T")

TARGET_KINDS = ("cpu", "jetson", "gpu")
BACKENDS = ("ort", "openvino", "tensorrt", "tensorrt_rtx", "ort_cuda", "ort_tensorrt")
TARGET_PRECISIONS = ("fp32", "fp16")
TARGET_VARIANTS = ("base", "acc", "pose", "pose_acc")
LARGEST_FIGURE = 1e9


@dataclass(frozen=True)
class Figure(Generic[_T]):
    """A hardware figure with its unit and where it comes from.

    Where ``value`` is None, the reason why.
    """

    value: _T | None
    unit: str
    source: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Hardware:
    """What the chip can do in its highest power mode; peaks are dense, without sparsity or DLA."""

    compute_capability: Figure[str]
    """CUDA's, as 8.7."""
    sm_count: Figure[int]
    """Streaming multiprocessors."""
    fp16_dense: Figure[float]
    """TFLOPS."""
    int8_dense: Figure[float]
    """TOPS."""
    memory_bandwidth: Figure[float]
    """GB/s."""
    memory: Figure[float]
    """GB."""
    memory_usable: Figure[float]
    """GB that a run may plan with."""
    memory_shared: bool
    """Whether the CPU lives in it too."""
    power: Figure[tuple[float, float]]
    """The lowest and highest limit that can be set, in watts."""


@dataclass(frozen=True)
class Backends:
    """What runs a bundle on the target."""

    default: str
    """What runs the finished bundle."""
    portable: tuple[str, ...]
    """What runs it where no engine is built yet, best first."""


@dataclass(frozen=True)
class TensorRTLine:
    """One TensorRT that the board's system software brings, e.g. 10.3 with JetPack 6.1."""

    system: str
    tensorrt: str
    cuda: str
    python: str
    source: str


@dataclass(frozen=True)
class BuildDefaults:
    """What a build takes unless told otherwise."""

    precision: str
    size: tuple[int, int]
    """(width, height) of the picture in pixels."""
    frames: int
    """Length of a window."""
    steps: Mapping[str, int | None] = field(hash=False)
    """Sampling steps by variant; None is the variant's own default."""

    def steps_for(self, variant: str) -> int | None:
        """Sampling steps for a variant, None for its own default.

        ``UnknownNameError`` for no variant.
        """
        if variant not in self.steps:
            raise UnknownNameError("variant", variant, known=self.steps)
        return self.steps[variant]


@dataclass(frozen=True)
class EngineDefaults:
    """How engines are compiled on the target unless told otherwise.

    None leaves it to the library.
    """

    workspace: Figure[float]
    """GB (of 10^9 bytes) that a builder may use as scratch memory."""
    level: Figure[int]
    """TensorRT's builder optimization level, 0 (quickest build) to 5 (longest search)."""
    best_of: Figure[int]
    """So many builds of a network, of which the fastest is kept."""

    @property
    def workspace_bytes(self) -> int | None:
        """``workspace`` in bytes."""
        return None if self.workspace.value is None else round(self.workspace.value * 1e9)


@dataclass(frozen=True)
class TargetSpec:
    """A board or machine to build for."""

    name: str
    """What it is called on the command line: lower-case words joined by hyphens."""
    title: str
    """What people call it."""
    kind: str
    """cpu, jetson or gpu."""
    backends: Backends
    """What runs a bundle there."""
    hardware: Hardware
    """What the chip can do."""
    tensorrt: tuple[TensorRTLine, ...]
    """What the board's system software may bring."""
    build: BuildDefaults
    """What a build takes unless told otherwise."""
    engine: EngineDefaults | None
    """How engines are compiled; None for CPUs."""
    next_step: str
    """What is left to do there after a build elsewhere; empty for nothing."""


def list_targets() -> tuple[str, ...]:
    """Names of the targets that come with the package, sorted."""
    names = (entry.name for entry in (files("echoexport.targets") / "data").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def load_target(name: str) -> TargetSpec:
    """The target of that name; ``UnknownNameError`` if none is called so."""
    known = list_targets()
    if name not in known:
        raise UnknownNameError("target", name, known=known)
    entry = files("echoexport.targets") / "data" / f"{name}.yaml"
    return _parse_target(entry.read_bytes(), entry.name)


def read_target(path: Path) -> TargetSpec:
    """A target from a file of the user's own.

    ``TargetError`` names the file and the key that is wrong.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise TargetError(f"{path}: cannot be read: {error.strerror or error}") from error
    return _parse_target(content, str(path))


def find_target(name: str) -> TargetSpec:
    """A target by name, or from a YAML file of the user's.

    Raises:
        UnknownNameError: no target of that name. TargetError: a file that breaks the
            schema.
    """
    return read_target(Path(name)) if name.endswith((".yaml", ".yml")) else load_target(name)


def _parse_target(content: bytes, file: str) -> TargetSpec:
    table = parse_table(content, file)
    kind = table.choice("kind", TARGET_KINDS)
    target = TargetSpec(
        name=table.value("name", _is_name, "lower-case words joined by hyphens"),
        title=table.text("title"),
        kind=kind,
        backends=_parse_backends(table.table("backends")),
        hardware=_parse_hardware(table.table("hardware")),
        tensorrt=tuple(_parse_line(line) for line in table.tables("tensorrt")),
        build=_parse_build(table.table("build")),
        engine=_parse_engine(table.table("engine"))
        if kind != "cpu" or table.holds("engine")
        else None,
        next_step=table.value(
            "next_step", _is_short, "one line of text, or '' if nothing is left to do"
        ),
    )
    table.finish()
    on_cpu = target.kind == "cpu"
    if on_cpu != (target.next_step == ""):
        raise table.error(
            "next_step", f"must {'be empty' if on_cpu else 'not be empty'} for kind {target.kind}"
        )
    if on_cpu and target.backends.default not in ("ort", "openvino"):
        raise table.error("backends.default", f"{target.backends.default} needs kind jetson or gpu")
    if on_cpu and target.engine is not None:
        raise table.error("engine", "needs kind jetson or gpu")
    return target


def _parse_backends(table: Table) -> Backends:
    known = f"a list of one or more of {', '.join(BACKENDS)}"
    default = table.choice("default", BACKENDS)
    portable = tuple(table.value("portable", _is_backend_list, known))
    table.finish()
    return Backends(default, portable)


def _parse_hardware(table: Table) -> Hardware:
    hardware = Hardware(
        compute_capability=_parse_figure(
            table, "compute_capability", "", _is_version, "text like '8.7'"
        ),
        sm_count=_parse_figure(
            table, "sm_count", "", lambda v: _is_whole(v, 1, 10_000), "a whole number"
        ),
        fp16_dense=_parse_number(table, "fp16_dense", "TFLOPS"),
        int8_dense=_parse_number(table, "int8_dense", "TOPS"),
        memory_bandwidth=_parse_number(table, "memory_bandwidth", "GB/s"),
        memory=_parse_number(table, "memory", "GB"),
        memory_usable=_parse_number(table, "memory_usable", "GB"),
        memory_shared=table.value("memory_shared", lambda v: isinstance(v, bool), "true or false"),
        power=_parse_figure(
            table, "power", "W", _is_range, "[lowest, highest] in watts", convert=_pair
        ),
    )
    table.finish()
    return hardware


def _parse_number(table: Table, key: str, unit: str) -> Figure[float]:
    return _parse_figure(table, key, unit, _is_positive, "a number above 0", convert=float)


def _parse_figure(
    parent: Table,
    key: str,
    unit: str,
    fits: Callable[[Any], bool],
    wanted: str,
    *,
    convert: Callable[[Any], Any] = lambda value: value,
) -> Figure[Any]:
    """``{value, unit, source}``, or ``{value: null, unit, reason}``.

    No unit where ``unit`` is empty.
    """
    table = parent.table(key)
    value = table.value("value", lambda v: v is None or fits(v), f"{wanted}, or null with a reason")
    if unit:
        table.choice("unit", (unit,))
    if value is None:
        figure: Figure[Any] = Figure(None, unit, reason=table.text("reason"))
    else:
        figure = Figure(convert(value), unit, source=table.text("source"))
    table.finish()
    return figure


def _parse_line(table: Table) -> TensorRTLine:
    version = "a quoted version like '10.3'"
    line = TensorRTLine(
        system=table.text("system"),
        tensorrt=table.value("tensorrt", _is_version, version),
        cuda=table.value("cuda", _is_version, version),
        python=table.value("python", _is_version, version),
        source=table.text("source"),
    )
    table.finish()
    return line


def _parse_build(table: Table) -> BuildDefaults:
    build = BuildDefaults(
        precision=table.choice("precision", TARGET_PRECISIONS),
        size=tuple(
            table.value(
                "size", _is_size, "[width, height] in pixels, multiples of 8 from 64 to 2048"
            )
        ),
        frames=table.value("frames", lambda v: _is_whole(v, 2, 32), "a whole number from 2 to 32"),
        steps=_parse_steps(table.table("steps")),
    )
    table.finish()
    return build


def _parse_engine(table: Table) -> EngineDefaults:
    engine = EngineDefaults(
        workspace=_parse_number(table, "workspace", "GB"),
        level=_parse_figure(
            table, "level", "", lambda v: _is_whole(v, 0, 5), "a whole number from 0 to 5"
        ),
        best_of=_parse_figure(
            table, "best_of", "", lambda v: _is_whole(v, 1, 10), "a whole number from 1 to 10"
        ),
    )
    table.finish()
    return engine


def _parse_steps(table: Table) -> dict[str, int | None]:
    """Every variant is there and no other key."""
    wanted = "a whole number from 1 to 1000, or null for the variant's own default"
    steps = {
        v: table.value(v, lambda n: n is None or _is_whole(n, 1, 1000), wanted)
        for v in TARGET_VARIANTS
    }
    table.finish()
    return steps


def _pair(value: list[float]) -> tuple[float, float]:
    return float(value[0]), float(value[1])


def _is_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value) is not None


def _is_short(value: object) -> bool:
    return (
        isinstance(value, str) and value == value.strip() and (value == "" or value.isprintable())
    )


def _is_version(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d+(\.\d+){1,3}", value) is not None


def _is_whole(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_positive(value: object) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and 0 < value < LARGEST_FIGURE
    )


def _is_range(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(map(_is_positive, value))
        and value[0] <= value[1]
    )


def _is_size(value: object) -> bool:
    sides = value if isinstance(value, list) and len(value) == 2 else [0]
    return all(_is_whole(side, 64, 2048) and side % 8 == 0 for side in sides)


def _is_backend_list(value: object) -> bool:
    names = value if isinstance(value, list) and value else [None]
    return all(isinstance(name, str) and name in BACKENDS for name in names)
