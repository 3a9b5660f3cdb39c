"""Which of our targets a machine is, and the refusal where it is not the one that was asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from echoexport.runtime.device.jetson import DEVICE_TREE, RELEASE
from echoexport.runtime.errors import TargetMismatchError

if TYPE_CHECKING:
    from echoexport.runtime.device.record import Device
    from echoexport.targets.spec import TargetSpec

# Names as nvidia-smi has them. Boards of a family that differ in memory or socket are
# one target.
_GPU_NAMES = (
    (r"\bA100\b", "a100"),
    (r"\bA10\b", "a10"),
    (r"\bH200\b", "h200"),
    (r"\bH100\b", "h100"),
    (r"\bL40S\b", "l40s"),
    (r"\bL4\b", "l4"),
    (r"\bRTX 4090\b(?! (?:D|Laptop)\b)", "rtx-4090"),
)
# What the portable engines of TensorRT-RTX 1.7.1 run on: Ampere, Ada, Blackwell. Turing
# (7.5) wants engines of its own.
RTX_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0", "12.1")

_SMALL_BOARD = 9 * 2**30
_SMALL_BOARD_USABLE = 6 * 10**9


def match_target(device: Device) -> str | None:
    """The name of the target that the machine is, None where it is none of ours.

    A processor without a GPU is "cpu". A GPU with "RTX" in its name that has no target
    of its own is "rtx".
    """
    if device.kind == "jetson":
        return device.target
    if device.kind == "cpu":
        return "cpu"
    name = device.gpu or ""
    if "MIG" in name:
        return None
    known = next((target for pattern, target in _GPU_NAMES if re.search(pattern, name)), None)
    if known is None and "RTX" in name and _runs_rtx(device):
        return "rtx"
    return known


def require_target(device: Device, target: TargetSpec) -> None:
    """Refuse to compile for a target on a machine that is not that target.

    Every machine has a processor, so targets of kind "cpu" always pass. TensorRT-RTX
    builds ahead of time without a GPU, so its targets pass on every x86-64 machine. A
    target file of the user's own passes where kind and compute capability are the
    machine's.

    Raises:
        TargetMismatchError: the machine is another, or does not say what it is.
    """
    if target.kind == "cpu" or target.name in (device.target, match_target(device)):
        return
    if target.backends.default == "tensorrt_rtx" and device.arch == "x86_64":
        return
    if _is_ours(target.name):
        raise TargetMismatchError(
            f"target {target.name} ({target.title}): {_say_what_it_is(device, target)}"
        )
    wanted = target.hardware.compute_capability.value
    if device.kind != target.kind or (wanted and wanted != device.compute_capability):
        need = f"kind {target.kind}" + (f", compute capability {wanted}" if wanted else "")
        have = f"kind {device.kind}, compute capability {device.compute_capability or 'unknown'}"
        raise TargetMismatchError(
            f"target {target.name} ({target.title}) wants {need}; this machine has {have}"
        )


def usable_memory(device: Device) -> int | None:
    """Bytes that engines and a run may plan with now, None where that is not known.

    What is free; on boards whose 8 GB are shared with the system no more than 6 GB, a
    planning figure that is not measured.
    """
    available = device.memory_available
    if device.kind == "jetson" and device.memory is not None and device.memory < _SMALL_BOARD:
        return _SMALL_BOARD_USABLE if available is None else min(available, _SMALL_BOARD_USABLE)
    return available


def describe_device(device: Device) -> str:
    """The machine in a few words, for messages: what it is, and what it runs."""
    if device.kind == "gpu":
        gpu = device.gpu or "an NVIDIA GPU that does not say its name"
        return f"{gpu} in {device.model or 'this machine'}"
    return device.model or f"an unknown {'Jetson' if device.kind == 'jetson' else 'processor'}"


def _say_what_it_is(device: Device, target: TargetSpec) -> str:
    """Why a shipped target is refused, and what to do."""
    what = describe_device(device)
    own = match_target(device)
    if own is not None and (
        device.kind != "cpu" or target.kind != "jetson" or device.arch not in ("aarch64", None)
    ):
        return (
            f"this machine is {own} ({what}): compile with --target {own} here, or take the "
            "portable bundle to such a machine and compile it there"
        )
    if device.kind == "jetson":
        unread = "no module number was readable in the device tree" if device.target is None else ""
        return f"this board is not recognised as one ({what}); {unread}: see 'echoexport doctor'"
    if target.kind == "jetson":
        return (
            "this machine cannot be recognised as a Jetson: neither "
            f"{DEVICE_TREE[0]}/compatible nor {RELEASE} is readable; in a container, mount both "
            "(docs/jetson.md)"
        )
    return (
        f"this machine is none of our targets ({what}); a target file of your own describes it "
        "(--target FILE.yaml)"
    )


def _runs_rtx(device: Device) -> bool:
    return device.compute_capability in RTX_CAPABILITIES


def _is_ours(name: str) -> bool:
    from importlib.resources import files

    return (files("echoexport.targets") / "data" / f"{name}.yaml").is_file()
