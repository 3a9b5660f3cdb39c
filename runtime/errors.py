"""The error tree. Each error is one line: what failed, with which value, what would work.

::

    EchoExportError
    ├── InputError                something a user gave
    │   ├── AudioError            a voice that cannot be read or is too short
    │   ├── PortraitError         a picture, face box or face model that cannot be used
    │   ├── PoseError             pose maps or landmarks that cannot be used
    │   ├── CalibrationError      a broken or empty calibration set or plan, or another checkpoint's
    │   └── SettingError          an option with a value that cannot work
    ├── UnknownNameError          a target, backend, network, variant ... nobody knows
    ├── TargetError               a target file that breaks its schema
    ├── TargetMismatchError       a target that this machine is not
    ├── CheckpointError           a checkpoint that is missing, broken or does not fit
    ├── GraphError                a traced graph that breaks our own rules or a parser's
    ├── BundleError               a bundle that is not what its manifest says
    │   └── SignatureError        a bundle nobody trusted signed; a damaged key or trust list
    ├── BackendError              an engine that does not open, run or agree with its self-test
    │   ├── DeviceError           a GPU or driver that fails, or has no memory left
    │   └── MissingPackageError   a library that is not installed; names the extra that brings it
    ├── CapacityError             one more than the device can serve; says what it can
    ├── LimitError                a measured figure that breaks a limit which it was held to
    ├── QualityError              a quality budget that cannot be met; says what could be reached
    └── OutputError               a result that cannot be written
"""

from __future__ import annotations

from echoexport.targets.errors import EchoExportError, TargetError, UnknownNameError

__all__ = [
    "AudioError",
    "BackendError",
    "BundleError",
    "CalibrationError",
    "CapacityError",
    "CheckpointError",
    "DeviceError",
    "EchoExportError",
    "GraphError",
    "InputError",
    "LimitError",
    "MissingPackageError",
    "OutputError",
    "PortraitError",
    "PoseError",
    "QualityError",
    "SettingError",
    "SignatureError",
    "TargetError",
    "TargetMismatchError",
    "UnknownNameError",
]


class InputError(EchoExportError):
    """Something a user gave cannot be used."""


class AudioError(InputError):
    """A voice that cannot be read, holds no sound, or is too short."""


class PortraitError(InputError):
    """A picture, face box or face model that cannot be used."""


class PoseError(InputError):
    """Pose maps or landmarks that cannot be used."""


class CalibrationError(InputError):
    """A calibration set or plan that is broken, empty, or of another checkpoint."""


class SettingError(InputError):
    """An option whose value cannot work."""


class TargetMismatchError(EchoExportError):
    """A target whose engines cannot be made here.

    This machine is another, or does not say what it is.
    """


class CheckpointError(EchoExportError):
    """A checkpoint file that is missing, broken, or does not fit the network."""


class GraphError(EchoExportError):
    """A traced graph that breaks our own rules or those of a parser."""


class BundleError(EchoExportError):
    """A bundle that is not what its manifest says."""


class SignatureError(BundleError):
    """A bundle that nobody trusted signed, or a key, signature or trust list that is damaged."""


class BackendError(EchoExportError):
    """An engine that does not open, does not run, or disagrees with its self-test."""


class DeviceError(BackendError):
    """A GPU or its driver that fails or has no memory left; another engine would not help."""


class MissingPackageError(BackendError):
    """A library that is not installed; the message names the extra that brings it."""

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'echoexport[{extra}]'")
        self.package = package
        self.extra = extra


class CapacityError(EchoExportError):
    """One more than the device can serve; says what it can."""


class LimitError(EchoExportError):
    """A measured figure that breaks a limit which it was held to; names both."""


class QualityError(EchoExportError):
    """A quality budget that cannot be met; says what could be reached."""


class OutputError(EchoExportError):
    """A result that cannot be written where it was asked for."""
