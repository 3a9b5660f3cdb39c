"""What machine this is.

Board or GPU, its software, power mode and memory, and which target that makes it.
"""

from __future__ import annotations

from echoexport.runtime.device.detection import detect_device
from echoexport.runtime.device.matching import match_target, require_target, usable_memory
from echoexport.runtime.device.record import Device

__all__ = ["Device", "detect_device", "match_target", "require_target", "usable_memory"]
