"""Target files: shipped ones say where numbers come from, broken ones are refused by key."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.targets.errors import TargetError, UnknownNameError
from echoexport.targets.spec import Figure, list_targets, load_target, read_target

NAMES = (
    "a10",
    "a100",
    "cpu",
    "cpu-openvino",
    "h100",
    "h200",
    "jetson-orin",
    "jetson-orin-32",
    "jetson-orin-nano-8",
    "jetson-orin-nx-16",
    "jetson-orin-nx-8",
    "l4",
    "l40s",
    "rtx",
    "rtx-4090",
)
DATA = Path(__file__).parents[2] / "targets" / "data"


ORIN = yaml.safe_load((DATA / "jetson-orin.yaml").read_text())


@pytest.fixture
def content() -> dict[str, Any]:
    return copy.deepcopy(ORIN)


def write(folder: Path, content: object) -> Path:
    """The content as JSON, which is YAML too and quicker to write."""
    path = folder / "mine.yaml"
    path.write_text(json.dumps(content).replace("NaN", ".nan").replace("Infinity", ".inf"))
    return path


def figures(name: str) -> Iterator[tuple[str, Figure[Any]]]:
    hardware = load_target(name).hardware
    for field in dataclasses.fields(hardware):
        value = getattr(hardware, field.name)
        if isinstance(value, Figure):
            yield field.name, value


def leaves(content: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of every key in a parsed target file."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)  # type: ignore[arg-type]
    for key, value in pairs:
        yield (*path, key)
        if isinstance(value, dict) or (
            isinstance(value, list) and value and isinstance(value[0], dict)
        ):
            yield from leaves(value, (*path, key))


# All keys, but the inner ones of one figure and one TensorRT line only: the others are
# read by the same code.
KEYS = [
    path
    for path in leaves(ORIN)
    if isinstance(path[-1], str) and (len(path) < 3 or path[1] in ("memory", 0, "steps"))
]


def parent_of(content: Any, path: tuple[str | int, ...]) -> Any:
    for key in path[:-1]:
        content = content[key]
    return content


def dotted(path: tuple[str | int, ...]) -> str:
    return re.sub(r"\.\[", "[", ".".join(f"[{p}]" if isinstance(p, int) else p for p in path))


def test_the_package_brings_exactly_these_targets() -> None:
    assert list_targets() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_target_is_called_like_its_file(name: str) -> None:
    assert load_target(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_every_hardware_figure_has_a_source_or_a_reason_for_its_absence(name: str) -> None:
    for key, figure in figures(name):
        given_text, other = (
            (figure.reason, figure.source)
            if figure.value is None
            else (figure.source, figure.reason)
        )
        assert len(given_text) > 8, key
        assert other == "", key


@pytest.mark.parametrize("name", NAMES)
def test_the_int8_peak_is_twice_that_in_fp16_or_four_times_where_fp32_accumulates(
    name: str,
) -> None:
    hardware = load_target(name).hardware
    if hardware.fp16_dense.value is not None and hardware.int8_dense.value is not None:
        wanted = 4 if name == "rtx-4090" else 2
        assert hardware.int8_dense.value / hardware.fp16_dense.value == pytest.approx(
            wanted, rel=0.03
        )


@pytest.mark.parametrize("name", ["cpu", "cpu-openvino"])
def test_a_cpu_claims_no_peaks_and_leaves_nothing_to_do(name: str) -> None:
    target = load_target(name)
    assert all(figure.value is None for _, figure in figures(name))
    assert (target.kind, target.next_step, target.build.precision) == ("cpu", "", "fp32")


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("jetson")])
def test_a_jetson_gets_the_settings_that_suit_it(name: str) -> None:
    target = load_target(name)
    assert target.hardware.compute_capability.value == "8.7"
    assert target.hardware.memory_shared
    assert [line.tensorrt for line in target.tensorrt] == ["10.3", "10.16.2"]
    assert [line.python for line in target.tensorrt] == ["3.10", "3.12"]
    assert (target.build.precision, target.build.size) == ("fp16", (256, 256))
    assert target.build.steps_for("acc") == 4
    assert target.build.steps_for("base") is None
    assert "'echoexport compile BUNDLE'" in target.next_step


def test_the_default_jetson_is_the_agx_orin_with_64_gb() -> None:
    hardware = load_target("jetson-orin").hardware
    assert (hardware.fp16_dense.value, hardware.memory_bandwidth.value, hardware.memory.value) == (
        42.6,
        204.8,
        64,
    )
    assert hardware.power.value == (15.0, 60.0)


def test_a_kiosk_is_no_single_board_so_it_claims_no_figures() -> None:
    target = load_target("rtx")
    assert (target.kind, target.backends.default, target.backends.portable) == (
        "gpu",
        "tensorrt_rtx",
        ("ort",),
    )
    assert all(figure.value is None for _, figure in figures("rtx"))
    assert "x86" in target.next_step


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("cpu")])
def test_what_is_left_to_do_on_a_gpu_is_to_compile(name: str) -> None:
    assert "echoexport compile" in load_target(name).next_step


def test_an_unknown_target_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"'jetson-oren'.*rtx-4090.*Did you mean 'jetson-orin'"
    ):
        load_target("jetson-oren")


def test_a_target_name_is_not_a_path() -> None:
    with pytest.raises(UnknownNameError):
        load_target("../data/cpu")


def test_steps_for_an_unknown_variant_lists_the_variants() -> None:
    with pytest.raises(UnknownNameError, match="pose_acc"):
        load_target("cpu").build.steps_for("pose-acc")


def test_a_users_own_file_is_read_like_a_shipped_one(
    content: dict[str, Any], tmp_path: Path
) -> None:
    content["name"] = "my-board"
    target = read_target(write(tmp_path, content))
    assert dataclasses.replace(target, name="jetson-orin") == load_target("jetson-orin")


def test_a_target_can_be_hashed_and_compared() -> None:
    assert len({load_target("a100"), load_target("a100"), load_target("h100")}) == 2


@pytest.mark.parametrize("path", KEYS, ids=dotted)
def test_a_missing_key_is_refused_with_file_and_key(
    path: tuple[str | int, ...], content: dict[str, Any], tmp_path: Path
) -> None:
    del parent_of(content, path)[path[-1]]
    with pytest.raises(TargetError, match=rf"mine\.yaml: {re.escape(dotted(path))} is missing"):
        read_target(write(tmp_path, content))


@pytest.mark.parametrize("path", sorted({path[:-1] for path in KEYS}, key=str), ids=dotted)
def test_an_unknown_key_in_any_mapping_is_refused_with_file_and_key(
    path: tuple[str | int, ...], content: dict[str, Any], tmp_path: Path
) -> None:
    unknown = (*path, "colour")
    parent_of(content, unknown)["colour"] = "blue"
    with pytest.raises(
        TargetError, match=rf"mine\.yaml: {re.escape(dotted(unknown))} is an unknown key"
    ):
        read_target(write(tmp_path, content))


@pytest.mark.parametrize("path", KEYS, ids=dotted)
def test_a_value_of_the_wrong_type_is_refused_with_file_and_key(
    path: tuple[str | int, ...], content: dict[str, Any], tmp_path: Path
) -> None:
    parent_of(content, path)[path[-1]] = [{"wrong": -1}]
    with pytest.raises(
        TargetError, match=rf"mine\.yaml: {re.escape(dotted(path))}(\[0\]\.system)? "
    ):
        read_target(write(tmp_path, content))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("build", "size"), [256, 250]),
        (("build", "size"), [256]),
        (("build", "frames"), 33),
        (("build", "frames"), True),
        (("build", "precision"), "int8"),
        (("build", "steps", "acc"), 0),
        (("backends", "portable"), []),
        (("backends", "default"), "tensorflow"),
        (("hardware", "memory", "value"), "64"),
        (("hardware", "memory", "value"), 0),
        (("hardware", "memory", "value"), float("nan")),
        (("hardware", "memory", "value"), float("inf")),
        (("hardware", "memory", "unit"), "GiB"),
        (("hardware", "memory", "source"), ""),
        (("hardware", "power", "value"), [60, 15]),
        (("hardware", "compute_capability", "value"), 8.7),
        (("engine", "workspace", "value"), -1),
        (("engine", "workspace", "unit"), "GiB"),
        (("engine", "level", "value"), 6),
        (("engine", "best_of", "value"), 0),
        (("engine", "best_of", "source"), ""),
        (("next_step",), ""),
        (("next_step",), "two\nlines"),
        (("name",), "My Board"),
        (("kind",), "cpu"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_key(
    path: tuple[str, ...], value: object, content: dict[str, Any], tmp_path: Path
) -> None:
    parent_of(content, path)[path[-1]] = value
    named = ("next_step",) if path == ("kind",) else path
    with pytest.raises(TargetError, match=re.escape(dotted(named))):
        read_target(write(tmp_path, content))


def test_a_null_figure_without_a_reason_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    content["hardware"]["int8_dense"] = {"value": None, "unit": "TOPS", "source": "a data sheet"}
    with pytest.raises(TargetError, match=r"hardware\.int8_dense\.reason is missing"):
        read_target(write(tmp_path, content))


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
def test_a_cpu_cannot_default_to_tensorrt(
    backend: str, content: dict[str, Any], tmp_path: Path
) -> None:
    content.update(kind="cpu", next_step="")
    content["backends"]["default"] = backend
    with pytest.raises(TargetError, match=rf"backends\.default {backend} needs"):
        read_target(write(tmp_path, content))


def test_a_cpu_has_nothing_to_say_about_engines(content: dict[str, Any], tmp_path: Path) -> None:
    content.update(kind="cpu", next_step="")
    content["backends"]["default"] = "ort"
    with pytest.raises(TargetError, match=r"mine\.yaml: engine needs kind jetson or gpu"):
        read_target(write(tmp_path, content))


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("cpu")])
def test_every_number_of_an_engine_block_has_a_source_or_a_reason_for_its_absence(
    name: str,
) -> None:
    engine = load_target(name).engine
    assert engine is not None
    for figure in (engine.workspace, engine.level, engine.best_of):
        assert len(figure.reason if figure.value is None else figure.source) > 8


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("jetson")])
def test_a_boards_workspace_leaves_most_of_its_shared_memory_alone(name: str) -> None:
    target = load_target(name)
    assert target.engine is not None and target.engine.workspace_bytes is not None
    assert 0 < target.engine.workspace_bytes <= target.hardware.memory.value * 1e9 / 8  # type: ignore[operator]


def test_a_gpus_workspace_is_left_to_the_library() -> None:
    engine = load_target("a100").engine
    assert engine is not None and engine.workspace_bytes is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nname: b\n", "line 2: key 'name' is given twice"),
        ("name: [a\n", "line 2"),
        ("- a\n- b\n", "the file must be a mapping"),
        ("", "the file must be a mapping"),
        ("name: !!python/object/apply:os.getcwd []\n", "line 1"),
        ("a: &x {b: 1}\nc: {<<: *x}\n", "plain word"),
        ("? [a]\n: b\n", "plain word"),
        ("name: 2024-99-99\n", "not YAML text"),
        ("name: \x00\n", "not YAML text"),
    ],
)
def test_text_that_is_no_plain_mapping_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(TargetError, match=f"mine.yaml: .*{re.escape(said)}"):
        read_target(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(TargetError, match="not YAML text"):
        read_target(path)


def test_a_file_far_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"#" * 70_000)
    with pytest.raises(TargetError, match="larger than"):
        read_target(path)


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"nowhere\.yaml: cannot be read: No such file"):
        read_target(tmp_path / "nowhere.yaml")


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    st.sampled_from(KEYS),
)
def test_whatever_stands_at_a_key_the_answer_is_a_target_or_a_target_error(
    value: object, path: tuple[str | int, ...]
) -> None:
    content = copy.deepcopy(ORIN)
    parent_of(content, path)[path[-1]] = value
    try:
        with tempfile.TemporaryDirectory() as folder:
            target = read_target(write(Path(folder), content))
    except TargetError as error:
        assert "mine.yaml" in str(error)
    else:
        assert target.kind == "jetson" or path == ("kind",)
