"""ONNX Runtime's telemetry.

Off as soon as our runtime is imported, and left to a user who has decided otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

VARIABLE = "ORT_DISABLE_TELEMETRY"


def run_python(code: str, *, cache: Path, **more: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    environment |= {"XDG_CACHE_HOME": str(cache), **more}
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=cache,
        capture_output=True,
        text=True,
        check=True,
        timeout=99,
    )
    return outcome.stdout.strip()


def test_onnxruntime_leaves_no_device_number_in_the_cache_folder(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    run_python(
        "from echoexport.runtime.backends.ort import load_onnxruntime; load_onnxruntime()",
        cache=tmp_path,
    )
    assert list(tmp_path.iterdir()) == []


def test_a_users_own_choice_about_telemetry_stays(tmp_path: Path) -> None:
    code = f"import os, echoexport.runtime; print(os.environ[{VARIABLE!r}])"
    assert run_python(code, cache=tmp_path, **{VARIABLE: "0"}) == "0"
