"""The child that builds: it ends with its parent and loads nothing that it does not need."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from echoexport.export.engines.nvidia.tensorrt_child import BuildJob
from echoexport.runtime.contract.schema import dump

FAKE = Path(__file__).parents[3] / "fakes" / "fake_tensorrt.py"


def test_a_child_does_not_outlive_a_killed_parent(graph: Path, tmp_path: Path) -> None:
    job = BuildJob("tensorrt", str(FAKE), str(graph), str(tmp_path / "plan"))
    script = (
        "import subprocess, sys, os\n"
        "child = subprocess.Popen([sys.executable, '-m', "
        "'echoexport.export.engines.nvidia.tensorrt_child'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        f"child.stdin.write({json.dumps(dump(job))!r}); child.stdin.close()\n"
        "child.stdout.readline(); child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = {"FAKE_TENSORRT_FAULT": "hang", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    status = Path(f"/proc/{int(done.stdout)}/stat")
    for _ in range(100):
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.1)
    else:
        pytest.fail("the child is still running")
    assert done.returncode == -9


def test_the_child_loads_neither_torch_nor_onnx(graph: Path, tmp_path: Path) -> None:
    job = BuildJob("tensorrt", str(FAKE), str(graph), str(tmp_path / "plan"))
    script = (
        "import sys\n"
        "from echoexport.export.engines.nvidia import tensorrt_child, tensorrt_timing\n"
        "code = tensorrt_child.main()\n"
        "print('loaded', *(m for m in sys.modules if m in ('torch', 'onnx', 'onnx_ir', "
        "'click')), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(dump(job)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "loaded"
    assert (tmp_path / "plan").exists()
