"""The runtime: opens a bundle and renders with it. No torch, no onnx; heavy libraries load where they are used."""

from __future__ import annotations

from echoexport.runtime.bundle import Bundle, open_bundle
from echoexport.runtime.errors import EchoExportError
from echoexport.runtime.session import Rendering, RenderInputs, RenderSettings, Session

__all__ = [
    "Bundle",
    "EchoExportError",
    "RenderInputs",
    "RenderSettings",
    "Rendering",
    "Session",
    "open_bundle",
]
