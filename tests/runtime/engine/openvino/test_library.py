"""What comes with OpenVINO: no telemetry while we import it, and its converter when asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# What Python itself sees of connections, children and files opened for writing, from
# the import of ours to the end of the process.
WATCH = """
import json, os, sys

seen = []

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "os.fork", "subprocess.Popen"):
        seen.append(event)

sys.addaudithook(watch)
"""

IMPORT = "from echoexport.runtime.engine.openvino.library import load_openvino; load_openvino()\n"


def run_python(code: str, *, home: Path) -> str:
    """What a program printed whose home is a folder of the test's."""
    unwanted = ("XDG_CACHE_HOME", "ECHOEXPORT_CACHE", "CI")  # a CI's jobs send nothing anyway
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
        timeout=99,
    )
    return outcome.stdout.strip()


def test_openvino_is_imported_without_a_connection_a_child_or_a_file(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    seen = run_python(f"{WATCH}{IMPORT}print(json.dumps(seen))", home=tmp_path)
    assert json.loads(seen) == []
    assert list(tmp_path.iterdir()) == []


def test_a_users_own_telemetry_package_stays_what_it_was(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "openvino_telemetry.py").write_text("mine = 1\n")
    before = "import openvino_telemetry as before\n"
    after = "import openvino_telemetry as after; print(after.mine, 'before' not in globals()"
    assert run_python(f"{IMPORT}{after})", home=tmp_path) == "1 True"
    both = f"{before}{IMPORT}{after} or before is after)"
    assert run_python(both, home=tmp_path) == "1 True"


def test_the_converter_is_imported_when_it_is_first_read(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    here = "print('openvino.tools.ovc' in sys.modules)\n"
    code = f"import sys\n{IMPORT}{here}from openvino import convert_model\n{here}"
    code += "import openvino; print(openvino.convert_model is convert_model)"
    assert run_python(code, home=tmp_path).split() == ["False", "True", "True"]


def test_a_users_own_import_of_the_converter_works_before_and_after(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    use = "import openvino.tools.ovc as ovc; print(callable(ovc.convert_model))\n"
    assert run_python(IMPORT + use, home=tmp_path) == "True"
    before = "import sys; sys.modules['openvino_telemetry'] = None\nimport openvino\n"
    code = before + IMPORT + "print('__getattr__' in vars(openvino), openvino.convert_model)"
    assert run_python(code, home=tmp_path).startswith("False <function convert_model")


def test_an_attribute_that_the_package_does_not_have_is_refused_as_ever(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    code = f"{IMPORT}import openvino\ntry: openvino.nothing\nexcept AttributeError as e: print(e)"
    assert run_python(code, home=tmp_path) == "module 'openvino' has no attribute 'nothing'"
