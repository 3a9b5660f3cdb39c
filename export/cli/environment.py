"""``echoexport targets`` and ``echoexport doctor``."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterator

import click

from echoexport.runtime.backends import list_backends, load_backend
from echoexport.targets.spec import Figure, TargetSpec, list_targets, load_target


@click.command("targets")
@click.argument("name", required=False)
def targets_command(name: str | None) -> None:
    """List the targets; with a NAME, show that one's figures and where each comes from."""
    if name is None:
        for each in list_targets():
            spec = load_target(each)
            width, height = spec.build.size
            click.echo(f"{each:20} {spec.title:36} {spec.build.precision}  {width}x{height}  {spec.backends.default}")
        return
    for line in describe_target(load_target(name)):
        click.echo(line)


def describe_target(spec: TargetSpec) -> Iterator[str]:
    """One target as lines for people: every figure with its source."""
    yield f"{spec.name}: {spec.title} ({spec.kind})"
    width, height = spec.build.size
    yield f"  builds      {spec.build.precision}, {width}x{height} px, windows of {spec.build.frames} frames"
    steps = ", ".join(f"{v} {n}" for v in ("base", "acc", "pose", "pose_acc") if (n := spec.build.steps_for(v)))
    yield f"  steps       {steps or 'as the variant has them'}"
    yield f"  backends    {spec.backends.default}; portable: {', '.join(spec.backends.portable)}"
    for name, value in vars(spec.hardware).items():
        if isinstance(value, Figure):
            yield f"  {name.replace('_', ' '):20} {_describe_figure(value)}"
    for line in spec.tensorrt:
        yield f"  TensorRT {line.tensorrt} with {line.system}, CUDA {line.cuda}, Python {line.python} [{line.source}]"
    if spec.next_step:
        yield f"  next        {spec.next_step}"


def _describe_figure(figure: Figure[object]) -> str:
    if figure.value is None:
        return f"unknown ({figure.reason})"
    value = figure.value
    text = " to ".join(f"{v:g}" for v in value) if isinstance(value, tuple) else str(value)
    return f"{text} {figure.unit}".strip() + f"  [{figure.source}]"


@click.command("doctor")
def doctor_command() -> None:
    """Say for each backend, tool and target what works on this machine, and why not."""
    click.echo(
        f"machine: {platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )
    click.echo("backends")
    broken = {name: load_backend(name).unavailable() for name in list_backends()}
    for name, reason in broken.items():
        click.echo(f"  {name:14} {_mark(reason)} {reason or load_backend(name).describe()}")
    click.echo("tools")
    for name, reason, found in _check_tools():
        click.echo(f"  {name:14} {_mark(reason)} {reason or found}")
    click.echo("targets")
    build = "see export above" if _missing("torch", "onnx", extra="export") else None
    for name in list_targets():
        click.echo(f"  {name:20} {_describe_readiness(load_target(name), broken, build)}")


def _mark(reason: str | None) -> str:
    return "ok " if reason is None else "no "


def _check_tools() -> Iterator[tuple[str, str | None, str]]:
    """Name, why it is missing (or None), and what was found."""
    yield "export", _missing("torch", "onnx", extra="export"), _versions("torch", "onnx")
    rtx = _missing("tensorrt_rtx_libs", "tensorrt_rtx_bindings", extra="tensorrt-rtx")
    yield "tensorrt-rtx", rtx, f"parse and build check, {_versions('tensorrt-rtx-cu13-bindings')}"
    engines = [n for n in ("openvino", "ai_edge_litert") if importlib.util.find_spec(n)]
    none = "neither openvino nor ai-edge-litert: pip install 'echoexport[openvino]' or 'echoexport[landmarks]'"
    yield "face detection", None if engines else none, f"with --face-model, by {engines[0] if engines else ''}"
    yield "video", _find_codecs(), f"H.264 and AAC, {_versions('av')}"


def _missing(*modules: str, extra: str = "") -> str | None:
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    wanted = f"'echoexport[{extra}]'" if extra else " ".join(absent)
    return f"{', '.join(absent)} not installed: pip install {wanted}" if absent else None


def _versions(*packages: str) -> str:
    found = []
    for name in packages:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _find_codecs() -> str | None:
    if absent := _missing("av"):
        return absent
    import av

    lacking = [name for name in ("libx264", "aac") if name not in av.codecs_available]
    return f"this PyAV has no {', '.join(lacking)}; reinstall the 'av' wheel" if lacking else None


def _describe_readiness(spec: TargetSpec, broken: dict[str, str | None], build: str | None) -> str:
    """Whether bundles for a target can be built and run here."""
    builds = "builds here" if build is None else f"does not build here ({build})"
    if spec.kind != "cpu":
        portable = f"portable {spec.build.precision} ONNX bundle; engines are built on the device in a later release"
        return builds if build else f"{builds}: {portable}"
    reason = broken.get(spec.backends.default)
    return f"{builds}, runs here" if reason is None else f"{builds}, does not run here ({reason})"
