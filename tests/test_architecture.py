"""The house as a test: who may import whom, what never loads below the line, what lies where."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.house import ROOMS, ROOT, files_of, imports_of, inside, module_of

# The rooms that a room may import from, beside itself.
NEIGHBOURS: dict[str, frozenset[str]] = {
    "targets": frozenset(),
    "runtime": frozenset({"targets"}),
    "profiles": frozenset({"targets", "runtime"}),
    "calibration": frozenset({"targets", "runtime"}),
    "export": frozenset(ROOMS),
}
# Packages that no file of a room imports, at its top or inside a function.
TORCH = frozenset({"torch", "torchvision", "torchaudio"})
ONNX = frozenset({"onnx", "onnx_ir", "onnxscript"})
NEVER: dict[str, frozenset[str]] = {
    "targets": TORCH | ONNX | {"click", "librosa", "mediapipe", "cv2", "PIL", "av", "tqdm"},
    "runtime": TORCH | ONNX | {"click", "librosa", "mediapipe", "cv2"},
    "profiles": TORCH | ONNX | {"click", "cv2"},
    "calibration": TORCH | {"click", "cv2"},
    "export": TORCH | {"cv2"},
}
# Folders in which a ban of their room does not hold.
EXEMPT: dict[str, frozenset[str]] = {
    "export/subnets": TORCH,
    "export/checkpoint": TORCH,
    "export/demo/training": TORCH,
}

# What none of the rooms that run on a device may have loaded once all of their modules
# are.
BELOW_THE_LINE = ("targets", "runtime", "profiles")
NOT_ON_A_DEVICE = TORCH | ONNX | {"click", "librosa", "mediapipe", "cv2"}
# What `import echoexport.runtime` leaves for the function that uses it.
LOADED_WHEN_USED = {"PIL", "av", "openvino", "onnxruntime", "ai_edge_litert", "yaml", "tqdm"}

# How packages are called by pip where that is not how they are imported.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "onnx_ir": "onnx-ir",
    "ai_edge_litert": "ai-edge-litert",
    "prometheus_client": "prometheus-client",
    "grpc": "grpcio",
    "google": "protobuf",
    "tensorrt_rtx_libs": "tensorrt-rtx-cu13-libs",
    "tensorrt_rtx_bindings": "tensorrt-rtx-cu13-bindings",
}
# A Jetson's own libraries come with its system image; no registry has them for pip.
FROM_THE_SYSTEM = {"tensorrt", "cuda"}

# Public names that several modules have, as whoever loads the module asks it for them.
LOOKED_UP = {
    "BACKEND": ("runtime/backends/",),  # by load_backend
    "build_engine": ("export/engines/",),  # by load_builder
    "REVISION": ("export/engines/",),  # by load_builder
    "main": ("export/",),  # by python -m, of the modules that are programs
}

TESTED_SHARE = 0.8  # of the modules, by a file of their own in the mirrored folder
TOP_FOLDERS = {*ROOMS, "tests", "docs", "findings", ".ci"}
TOP_FILES = {
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "pyproject.toml",
    "Makefile",
    "constraints.txt",
    "mkdocs.yml",
}


def banned_in(place: str) -> frozenset[str]:
    exempt = [packages for folder, packages in EXEMPT.items() if place.startswith(f"{folder}/")]
    return NEVER[place.split("/", maxsplit=1)[0]].difference(*exempt)


def offences(source: str, place: str) -> list[str]:
    """The imports of ``source`` that a file at ``place`` may not have, as `place:line: what`."""
    room = place.split("/", maxsplit=1)[0]
    allowed = NEIGHBOURS[room] | {room}
    found = []
    for item in imports_of(source, place):
        neighbour = item.name.split(".")[1] if item.package == "echoexport" else None
        if neighbour is not None and neighbour not in allowed:
            found.append(f"{place}:{item.line}: {room} may not import echoexport.{neighbour}")
        if item.package in banned_in(place):
            found.append(f"{place}:{item.line}: {item.package} is not allowed here")
    return found


def find_tests_of(place: str) -> Path:
    """The file with the tests of the module at ``place``."""
    path = Path(place)
    return ROOT / "tests" / path.parent / f"test_{path.stem.strip('_')}.py"


def run_python(code: str, *args: str, cwd: Path) -> str:
    """Output of a fresh interpreter that does not see the checkout as its folder."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def packages_loaded_by(modules: list[str], cwd: Path) -> set[str]:
    code = (
        "import importlib, json, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    return set(json.loads(run_python(code, *modules, cwd=cwd)))


def listed_by_git() -> list[str]:
    """Files of the checkout that git tracks or would: untracked ones too, ignored ones not."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


def test_rooms_import_only_what_the_table_allows() -> None:
    assert [
        line
        for path in files_of(*ROOMS)
        for line in offences(path.read_text("utf-8"), inside(path))
    ] == []


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("runtime/rendering/session.py", "import torch"),
        ("runtime/rendering/session.py", "import torch.nn.functional as F"),
        ("runtime/rendering/session.py", "def run():\n    from torch import nn"),
        (
            "runtime/rendering/session.py",
            "import importlib\nimportlib.import_module('onnx.checker')",
        ),
        ("runtime/rendering/session.py", "__import__('click')"),
        ("runtime/rendering/session.py", "import echoexport.export.engines"),
        ("runtime/rendering/session.py", "from echoexport import export"),
        ("runtime/progress.py", "from ..export import engines"),
        ("runtime/progress.py", "from .. import export"),
        ("runtime/backends/__init__.py", "from ...profiles import trace"),
        ("runtime/rendering/session.py", "if TYPE_CHECKING:\n    import librosa"),
        ("targets/read.py", "from echoexport.runtime.errors import InputError"),
        ("profiles/trace.py", "class Trace:\n    import onnx"),
        ("profiles/trace.py", "from echoexport.calibration import ranges"),
        (
            "calibration/observing/ranges.py",
            "try:\n    import torch\nexcept ImportError:\n    pass",
        ),
        ("export/engines/openvino.py", "import torch"),
        ("export/subnets_of_another_kind.py", "import torch"),
        ("export/demo/world/person.py", "def draw():\n    import torch"),
    ],
)
def test_the_checker_sees_a_forbidden_import(place: str, source: str) -> None:
    assert len(offences(source, place)) == 1


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("runtime/rendering/session.py", "import torchlight, numpy"),
        ("runtime/rendering/session.py", "from echoexport.targets import read"),
        ("runtime/rendering/session.py", "from . import errors\nfrom .backends import null"),
        ("runtime/backends/__init__.py", "from ..errors import BackendError"),
        ("runtime/rendering/session.py", "importlib.import_module(name)"),
        ("calibration/observing/ranges.py", "import onnx"),
        ("export/subnets/vae.py", "import torch\nfrom echoexport.calibration import ranges"),
        ("export/demo/training/stage.py", "import torch"),
    ],
)
def test_the_checker_lets_an_allowed_import_pass(place: str, source: str) -> None:
    assert offences(source, place) == []


def test_modules_that_run_on_a_device_load_nothing_that_a_device_lacks(tmp_path: Path) -> None:
    modules = [module_of(inside(path)) for path in files_of(*BELOW_THE_LINE)]
    loaded = packages_loaded_by(modules, tmp_path)
    assert loaded & NOT_ON_A_DEVICE == set()
    assert "numpy" in loaded, "the modules were not really imported"


def test_importing_the_runtime_leaves_heavy_packages_for_later(tmp_path: Path) -> None:
    assert packages_loaded_by(["echoexport.runtime"], tmp_path) & LOADED_WHEN_USED == set()


def test_every_module_can_be_the_first_one_imported(tmp_path: Path) -> None:
    modules = [module_of(inside(path)) for path in files_of(*ROOMS)]
    # One interpreter that forgets our modules each time: a process per module would
    # load torch each time.
    code = """
import importlib, sys
for name in sys.argv[1:]:
    for known in [known for known in sys.modules if known.split('.')[0] == 'echoexport']:
        del sys.modules[known]
    try:
        importlib.import_module(name)
    except Exception as error:
        print(f'{name}: {error!r}')
"""
    assert run_python(code, *modules, cwd=tmp_path) == ""


def test_every_module_opens_with_one_line_saying_what_it_is_for() -> None:
    def opens_well(path: Path) -> bool:
        lines = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n")
        return (
            len(lines[0]) > 10 and lines[0].endswith((".", "?", "!")) and lines[1:2] in ([], [""])
        )

    assert [inside(path) for path in files_of(*ROOMS) if not opens_well(path)] == []


def public_names(source: str) -> set[str]:
    """Classes, functions, constants and aliases that a module defines at its top for others."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        names |= {
            part.id for one in targets for part in ast.walk(one) if isinstance(part, ast.Name)
        }
    return {name for name in names if not name.startswith("_")}


def named_twice(sources: dict[str, str]) -> dict[str, list[str]]:
    """Public names that several modules define, with where; those of ``LOOKED_UP`` left out."""
    places: dict[str, list[str]] = {}
    for place, source in sources.items():
        for name in public_names(source):
            if not any(place.startswith(folder) for folder in LOOKED_UP.get(name, ())):
                places.setdefault(name, []).append(place)
    return {name: found for name, found in places.items() if len(found) > 1}


def test_no_public_name_means_two_things() -> None:
    sources = {inside(path): path.read_text("utf-8") for path in files_of(*ROOMS)}
    assert named_twice(sources) == {}


def test_a_name_that_two_modules_define_is_found_and_one_that_is_imported_is_not() -> None:
    defined = {
        "runtime/a.py": "class Thing:\n    part = 1\nfrom b import Other\n_Own = 1",
        "runtime/b.py": "Other: int = 2\ndef part() -> None: ...\n_Own = 1",
        "export/c.py": "first, Thing = 1, 2",
        "runtime/backends/one.py": "BACKEND = 1",
        "runtime/backends/two.py": "BACKEND = 2",
    }
    assert named_twice(defined) == {"Thing": ["runtime/a.py", "export/c.py"]}
    assert named_twice({**defined, "export/d.py": "BACKEND = 3"}).keys() == {"Thing"}
    assert named_twice({"export/d.py": "BACKEND = 3", "targets/e.py": "BACKEND = 4"}) != {}


def test_every_imported_package_is_declared() -> None:
    # Read as text: Python 3.10 has no TOML reader.
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    declared = {
        name.lower()
        for name in re.findall(r'^ *"([\w.-]+?)(?:[<>=~]|")', project, flags=re.MULTILINE)
    }
    declared |= {name.lower() for name in re.findall(r'[\[ ]"([\w.-]+?)[<>=~]', project)}
    known = {*sys.stdlib_module_names, *FROM_THE_SYSTEM, "echoexport"}
    imported = {
        item.package
        for path in files_of(*ROOMS)
        for item in imports_of(path.read_text("utf-8"), inside(path))
    }
    assert {
        name for name in imported - known if DISTRIBUTIONS.get(name, name).lower() not in declared
    } == set()


def test_most_modules_have_tests_of_their_own_in_the_mirrored_folder() -> None:
    modules = [path for path in files_of(*ROOMS) if path.stem != "__init__"]
    untested = [inside(path) for path in modules if not find_tests_of(inside(path)).is_file()]
    share = 1 - len(untested) / len(modules)
    assert share >= TESTED_SHARE, f"{share:.0%}, without: {', '.join(untested)}"


def test_a_test_file_is_called_like_its_module_and_lies_where_it_lies() -> None:
    assert (
        inside(find_tests_of("runtime/sampling/ddim.py")) == "tests/runtime/sampling/test_ddim.py"
    )
    assert inside(find_tests_of("export/demo/training/__main__.py")) == (
        "tests/export/demo/training/test_main.py"
    )


def test_test_folders_are_no_packages() -> None:
    # Modules of several wings share a name, and so do their tests: pytest tells them apart by path.
    assert [inside(path) for path in (ROOT / "tests").rglob("__init__.py")] == []


def test_the_top_of_the_repository_holds_only_what_it_should() -> None:
    listed = listed_by_git()
    folders = {name.split("/")[0] for name in listed if "/" in name}
    files = {name for name in listed if "/" not in name and not name.startswith(".")}
    assert folders - TOP_FOLDERS == set()
    assert set(ROOMS) <= folders
    assert files - TOP_FILES == set()
