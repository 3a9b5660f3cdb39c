"""What docs/ has to deploy.

Command lines that the program takes, paths that exist, units that systemd takes.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import click
import pytest

from echoexport.export.cli import cli
from echoexport.runtime.device.jetson import (
    DEVICE_TREE,
    JETPACKS,
    MODULES,
    POWER_MODES,
    POWER_STATUS,
    RELEASE,
)
from echoexport.runtime.errors import EchoExportError
from echoexport.targets.spec import list_targets, load_target

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "docs" / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("*.Dockerfile"))
UNITS = sorted(DEPLOY.glob("*.service"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDE = (ROOT / "docs" / "jetson.md").read_text("utf-8")

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
# systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.resource-control(5):
# those that these units may use.
KEYS = {
    "Unit": {
        "Description",
        "Documentation",
        "After",
        "Requires",
        "ConditionPathExists",
        "AssertPathExists",
    },
    "Service": {
        "Type",
        "RemainAfterExit",
        "User",
        "Group",
        "SupplementaryGroups",
        "StateDirectory",
        "CacheDirectory",
        "WorkingDirectory",
        "Environment",
        "ExecStart",
        "TimeoutStartSec",
        "OOMPolicy",
        "OOMScoreAdjust",
        "Nice",
        "UMask",
        "NoNewPrivileges",
        "CapabilityBoundingSet",
        "ProtectSystem",
        "ProtectHome",
        "PrivateTmp",
        "PrivateNetwork",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "ProtectControlGroups",
        "ProtectProc",
        "RestrictAddressFamilies",
        "RestrictNamespaces",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "LockPersonality",
        "SystemCallArchitectures",
    },
    "Install": {"WantedBy"},
}
# What would take the GPU's device nodes, its kernels compiled at run time, or the
# device tree away.
WOULD_BREAK_THE_GPU = {
    "PrivateDevices",
    "DevicePolicy",
    "DeviceAllow",
    "ProtectClock",
    "MemoryDenyWriteExecute",
    "ProcSubset",
}


@dataclass(frozen=True)
class Line:
    """One command line of ours and where it stands.

    Mention: within a sentence, where arguments may be left out.
    """

    place: str
    words: tuple[str, ...]
    mention: bool = False


def join_lines(text: str) -> str:
    """Continued lines as one."""
    return re.sub(r"\\\n\s*", " ", text)


def find_lines(text: str, place: str) -> Iterator[Line]:
    """Our command lines in shell text.

    After paths, sudo and pipes, and as arguments of our images.
    """
    for row in join_lines(text).splitlines():
        try:
            words = shlex.split(row, comments=True)
        except ValueError:  # prose with an apostrophe
            continue
        segment: list[str] = []
        for word in [*words, ";"]:
            if word in ("&&", "||", "|", ";"):
                yield from _find_ours(segment, place)
                segment = []
            else:
                segment.append(word)


def _find_ours(segment: list[str], place: str) -> Iterator[Line]:
    for i, word in enumerate(segment):
        called = word.rpartition("/")[2] == "echoexport" and (i == 0 or segment[i - 1] in ("sudo",))
        image = (
            word.startswith("echoexport:jetpack-")
            and "run" in segment[:i]
            and "--entrypoint" not in segment[:i]
        )
        if (called or image) and segment[i + 1 :]:
            yield Line(place, tuple(segment[i + 1 :]))
            return


def lines_of_page(path: Path) -> Iterator[Line]:
    """Of a Markdown page: shell fences, and code between backticks that begins with our name."""
    text = path.read_text("utf-8")
    for fence in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        yield from find_lines(re.sub(r"^ +(?=\S)", "", fence, flags=re.MULTILINE), path.name)
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`((?:/opt/echoexport/bin/)?echoexport [^`]+)`", prose):
        yield from map(as_mention, find_lines(" ".join(code.split()), path.name))


def lines_of_target(name: str) -> Iterator[Line]:
    for code in re.findall(r"'(echoexport [^']+)'", load_target(name).next_step):
        yield from map(as_mention, find_lines(code, name))


def as_mention(line: Line) -> Line:
    return replace(line, mention=True)


def parse_line(line: Line) -> tuple[str, ...]:
    """The command that the program's own parser finds in the words.

    What it would refuse is an error of its own.

    Raises:
        UsageError, EchoExportError: the program would refuse the words.
    """
    command: click.Command = cli
    context = click.Context(cli, info_name="echoexport")
    words = list(line.words)
    names = list[str]()
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None and name is not None
        names.append(name)
        command = found
        context = click.Context(found, info_name=name, parent=context)
    with suppress(*([click.MissingParameter] if line.mention else [])):
        command.make_context(command.name or "", words, parent=context.parent)
    return tuple(names)


def read_dockerfile(path: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", path.read_text("utf-8"), flags=re.MULTILINE)
    rows = [row for row in join_lines(text).splitlines() if row.strip()]
    return [(row.split(maxsplit=1)[0], row.split(maxsplit=1)[1]) for row in rows]


def read_unit(path: Path) -> list[tuple[str, str, str]]:
    """Section, key, value of each line."""
    found = []
    section = ""
    for row in path.read_text("utf-8").splitlines():
        if row.startswith("["):
            section = row.strip("[]")
        elif row and not row.startswith("#"):
            key, _, value = row.partition("=")
            found.append((section, key, value))
    return found


LINES = [
    *(line for page in PAGES for line in lines_of_page(page)),
    *(
        line
        for unit in UNITS
        for line in find_lines({k: v for _, k, v in read_unit(unit)}["ExecStart"], unit.name)
    ),
    *(line for name in list_targets() for line in lines_of_target(name)),
]


@pytest.mark.parametrize(
    "line", LINES, ids=lambda line: f"{line.place}: {' '.join(line.words)}"[:90]
)
def test_the_program_takes_every_command_line_that_is_written_down(line: Line) -> None:
    names = parse_line(line)
    assert names
    assert names == line.words[: len(names)]


def test_command_lines_are_found_where_they_are_written() -> None:
    places = {line.place for line in LINES}
    assert {
        "README.md",
        "jetson.md",
        "echoexport-compile.service",
        "echoexport-render@.service",
        "jetson-orin",
    } <= places
    assert {"compile", "run", "verify", "cache", "doctor", "build"} <= {
        line.words[0] for line in LINES if line.place == "jetson.md"
    }
    assert any("--rollback" in line.words for line in LINES)


@pytest.mark.parametrize(
    "text",
    [
        "echoexport compile bundle/ --bakend tensorrt",
        "sudo /opt/echoexport/bin/echoexport compile bundle --level 9",
        "echoexport cache prune --older",
        "echoexport cache lst",
        "echoexport kompile bundle/",
        "true && echoexport run bundle/ -p a.png -o out.mp4",
        "docker run --rm \\\n  -v a:b echoexport:jetpack-6 compile bundle --outptu x",
    ],
)
def test_a_command_line_with_a_fault_is_refused(text: str) -> None:
    (line,) = find_lines(text, "here")
    with pytest.raises((click.UsageError, EchoExportError)):
        parse_line(line)


def test_only_a_mention_may_leave_arguments_out() -> None:
    assert parse_line(Line("here", ("compile",), mention=True)) == ("compile",)
    with pytest.raises(click.MissingParameter):
        parse_line(Line("here", ("compile",)))
    with pytest.raises(click.UsageError):
        parse_line(Line("here", ("compile", "--bakend"), mention=True))


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


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_has_known_keys_once_and_nothing_that_would_hide_the_gpu(path: Path) -> None:
    keys = [(section, key) for section, key, _ in read_unit(path)]
    assert [(section, key) for section, key in keys if key not in KEYS.get(section, set())] == []
    assert len(set(keys)) == len(keys)
    assert {key for _, key in keys} & WOULD_BREAK_THE_GPU == set()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_as_a_user_without_rights_who_may_use_the_gpu(path: Path) -> None:
    values = {key: value for _, key, value in read_unit(path)}
    assert values["User"] == "echoexport"
    assert set(values["SupplementaryGroups"].split()) == {"video", "render"}
    assert (
        values["NoNewPrivileges"],
        values["CapabilityBoundingSet"],
        values["ProtectSystem"],
    ) == (
        "yes",
        "",
        "strict",
    )
    assert values["WorkingDirectory"] == f"/var/lib/{values['StateDirectory']}"
    assert values["Environment"] == f"ECHOEXPORT_CACHE=/var/cache/{values['CacheDirectory']}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_a_unit_without_a_complaint(path: Path, tmp_path: Path) -> None:
    for (
        unit
    ) in UNITS:  # each refers to the other; the program is not installed where systemd looks for it
        text = re.sub(
            r"^ExecStart=\S+",
            f"ExecStart={shutil.which('true')}",
            unit.read_text("utf-8"),
            flags=re.MULTILINE,
        )
        (tmp_path / unit.name).write_text(text, "utf-8")
    name = path.name.replace("@.", "@clip.")
    if name != path.name:
        (tmp_path / name).symlink_to(path.name)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    ours = [
        line for line in done.stderr.splitlines() if "echoexport" in line or str(tmp_path) in line
    ]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_would_complain_of_a_key_that_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "faulty.service").write_text(
        "[Service]\nType=oneshot\nExecStart=/bin/true\nProtectSistem=yes\n"
    )
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "faulty.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "ProtectSistem" in done.stderr


@pytest.mark.parametrize("path", [*DOCKERFILES, *UNITS], ids=lambda path: path.name)
def test_what_was_not_run_on_hardware_says_so(path: Path) -> None:
    assert "# NOT RUN ON HARDWARE." in path.read_text("utf-8")
    assert f"(deploy/{path.name})" in GUIDE


def test_the_guide_begins_with_what_was_not_tried() -> None:
    assert GUIDE.splitlines()[2].startswith("**Nothing on this page was run on a Jetson.**")


def test_the_guides_tables_are_those_of_the_program() -> None:
    releases = dict(re.findall(r"^\| (\d+\.\d+\.\d+) \| ([\d.]+) \|$", GUIDE, re.MULTILINE))
    assert releases == JETPACKS
    rows = re.findall(r"^\| [^|]+ \| (p3[^|]+) \| ([^|]+) \|$", GUIDE, re.MULTILINE)
    told = {
        number: target.strip("` ")
        for numbers, target in rows
        for number in re.findall(r"p\d{4}-\d{4}", numbers)
    }
    assert {number: target or "none: too small" for number, (_, target) in MODULES.items()} == told


def test_the_guides_container_mounts_every_file_that_names_the_board() -> None:
    mounts = set(re.findall(r"-v (\S+):(\S+):ro", GUIDE))
    assert (DEVICE_TREE[0], DEVICE_TREE[1]) in mounts
    for file in (RELEASE, POWER_MODES, str(Path(POWER_STATUS).parent)):
        assert (file, file) in mounts


def test_links_of_the_guide_lead_somewhere() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", GUIDE)
    assert len(linked) >= 4
    assert [link for link in linked if not (ROOT / "docs" / link).exists()] == []
