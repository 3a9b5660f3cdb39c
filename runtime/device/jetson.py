"""Reading a Jetson: its module, JetPack and power mode."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from echoexport.runtime.device.reading import Found, Machine

DEVICE_TREE = ("/proc/device-tree", "/run/device-tree", "/sys/firmware/devicetree/base")
"""Where the device tree is. Containers hide the first and the last; docs/jetson.md
mounts the second."""
RELEASE = "/etc/nv_tegra_release"
POWER_STATUS = "/var/lib/nvpmodel/status"
POWER_MODES = "/etc/nvpmodel.conf"

# NVIDIA's module numbers, as its Jetson Linux quick-start guide (R36, R39) lists them,
# and the targets they make.
MODULES: dict[str, tuple[str, str | None]] = {
    "p3701-0000": ("Jetson AGX Orin 32 GB (developer kit)", "jetson-orin-32"),
    "p3701-0004": ("Jetson AGX Orin 32 GB", "jetson-orin-32"),
    "p3701-0005": ("Jetson AGX Orin 64 GB", "jetson-orin"),
    "p3701-0008": ("Jetson AGX Orin Industrial 64 GB", "jetson-orin"),
    "p3767-0000": ("Jetson Orin NX 16 GB", "jetson-orin-nx-16"),
    "p3767-0001": ("Jetson Orin NX 8 GB", "jetson-orin-nx-8"),
    "p3767-0003": ("Jetson Orin Nano 8 GB", "jetson-orin-nano-8"),
    "p3767-0004": ("Jetson Orin Nano 4 GB", None),
    "p3767-0005": ("Jetson Orin Nano 8 GB (developer kit)", "jetson-orin-nano-8"),
}
# By name and GiB of memory where the device tree has no module number: (word of the
# model, least, most, target).
_BY_NAME = (
    ("AGX Orin", 48, 72, "jetson-orin"),
    ("AGX Orin", 24, 40, "jetson-orin-32"),
    ("Orin NX", 12, 20, "jetson-orin-nx-16"),
    ("Orin NX", 6, 10, "jetson-orin-nx-8"),
    ("Orin Nano", 6, 10, "jetson-orin-nano-8"),
)
# CUDA's GPU list: what a chip's own GPU is.
_CAPABILITIES = {"tegra234": "8.7", "tegra264": "11.0", "tegra194": "7.2"}

# Exact releases only: NVIDIA's JetPack archive. A release that is not here is unknown,
# not rounded.
JETPACKS = {
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.5.0": "6.2.2",
    "36.5.2": "6.2.3",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
}


@dataclass(frozen=True)
class Board:
    """What a Jetson says about itself; None for what it does not say."""

    model: Found | None
    """The board's name and its module's."""
    module: Found | None
    """NVIDIA's number, as "p3701-0005", if it is one of ``MODULES``."""
    target: Found | None
    """The name of our target that it is."""
    l4t: Found | None
    """Jetson Linux's release, as 36.4.3."""
    jetpack: Found | None
    """Its release, as 6.2.1."""
    power_mode: Found | None
    """The name in nvpmodel's table."""
    compute_capability: Found | None
    """Of the chip's own GPU, as "8.7"."""
    notes: tuple[str, ...]
    """What else there is to know, in words."""


def read_board(machine: Machine) -> Board | None:
    """The Jetson that is read, or None where it is none.

    Xavier and Thor boards are read too, and have no target.
    """
    folder, compatible = _read_compatible(machine)
    l4t = _read_release(machine)
    if "nvidia,tegra" not in compatible and l4t is None:
        return None
    module = next((Found(m, f"{folder}/compatible") for m in MODULES if m in compatible), None)
    named = machine.read(f"{folder}/model") if folder else None
    model = Found(named, f"{folder}/model") if named else None
    if module is not None:
        number = module.value
        file = module.source
        model = Found(
            f"{model.value if model else 'NVIDIA Jetson'}: {MODULES[number][0]}",
            f"{file} ({number})",
        )
    jetpack = _read_jetpack(machine, l4t)
    chip = next((chip for chip in _CAPABILITIES if chip in compatible), None)
    return Board(
        model=model,
        module=module,
        target=_find_target(machine, module, model),
        l4t=l4t,
        jetpack=jetpack,
        power_mode=_read_power_mode(machine),
        compute_capability=Found(_CAPABILITIES[chip], f"{folder}/compatible ({chip})")
        if chip
        else None,
        notes=tuple(_note(compatible, module, l4t, jetpack)),
    )


def _note(
    compatible: str, module: Found | None, l4t: Found | None, jetpack: Found | None
) -> Iterator[str]:
    if module is None:
        numbers = re.findall(r"^nvidia,(p\d{4}-\d{4})$", compatible, re.MULTILINE)
        without = (
            "the device tree has no module number"
            if compatible
            else "the device tree cannot be read"
        )
        yield (
            f"module {numbers[0]} is none known here"
            if numbers
            else f"{without}; in a container, mount it"
        )
    if l4t is None:
        yield f"{RELEASE} cannot be read, so the JetPack is unknown; in a container, mount it"
    elif jetpack is None:
        yield f"Jetson Linux {l4t.value} is of no JetPack known here"


def _read_compatible(machine: Machine) -> tuple[str, str]:
    for folder in DEVICE_TREE:
        if compatible := machine.read(f"{folder}/compatible"):
            return folder, compatible
    return "", ""


def _find_target(machine: Machine, module: Found | None, model: Found | None) -> Found | None:
    if module is not None:
        target = MODULES[module.value][1]
        return Found(target, module.source) if target else None
    total, _ = machine.memory()
    for word, least, most, target in _BY_NAME:
        if (
            model is not None
            and total is not None
            and word in model.value
            and least <= total / 2**30 <= most
        ):
            return Found(target, f"{model.source} and MemTotal in /proc/meminfo")
    return None


def _read_release(machine: Machine) -> Found | None:
    """Jetson Linux's release: "# R36 (release), REVISION: 4.3, ..." is 36.4.3."""
    line = re.search(r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", machine.read(RELEASE) or "")
    if line is not None:
        return Found(_three_numbers(f"{line[1]}.{line[2]}"), RELEASE)
    return machine.debian("nvidia-l4t-core")


def _three_numbers(release: str) -> str:
    return ".".join([*release.split("."), "0", "0"][:3])


def _read_jetpack(machine: Machine, l4t: Found | None) -> Found | None:
    if found := machine.debian("nvidia-jetpack", "nvidia-jetpack-runtime"):
        return found
    known = JETPACKS.get(_three_numbers(l4t.value)) if l4t else None
    return (
        Found(known, f"Jetson Linux {l4t.value} in NVIDIA's JetPack archive")
        if known and l4t
        else None
    )


def _read_power_mode(machine: Machine) -> Found | None:
    """The mode's name.

    A board that was never told otherwise is in the mode that its table calls the
    default.
    """
    table = machine.read(POWER_MODES) or ""
    names = dict(re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", table))
    status = re.search(r"pmode:(\d+)", machine.read(POWER_STATUS) or "")
    if status and (name := names.get(str(int(status[1])))):
        return Found(name, f"{POWER_STATUS} and {POWER_MODES}")
    if queried := re.search(r"NV Power Mode:\s*(\S+)", machine.run(("nvpmodel", "-q")) or ""):
        return Found(queried[1], "nvpmodel -q")
    if status:
        return Found(f"mode {int(status[1])}", POWER_STATUS)
    default = re.search(r"<\s*PM_CONFIG\s+DEFAULT=(\d+)", table)
    name = names.get(default[1]) if default else None
    return Found(name, f"{POWER_MODES} (its default)") if name else None
