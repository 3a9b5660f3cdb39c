"""The runtime: opens a bundle and renders with it.

No torch, no onnx; heavy libraries load where they are used.

From their import on, ONNX Runtime's newer wheels send usage data to Microsoft and keep
a device number in the user's cache folder. Importing this package switches that off for
the process and its children (``ORT_DISABLE_TELEMETRY=1``), unless the variable is set
already.
"""

from __future__ import annotations

import os

from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.errors import EchoExportError
from echoexport.runtime.rendering.session import Rendering, Session
from echoexport.runtime.rendering.settings import RenderInputs, RenderSettings

__all__ = [
    "Bundle",
    "EchoExportError",
    "RenderInputs",
    "RenderSettings",
    "Rendering",
    "Session",
    "open_bundle",
]

# Here, as the library reads it while it is imported, and every room that imports it has
# imported this package before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
