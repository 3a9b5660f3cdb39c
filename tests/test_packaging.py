"""The wheel as a stranger gets it.

Built from a clean copy, looked into, and run outside the checkout.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.message import Message
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
ROOMS = ("calibration", "export", "profiles", "runtime", "targets")
EXTRAS = {
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "landmarks",
    "tensorrt-rtx",
    "export",
    "serve",
    "sign",
    "grpc",
    "webrtc",
    "voice",
    "docs",
    "dev",
}
BASE = {"numpy", "pillow", "av", "pyyaml", "click", "tqdm"}
LARGEST_WHEEL = 26_000_000
LARGEST_REST = 2_000_000  # code and small data, without the demo character
CHARACTER = "echoexport/export/demo/data/"

# Runs `code` with the installed copy first and the environment's packages after it.
# Isolated and without `site`, so that neither the checkout nor its editable install
# stands in for a file that the wheel lacks.
OUTSIDE = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked!r}:
            raise ImportError(f'{{name}} is not installed here')

sys.meta_path.insert(0, Blocked())
sys.path[:0] = {folders!r}
{code}
"""
NOT_IN_THE_BASE = {
    "torch",
    "onnx",
    "onnx_ir",
    "onnxscript",
    "safetensors",
    "librosa",
    "mediapipe",
    "cv2",
}


def run(*command: str | Path, cwd: Path) -> str:
    """Output of a command that must succeed; what it said otherwise."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def copy_sources(target: Path) -> None:
    """What git tracks or would track, so that no leftovers get into the wheel.

    A checkout may hold a build/ or egg-info.
    """
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    copy_sources(folder / "sources")
    build = (
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        folder / "dist",
    )
    run(*build, folder / "sources", cwd=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    pip = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
    )
    run(*pip, "--target", folder, wheel, cwd=folder)
    return folder


def run_installed(folder: Path, code: str, *, blocked: set[str] = NOT_IN_THE_BASE) -> str:
    libraries = {sysconfig.get_path("purelib"): None, sysconfig.get_path("platlib"): None}
    script = OUTSIDE.format(folders=[str(folder), *libraries], blocked=blocked, code=code)
    return run(sys.executable, "-I", "-S", "-c", script, cwd=folder)


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size <= LARGEST_WHEEL


def test_without_the_demo_character_the_wheel_is_very_small(wheel: Path) -> None:
    entries = zipfile.ZipFile(wheel).infolist()
    shipped = [entry for entry in entries if entry.filename.startswith(CHARACTER)]
    assert sum(entry.compress_size for entry in entries if entry not in shipped) < LARGEST_REST
    assert {f"{CHARACTER}{name}" for name in ("portrait.png", "voice.wav", "MODEL_CARD.md")} <= {
        entry.filename for entry in shipped
    }


def test_the_wheel_holds_every_module_of_every_room(contents: set[str]) -> None:
    modules = {
        f"echoexport/{path.relative_to(ROOT).as_posix()}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
    }
    assert modules - contents == set()


def test_the_wheel_holds_every_data_file_of_every_room(contents: set[str]) -> None:
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file()]
    data = {path for path in files if path.suffix not in {".py", ".pyc"}}
    assert {f"echoexport/{path.relative_to(ROOT).as_posix()}" for path in data} - contents == set()
    assert "echoexport/runtime/py.typed" in contents
    assert any(re.fullmatch(r"echoexport/targets/data/[\w-]+\.yaml", name) for name in contents)


def test_the_wheel_holds_the_rooms_and_nothing_else(contents: set[str]) -> None:
    allowed = re.compile(rf"echoexport/({'|'.join(ROOMS)})/.*|echoexport-[^/]+\.dist-info/.*")
    assert {name for name in contents if not allowed.fullmatch(name)} == set()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in contents)


def test_echoexport_stays_a_namespace_without_a_folder_of_its_own(contents: set[str]) -> None:
    assert "echoexport/__init__.py" not in contents


def test_the_metadata_says_which_python_licence_and_extras(metadata: Message) -> None:
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS


def test_the_base_install_is_the_runtime_without_torch_or_onnx(metadata: Message) -> None:
    required = metadata.get_all("Requires-Dist", [])
    base = {
        re.split(r"[\s<>=!~;\[]", line)[0].lower() for line in required if "extra ==" not in line
    }
    assert base == BASE


def test_the_runtime_imports_from_the_wheel_alone(installed: Path) -> None:
    where = run_installed(
        installed, "import echoexport.runtime; print(echoexport.runtime.__file__)"
    )
    assert Path(where.strip()).is_relative_to(installed)


def test_the_command_line_helps_without_torch_or_onnx(installed: Path) -> None:
    code = """
import importlib.metadata
(own,) = importlib.metadata.distributions(name='echoexport', path=sys.path[:1])
(script,) = own.entry_points.select(group='console_scripts', name='echoexport')
script.load()(['--help'])
"""
    assert "Usage: " in run_installed(installed, code)


def test_a_blocked_package_really_is_blocked(installed: Path) -> None:
    with pytest.raises(AssertionError, match="numpy is not installed here"):
        run_installed(installed, "import numpy", blocked={"numpy"})


@pytest.mark.skipif(
    not os.environ.get("CI"), reason="fetches the base requirements; runs where CI is set"
)
def test_the_wheel_installs_and_runs_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "empty", cwd=tmp_path)
    pip = (tmp_path / "empty/bin/python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    listed = run(*pip, "list", "--format=freeze", cwd=tmp_path).lower()
    assert {line.split("==")[0].replace("_", "-") for line in listed.split()} & {
        "torch",
        "onnx",
        "librosa",
    } == set()
    assert "Usage: " in run(tmp_path / "empty/bin/echoexport", "--help", cwd=tmp_path)
