"""What hardware a bundle is built for: one data file per board, and the classes that read it."""

from echoexport.targets.errors import EchoExportError, TargetError, UnknownNameError
from echoexport.targets.spec import (
    Backends,
    BuildDefaults,
    Figure,
    Hardware,
    StepDefaults,
    TargetSpec,
    TensorRTLine,
    list_targets,
    load_target,
    read_target,
)

__all__ = [
    "Backends",
    "BuildDefaults",
    "EchoExportError",
    "Figure",
    "Hardware",
    "StepDefaults",
    "TargetError",
    "TargetSpec",
    "TensorRTLine",
    "UnknownNameError",
    "list_targets",
    "load_target",
    "read_target",
]
