"""``echoexport targets`` and ``echoexport doctor``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from echoexport.targets.spec import Figure, TargetSpec, list_targets, load_target

if TYPE_CHECKING:
    from echoexport.export.doctor import Check, DoctorReport, Readiness
    from echoexport.runtime.device import Device


@click.command("targets")
@click.argument("name", required=False)
def targets_command(name: str | None) -> None:
    """List the targets; with a NAME, show that one's figures and where each comes from."""
    if name is None:
        for each in list_targets():
            spec = load_target(each)
            width, height = spec.build.size
            click.echo(
                f"{each:20} {spec.title:36} {spec.build.precision}  {width}x{height}  "
                f"{spec.backends.default}"
            )
        return
    for line in tell_target(load_target(name)):
        click.echo(line)


def tell_target(spec: TargetSpec) -> Iterator[str]:
    """One target as lines for people: every figure with its source."""
    yield f"{spec.name}: {spec.title} ({spec.kind})"
    width, height = spec.build.size
    yield (
        f"  builds      {spec.build.precision}, {width}x{height} px, windows of "
        f"{spec.build.frames} frames"
    )
    steps = ", ".join(f"{variant} {count}" for variant, count in spec.build.steps.items() if count)
    yield f"  steps       {steps or 'as the variant has them'}"
    yield f"  backends    {spec.backends.default}; portable: {', '.join(spec.backends.portable)}"
    for name, value in vars(spec.hardware).items():
        if isinstance(value, Figure):
            yield f"  {name.replace('_', ' '):20} {_describe_figure(value)}"
    for line in spec.tensorrt:
        yield (
            f"  TensorRT {line.tensorrt} with {line.system}, CUDA {line.cuda}, Python "
            f"{line.python} [{line.source}]"
        )
    if spec.next_step:
        yield f"  next        {spec.next_step}"


def _describe_figure(figure: Figure[object]) -> str:
    if figure.value is None:
        return f"unknown ({figure.reason})"
    value = figure.value
    text = " to ".join(f"{v:g}" for v in value) if isinstance(value, tuple) else str(value)
    return f"{text} {figure.unit}".strip() + f"  [{figure.source}]"


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, for programs.")
def doctor_command(as_json: bool) -> None:
    """Say what this machine is, and what works on it.

    Each backend, tool and target is told of, and why it does not work where it does
    not.
    """
    from echoexport.export.doctor import dump_report, examine_machine

    report = examine_machine()
    if as_json:
        click.echo(json.dumps(dump_report(report), indent=2))
        return
    for line in describe_doctor(report):
        click.echo(line)


def describe_doctor(report: DoctorReport) -> Iterator[str]:
    """A doctor's report as lines for people."""
    yield "device"
    for name, text in _describe_device(report.device, report.usable_memory):
        yield f"  {name:14} {text}"
    for advice in report.advice:
        yield f"  {'mend':14} {advice.problem}: {advice.fix}"
    yield "backends"
    yield from _describe_checks(report.backends)
    yield "tools"
    yield from _describe_checks(report.tools)
    yield "targets"
    for target, readiness in report.targets.items():
        yield f"  {target:20} {_describe_readiness(readiness)}"


def _describe_gpu(device: Device) -> str:
    words = [
        device.gpu or ("no name" if device.kind == "gpu" else ""),
        f"compute capability {device.compute_capability or 'unknown'}",
        f"driver {device.driver}" if device.driver else "",
        f"limited to {device.power_limit:g} W" if device.power_limit else "",
    ]
    return ", ".join(filter(None, words))


def _describe_device(device: Device, usable: int | None) -> Iterator[tuple[str, str]]:
    yield "model", device.model or "does not say what it is"
    yield "target", device.target or "none of ours"
    if device.kind == "jetson":
        yield "JetPack", f"{device.jetpack or 'unknown'} (Jetson Linux {device.l4t or 'unknown'})"
        yield "power mode", device.power_mode or "unknown: nvpmodel's files cannot be read"
    if device.kind != "cpu":
        yield "GPU", _describe_gpu(device)
    if device.kind != "cpu" or device.tensorrt:
        yield "TensorRT", device.tensorrt or "not installed"
    if device.kind != "cpu" or device.cuda:
        yield "CUDA", device.cuda or "unknown"
    yield "memory", _describe_memory(device, usable)
    yield (
        "system",
        f"{device.os or 'unknown'}, {device.arch or 'unknown'}, {device.cores or '?'} cores",
    )
    yield "Python", device.python
    for note in device.notes:
        yield "note", note


def _describe_memory(device: Device, usable: int | None) -> str:
    words = [f"{_gib(device.memory)}{' of the GPU' if device.kind == 'gpu' else ''}"]
    if device.memory_available is not None:
        words.append(f"{_gib(device.memory_available)} free")
    if usable is not None and usable != device.memory_available:
        words.append(f"plan with {usable / 1e9:g} GB")
    if device.kind == "gpu":
        words.append(
            f"{_gib(device.host_memory)} of the machine, {_gib(device.host_memory_available)} free"
        )
    return ", ".join(words)


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"


def _describe_checks(checks: Mapping[str, Check]) -> Iterator[str]:
    for name, check in checks.items():
        yield f"  {name:14} {'ok ' if check.works else 'no '} {check.detail}"


def _describe_readiness(ready: Readiness) -> str:
    builds = "builds here" if ready.builds is None else f"does not build here ({ready.builds})"
    compiles = (
        "compiles here" if ready.compiles is None else f"does not compile here ({ready.compiles})"
    )
    how = ready.backend if ready.own else f"{ready.backend} as the portable bundle"
    runs = f"runs here on {how}" if ready.runs is None else f"does not run here ({ready.runs})"
    return f"{builds}, {compiles}, {runs}"
