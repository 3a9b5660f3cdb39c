"""Dockerfiles: paths that exist, versions of the target files, the program as entry point."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from fixtures.deploy_files import (
    DEPLOY,
    DOCKERFILES,
    GUIDE,
    ROOT,
    Line,
    parse_line,
    read_dockerfile,
)

from echoexport.targets.spec import load_target

# Docker's reference; ONBUILD, MAINTAINER and HEALTHCHECK have no place here.
INSTRUCTIONS = {
    "ARG",
    "FROM",
    "RUN",
    "COPY",
    "ENV",
    "VOLUME",
    "WORKDIR",
    "USER",
    "ENTRYPOINT",
    "CMD",
    "SHELL",
}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_has_known_instructions_in_an_order_that_docker_takes(path: Path) -> None:
    instructions = read_dockerfile(path)
    names = [name for name, _ in instructions]
    assert set(names) <= INSTRUCTIONS
    first = names.index("FROM")
    assert set(names[:first]) <= {"ARG"}
    assert (
        names.count("FROM")
        == names.count("ENTRYPOINT")
        == names.count("CMD")
        == names.count("USER")
        == 1
    )
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in ("RUN", "COPY"))
    assert dict(instructions)["USER"] not in ("root", "0")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_starts_from_a_pinned_image_of_nvidias(path: Path) -> None:
    arguments = dict(text.split("=", 1) for name, text in read_dockerfile(path) if name == "ARG")
    assert ("FROM", "${BASE}") in read_dockerfile(path)
    assert re.fullmatch(r"nvcr\.io/nvidia/[\w-]+:[\w.-]+", arguments["BASE"])
    assert not arguments["BASE"].endswith(":latest")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_copies_what_exists_and_all_that_the_package_is_made_of(path: Path) -> None:
    copied = {
        word for name, text in read_dockerfile(path) if name == "COPY" for word in text.split()[:-1]
    }
    assert {word for word in copied if not (ROOT / word).exists()} == set()
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    rooms = set(re.findall(r'^"echoexport\.\w+" = "(\w+)"$', project, re.MULTILINE))
    named = set(re.findall(r'^(?:readme = |license-files = \[)"([^"]+)"', project, re.MULTILINE))
    assert {*rooms, *named, "pyproject.toml"} == copied


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_installs_extras_that_exist_and_leaves_no_package_lists(path: Path) -> None:
    runs = [text for name, text in read_dockerfile(path) if name == "RUN"]
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for extras in re.findall(r"/src\[([\w,-]+)\]", " ".join(runs)):
        assert all(
            re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras.split(",")
        )
    for text in runs:
        assert text.count("apt-get install") == text.count(
            "apt-get install -y --no-install-recommends"
        )
        assert ("apt-get install" in text) == ("/var/lib/apt/lists/*" in text)
        assert "pip install" not in text or "--no-cache-dir" in text


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_commands_of_a_dockerfile_are_shell(path: Path) -> None:
    for text in [text for name, text in read_dockerfile(path) if name == "RUN"]:
        done = subprocess.run(
            ["bash", "-n", "-c", text], capture_output=True, text=True, check=False
        )
        assert done.stderr == ""


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_the_program_and_says_without_arguments_what_works(path: Path) -> None:
    instructions = dict(read_dockerfile(path))
    assert instructions["ENTRYPOINT"] == '["echoexport"]'
    assert instructions["CMD"] == '["doctor"]'
    assert "ECHOEXPORT_CACHE=/var/cache/echoexport" in instructions["ENV"]
    assert parse_line(Line(path.name, ("doctor",))) == ("doctor",)


@pytest.mark.parametrize(
    ("major", "cuda", "python"), [("6", "12.6", "3.10"), ("7", "13.2", "3.12")]
)
def test_each_line_of_jetpack_has_its_image_with_the_versions_of_the_target_file(
    major: str, cuda: str, python: str
) -> None:
    text = (DEPLOY / f"jetpack-{major}.Dockerfile").read_text("utf-8")
    (line,) = (
        line
        for line in load_target("jetson-orin").tensorrt
        if line.system.startswith(f"JetPack {major}")
    )
    assert (line.cuda, line.python) == (cuda, python)
    assert f"'cuda-python=={cuda}.*'" in text
    assert f"TensorRT {line.tensorrt}, Python {python}" in text
    assert f"'cuda-python=={cuda}.*'" in GUIDE


def test_an_image_with_two_sources_of_tensorrt_pins_the_libraries_that_its_packages_depend_on() -> (
    None
):
    text = next(
        text
        for _, text in read_dockerfile(DEPLOY / "jetpack-7.Dockerfile")
        if "preferences.d" in text
    )
    before, after = text.split("/etc/apt/preferences.d/tensorrt")
    assert "'Package: %s\\nPin: version %s\\nPin-Priority: 1001\\n'" in before
    assert '"tensorrt* libnvinfer* libnvonnxparsers* python3-libnvinfer*" "${TENSORRT}"' in before
    assert '"tensorrt-libs=${TENSORRT}" "python3-libnvinfer=${TENSORRT}"' in after
