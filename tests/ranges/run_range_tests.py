"""Runs the runtime's tests with the lowest and the newest of every dependency, on each Python.

Each corner ("3.10-lowest") has an environment of its own, made anew by uv of wheels alone:
what pyproject.toml allows for the base install and the runtime's extras, without torch.
Bundles that tests need are built beforehand by the interpreter that runs this script.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import venv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
# Of uv: direct dependencies alone, as indirect ones are their own maintainers' to declare.
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
EXTRAS = {
    "openvino": "openvino",
    "onnxruntime": "onnxruntime",
    "landmarks": "ai_edge_litert",
    "serve": "uvicorn",
    "grpc": "grpc",
    "webrtc": "aiortc",
    "sign": "cryptography",
    "voice": "espeakng_loader",
}
"""The runtime's extras that need no GPU, and what each lets one import."""
TOOLS = {"pytest": "pytest", "hypothesis": "hypothesis", "onnx": "onnx", "httpx": "httpx"}
"""What the tests themselves need: not of the product's ranges, so the newest that fits."""
MODULES = (*EXTRAS.values(), *TOOLS.values())
BACKENDS = ("openvino", "ort")
TESTS = (
    "tests/targets",
    "tests/runtime",
    "tests/bad_input",
    "tests/export/cli",
    "tests/export/test_doctor.py",
    "tests/export/test_output_folder.py",
    "tests/test_pipeline_goldens.py",
)
BUILDING = ("tests/runtime/rendering/test_sessions_at_once.py", "tests/export/cli/test_bundles.py")
"""Tests that, where torch is, build each bundle that ``TESTS`` take."""
BUNDLES = "ECHOEXPORT_TEST_BUNDLES"
LONGEST = 3600
"""Seconds that one corner's tests may take."""

# Run in an environment, without the checkout in the way: what does not work there, a line each.
PROOF = """
import importlib, sys
from echoexport.runtime.backends import load_backend
for module in sys.argv[1].split(","):
    try:
        importlib.import_module(module)
    except ImportError as error:
        print(f"{module}: {error}")
for name in sys.argv[2].split(","):
    if reason := load_backend(name).unavailable():
        print(reason)
"""


class RangeError(Exception):
    """A corner whose tests could not be run."""


@dataclass(frozen=True)
class Corner:
    """A Python and an end of the ranges."""

    python: str
    """Such as 3.10."""
    end: str
    """A name of ``RESOLUTIONS``."""

    def __str__(self) -> str:
        return f"{self.python}-{self.end}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a corner is run, and with what."""

    folder: Path
    """Its environment's, made anew."""
    uv: str
    """The program."""
    python: str
    """The interpreter that the environment is made of."""
    bundles: Path
    """Bundles for tests that cannot build their own."""


@dataclass(frozen=True)
class Verdict:
    """What the tests of a corner came to."""

    counts: Mapping[str, int]
    """Of "tests", "failures", "errors", "skipped"."""
    faults: Sequence[str]
    """Tests that failed, and those that were skipped for want of what should be there."""
    skipped: Mapping[str, int]
    """Reasons, and how many tests each kept away."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every corner whose Python is here and tell of each; 1 where one failed or none ran."""
    options = make_parser().parse_args(arguments)
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        uv = find_uv(folder)
        bundles = find_bundles(folder, wanted=not options.tests)
    except RangeError as error:
        print(error)
        return 1
    passed = []
    for corner in options.corners:
        python = find_python(list_pythons(corner.python), version=corner.python)
        if python is None:
            print(f"{corner}: not run, no Python {corner.python} was found", flush=True)
            continue
        place = Place(folder=folder / str(corner), uv=uv, python=python, bundles=bundles)
        passed.append(tell_corner(corner, place, tests=options.tests or TESTS))
    if not passed:
        print("nothing was run")
    return 0 if passed and all(passed) else 1


def tell_corner(corner: Corner, place: Place, *, tests: Sequence[str]) -> bool:
    """Run a corner and print what came of it; whether all passed."""
    try:
        verdict = run_corner(corner, place, tests=tests)
    except RangeError as error:
        print(f"{corner}: FAILED, {error}", flush=True)
        return False
    print("\n".join(describe_verdict(corner, verdict)), flush=True)
    return not verdict.faults


def make_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".ranges", help="environments, bundles and logs"
    )
    parser.add_argument(
        "--corners",
        type=parse_corners,
        default=[Corner(python, end) for python in PYTHONS for end in RESOLUTIONS],
        help='such as "3.10-lowest 3.13-newest"; own stands for the Python that runs this',
    )
    parser.add_argument("tests", nargs="*", help="what pytest is given, in place of everything")
    return parser


def parse_corners(text: str) -> list[Corner]:
    """Corners between spaces. Raises argparse's error for what is none."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    corners = []
    for word in text.split():
        python, _, end = word.partition("-")
        if end not in RESOLUTIONS or not re.fullmatch(r"own|3\.\d+", python):
            raise argparse.ArgumentTypeError(f"{word!r} is none such as 3.10-lowest or own-newest")
        corners.append(Corner(own if python == "own" else python, end))
    return corners


def find_uv(folder: Path) -> str:
    """The uv on the PATH, else one installed into the folder."""
    found = shutil.which("uv")
    if found:
        return found
    tools = folder / "tools"
    if not (tools / "bin" / "uv").exists():
        venv.create(tools, clear=True, with_pip=True)
        run([tools / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"])
    return str(tools / "bin" / "uv")


def list_pythons(version: str) -> list[Path]:
    """Where an interpreter of a version may be: beside our own, on the PATH, with pyenv."""
    found = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return [
        Path(sys.base_prefix, "bin", f"python{version}"),
        *([Path(found)] if found else ()),
        *(folder / "bin" / "python" for folder in sorted(pyenv.glob(f"versions/{version}.*"))),
    ]


def find_python(places: Sequence[Path], *, version: str) -> str | None:
    """The first that starts and is of the version: a name may be a shim for what is not there."""
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    for path in places:
        if path.exists():
            command = [str(path), "-c", asked]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.stdout.strip() == version:
                return str(path)
    return None


def find_bundles(folder: Path, *, wanted: bool) -> Path:
    """Bundles given by the variable, or where they are wanted and torch is, built anew.

    Raises ``RangeError``.
    """
    if BUNDLES in os.environ:
        return Path(os.environ[BUNDLES])
    bundles = folder / "bundles"
    shutil.rmtree(bundles, ignore_errors=True)
    if importlib.util.find_spec("torch") is None:
        print(f"{sys.executable} has no torch: tests of built bundles will be skipped")
    elif wanted:
        building = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *BUILDING]
        run(building, environment={**os.environ, BUNDLES: str(bundles)})
    return bundles


def run_corner(corner: Corner, place: Place, *, tests: Sequence[str]) -> Verdict:
    """Make the environment, prove it and run the tests. Raises ``RangeError``."""
    make_environment(corner, place)
    interpreter = str(place.folder / "bin" / "python")
    inside = {**clean_environment(), BUNDLES: str(place.bundles)}
    proof = [interpreter, "-c", PROOF, ",".join(MODULES), ",".join(BACKENDS)]
    if lacking := run(proof, environment=inside, cwd=place.folder).strip():
        raise RangeError(f"its environment lacks something: {'; '.join(lacking.splitlines())}")
    junit = place.folder / "tests.xml"
    pytest = [interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={junit}"]
    log = place.folder / "tests.log"
    ended = run_logged([*pytest, *tests], log, environment=inside)
    if not junit.exists():
        raise RangeError(f"the tests ended with {ended} and left no result; {log} tells more")
    return read_verdict(junit)


def make_environment(corner: Corner, place: Place) -> None:
    """An environment with one end of every range, and our own checkout. Raises ``RangeError``."""
    folder = place.folder
    uv = place.uv
    shutil.rmtree(folder, ignore_errors=True)
    run([uv, "venv", "--quiet", "--python", place.python, folder])
    install: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        folder / "bin" / "python",
    ]
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    resolution = RESOLUTIONS[corner.end]
    ranges = ["--only-binary", ":all:", "--resolution", resolution, "-r", "pyproject.toml", *extras]
    run([*install, *ranges])
    # the tools come to what is there: none of it may move
    held = folder / "versions.txt"
    held.write_text(run([uv, "pip", "freeze", "--python", folder / "bin" / "python"]))
    run([*install, "--constraints", held, *TOOLS])
    run([*install, "--no-deps", "--editable", "."])


def clean_environment() -> dict[str, str]:
    """The process's variables without those that lead Python or pytest elsewhere."""
    leading = re.compile(r"PYTHON|PYTEST_|VIRTUAL_ENV$|ECHOEXPORT_")
    return {name: value for name, value in os.environ.items() if not leading.match(name)}


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> str:
    """A command's output. Raises ``RangeError`` with the last it said where it failed."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        told = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise RangeError(f"{' '.join(words)[:200]} ended with {done.returncode}:\n{told}")
    return done.stdout


def run_logged(command: Sequence[str], log: Path, *, environment: Mapping[str, str]) -> str:
    """Run pytest with its output to a file; how it ended, in words."""
    try:
        with log.open("wb") as file:
            code = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=LONGEST,
                check=False,
            ).returncode
    except subprocess.TimeoutExpired:
        return f"no answer in {LONGEST} s"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def read_verdict(junit: Path) -> Verdict:
    """What pytest wrote. A test skipped for want of a module that is there counts as a fault."""
    suite = ElementTree.parse(junit).getroot().find("testsuite")
    if suite is None:
        raise RangeError(f"{junit} holds no test suite")
    counts = {key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")}
    faults = [] if counts["tests"] else ["no test was found"]
    skipped: Counter[str] = Counter()
    present = "|".join(MODULES)
    for case in suite.findall("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        if case.find("failure") is not None or case.find("error") is not None:
            faults.append(name)
        for skip in case.findall("skipped"):
            reason = _read_reason(skip)
            skipped[reason] += 1
            if re.search(rf"(import '|^)({present})\b.*(No module|not installed)", reason):
                faults.append(f"{name} was skipped: {reason}")
    return Verdict(counts, faults, dict(skipped))


def _read_reason(skip: ElementTree.Element) -> str:
    """Why a test was skipped; of a module that was skipped whole, it stands in the text."""
    found = re.search(r"Skipped: (.*?)['\"]\)?$", skip.text or "")
    return found[1] if found else skip.get("message", "")


def describe_verdict(corner: Corner, verdict: Verdict) -> list[str]:
    """Lines for a reader: the counts, why tests were skipped, what failed."""
    counts = verdict.counts
    bad = counts["failures"] + counts["errors"]
    passed = counts["tests"] - bad - counts["skipped"]
    lines = [f"{corner}: {passed} passed, {bad} failed, {counts['skipped']} skipped"]
    lines += [f"  skipped {number}: {reason}" for reason, number in sorted(verdict.skipped.items())]
    return lines + [f"  FAILED {fault}" for fault in verdict.faults]


if __name__ == "__main__":
    sys.exit(main())
